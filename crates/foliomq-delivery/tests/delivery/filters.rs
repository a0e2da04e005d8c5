//! Tag filters.

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
