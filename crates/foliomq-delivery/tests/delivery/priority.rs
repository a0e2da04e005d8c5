//! Topics whose queues are levels of priority.

use std::time::Duration;

use foliomq_delivery::{Filter, Receive, queue_of_priority};
use foliomq_store::{Message, TopicOptions, TopicType};
use proptest::prelude::*;

use crate::fixture::{Fixture, GROUP, INVISIBLE, bodies};

const TOPIC: &str = "urgent";
const LEVELS: u32 = 4;

fn fixture() -> Fixture {
    let fixture = Fixture::new(1);
    let options = TopicOptions {
        queues: LEVELS,
        kind: TopicType::Priority,
    };
    fixture.store.create_topic(TOPIC, options).unwrap();
    fixture
}

fn send(fixture: &Fixture, priority: u32, body: &str) {
    let queue = queue_of_priority(priority, LEVELS);
    let message = Message::new(body.as_bytes());
    let appended = fixture.store.append_to(TOPIC, queue, &message).unwrap();
    fixture.wait_for(TOPIC, queue, appended.queue_offset + 1);
}

fn receive(fixture: &Fixture, most: usize) -> Vec<foliomq_delivery::Delivery> {
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    let received = fixture.groups.receive(&request, fixture.now).unwrap();
    received.messages
}

#[test]
fn the_highest_comes_first_and_in_its_level_the_oldest() {
    let fixture = fixture();
    for (priority, body) in [(0, "a"), (9, "b"), (1, "c"), (3, "d"), (1, "e")] {
        send(&fixture, priority, body);
    }
    let first = receive(&fixture, 3);
    assert_eq!(bodies(&first), ["b", "d", "c"]);
    send(&fixture, 2, "f");
    let rest = receive(&fixture, 9);
    assert_eq!(bodies(&rest), ["f", "e", "a"]);
}

#[test]
fn among_redelivered_and_new_messages_the_level_counts_first() {
    let mut fixture = fixture();
    send(&fixture, 1, "low again");
    send(&fixture, 3, "high again");
    assert_eq!(receive(&fixture, 2).len(), 2);
    fixture.pass(INVISIBLE + Duration::from_millis(1));
    for (priority, body) in [(2, "new"), (1, "low new"), (3, "high new")] {
        send(&fixture, priority, body);
    }
    let fixture = fixture.after_kill();
    let all = receive(&fixture, 9);
    let expected = ["high again", "high new", "new", "low again", "low new"];
    assert_eq!(bodies(&all), expected);
    let attempts: Vec<u32> = all.iter().map(|delivery| delivery.attempt).collect();
    assert_eq!(attempts, [2, 1, 1, 2, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever was sent before a receive: the receive takes the highest of what is there, the oldest first.
    #[test]
    fn as_a_sorted_list(steps in prop::collection::vec((0..6u32, prop::option::of(1..4usize)), 1..30)) {
        let fixture = fixture();
        let mut model: Vec<(u32, usize)> = Vec::new();
        for (number, (priority, taken)) in steps.into_iter().enumerate() {
            send(&fixture, priority, &number.to_string());
            model.push((queue_of_priority(priority, LEVELS), number));
            model.sort_by_key(|&(level, number)| (std::cmp::Reverse(level), number));
            let Some(most) = taken else { continue };
            let expected: Vec<String> = model
                .drain(..most.min(model.len()))
                .map(|(_, number)| number.to_string())
                .collect();
            let received = receive(&fixture, most);
            prop_assert_eq!(bodies(&received), expected);
        }
    }
}
