//! Tag and SQL92 filters.

use std::time::Duration;

use foliomq_delivery::{Filter, MAX_SCANNED};
use foliomq_store::Message;

use crate::fixture::{Fixture, GROUP, TOPIC, bodies};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn tags_choose_and_what_they_leave_is_done() {
    let f = Fixture::new(1);
    for tag in ["A", "B", "C", "AaAa", "BBBB"] {
        f.append(0, &Message::new(tag.as_bytes()).tag(tag));
    }
    f.append(0, &Message::new(b"untagged"));
    assert_eq!(bodies(&f.receive_tags(" A || C ", 2)), ["A", "C"]);
    assert_eq!(bodies(&f.receive_tags("BBBB", 9)), ["BBBB"]);
    assert!(
        f.receive(9).is_empty(),
        "the others were passed over for the group"
    );
    assert_eq!(f.groups.group(GROUP).unwrap().queues[0].next, 6);
}

#[test]
fn untagged_messages_match_only_the_star() {
    let f = Fixture::new(1);
    f.append_bodies(0, &["a", "b"]);
    assert_eq!(bodies(&f.receive_tags("*", 1)), ["a"]);
    assert!(f.receive_tags("a", 1).is_empty());
}

#[test]
fn a_filter_that_matches_nothing_ends_and_says_look_again() {
    let f = Fixture::new(1);
    let many: Vec<Message<'_>> = (0..MAX_SCANNED + 1000)
        .map(|_| Message::new(b"x").tag("no"))
        .collect();
    for batch in many.chunks(1000) {
        f.store.submit(TOPIC, Some(0), batch).unwrap();
    }
    f.wait_for(TOPIC, 0, many.len() as u64);
    let filter = Filter::tags("yes").unwrap();
    let first = f.try_receive(&filter, 1, SECOND, false).unwrap();
    assert_eq!((first.messages.len(), first.next_visible), (0, Some(f.now)));
    assert_eq!(
        f.groups.group(GROUP).unwrap().queues[0].next,
        MAX_SCANNED as u64
    );
    let second = f.try_receive(&filter, 1, SECOND, false).unwrap();
    assert_eq!(second.next_visible, None);
    assert_eq!(
        f.groups.group(GROUP).unwrap().queues[0].committed,
        many.len() as u64
    );
}

#[test]
fn sql_chooses_by_properties_and_what_it_leaves_is_done() {
    let f = Fixture::new(1);
    for price in ["10", "20", "30", "x"] {
        let message = Message::new(price.as_bytes()).property("price", price);
        f.append(0, &message.tag("T"));
    }
    f.append(0, &Message::new(b"none"));
    let receive = |expression: &str| {
        let filter = Filter::sql(expression).unwrap();
        f.try_receive(&filter, 9, SECOND, false).unwrap().messages
    };
    assert_eq!(
        bodies(&receive("price BETWEEN 15 AND 40 AND TAGS = 'T'")),
        ["20", "30"]
    );
    assert!(receive("TRUE").is_empty(), "the others were passed over");
    let queue = &f.groups.group(GROUP).unwrap().queues[0];
    assert_eq!((queue.next, queue.in_flight), (5, 2));
}

#[test]
fn sql_that_matches_nothing_ends_and_says_look_again() {
    let f = Fixture::new(1);
    let many: Vec<Message<'_>> = (0..MAX_SCANNED + 10)
        .map(|n| Message::new(b"x").property("n", &n.to_string()))
        .collect();
    for batch in many.chunks(1000) {
        f.store.submit(TOPIC, Some(0), batch).unwrap();
    }
    f.wait_for(TOPIC, 0, many.len() as u64);
    let filter = Filter::sql(&format!("n >= {MAX_SCANNED}")).unwrap();
    let first = f.try_receive(&filter, 32, SECOND, false).unwrap();
    assert_eq!((first.messages.len(), first.next_visible), (0, Some(f.now)));
    let second = f.try_receive(&filter, 32, SECOND, false).unwrap();
    assert_eq!(second.messages.len(), 10);
}

#[test]
fn sql_receives_at_once_share_what_there_is() {
    let f = Fixture::new(1);
    let odd = |n: usize| if n % 2 == 1 { "yes" } else { "no" };
    let many: Vec<Message<'_>> = (0..2000)
        .map(|n| Message::new(b"x").property("odd", odd(n)))
        .collect();
    f.store.submit(TOPIC, Some(0), &many).unwrap();
    f.wait_for(TOPIC, 0, 2000);
    let filter = Filter::sql("odd = 'yes'").unwrap();
    let take = || {
        let mut offsets = Vec::new();
        loop {
            let received = f.try_receive(&filter, 7, SECOND, false).unwrap();
            offsets.extend(received.messages.iter().map(|m| m.message.queue_offset()));
            if received.messages.is_empty() && received.next_visible != Some(f.now) {
                return offsets;
            }
        }
    };
    let mut all: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads
            .into_iter()
            .flat_map(|t| t.join().unwrap())
            .collect()
    });
    all.sort_unstable();
    let expected: Vec<u64> = (0..1000).map(|n| 2 * n + 1).collect();
    assert_eq!(all, expected, "each once");
}
