//! Ordered groups: what an un-acked message holds back.

use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Order, Receive};
use foliomq_store::{Message, TopicOptions, TopicType};

use crate::fixture::{Fixture, GROUP, INVISIBLE, TOPIC};

fn ordered(order: Order) -> Fixture {
    let f = Fixture::new(1);
    f.groups.set_order(GROUP, order).unwrap();
    f
}

/// Appends bodies that begin with their message group and a colon; without one they have none.
fn append(f: &Fixture, bodies: &[&str]) {
    for body in bodies {
        let mut system = Vec::new();
        if let Some((group, _)) = body.split_once(':') {
            system.extend([0x8a, 0x01, group.len() as u8]);
            system.extend(group.as_bytes());
        }
        f.append(
            0,
            &Message::encoded(Vec::new(), system, body.as_bytes()).unwrap(),
        );
    }
}

fn bodies(deliveries: &[Delivery]) -> Vec<(String, u32)> {
    let body = |one: &Delivery| String::from_utf8(one.message.body().to_vec()).unwrap();
    deliveries
        .iter()
        .map(|one| (body(one), one.attempt))
        .collect()
}

fn named(f: &Fixture, most: usize, attempt: &str) -> Vec<Delivery> {
    let request = Receive {
        group: GROUP,
        topic: TOPIC,
        filter: &Filter::All,
        most,
        invisible: INVISIBLE,
        auto_renew: false,
    };
    f.groups
        .receive_attempt(&request, attempt, f.now)
        .unwrap()
        .messages
}

fn expect(deliveries: &[Delivery], expected: &[(&str, u32)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(body, attempt)| ((*body).to_owned(), *attempt))
        .collect();
    assert_eq!(bodies(deliveries), expected);
}

#[test]
fn what_was_put_off_is_no_part_of_the_batch_that_comes_again() {
    let f = ordered(Order::Queue);
    append(&f, &["a:1", "b:1"]);
    let batch = named(&f, 9, "x");
    expect(&batch, &[("a:1", 1), ("b:1", 1)]);
    let later = f.change(&batch[0].handle, 2 * INVISIBLE).unwrap();
    let f = f.after_kill();
    let again = named(&f, 9, "x");
    expect(&again, &[("b:1", 1)]);
    f.ack(&again[0].handle).unwrap();
    f.ack(&later).unwrap();
}

#[test]
fn a_batch_holds_back_its_queue_until_all_of_it_is_done() {
    let f = ordered(Order::Queue);
    append(&f, &["a:1", "b:1", "a:2"]);
    let batch = f.receive(2);
    expect(&batch, &[("a:1", 1), ("b:1", 1)]);
    expect(&f.receive(9), &[]);
    f.ack(&batch[0].handle).unwrap();
    expect(&f.receive(9), &[]);
    f.ack(&batch[1].handle).unwrap();
    expect(&f.receive(9), &[("a:2", 1)]);
}

#[test]
fn delivery_goes_on_from_the_first_that_is_not_done() {
    let mut f = ordered(Order::Queue);
    append(&f, &["1", "2", "3", "4"]);
    let batch = f.receive(3);
    f.ack(&batch[1].handle).unwrap();
    f.change(&batch[0].handle, Duration::from_secs(1)).unwrap();
    f.pass(Duration::from_secs(2));
    expect(&f.receive(9), &[]);
    f.pass(INVISIBLE);
    expect(&f.receive(9), &[("1", 2), ("3", 2), ("4", 1)]);
}

#[test]
fn the_same_attempt_gets_the_same_batch_and_another_one_nothing() {
    let mut f = ordered(Order::Queue);
    append(&f, &["1", "2", "3"]);
    let lost = named(&f, 2, "first");
    expect(&named(&f, 2, "other"), &[]);
    expect(&f.receive(2), &[]);
    f.pass(Duration::from_secs(20));
    let again = named(&f, 2, "first");
    expect(&again, &[("1", 1), ("2", 1)]);
    assert!(
        f.ack(&lost[0].handle).is_err(),
        "the lost answer's handle is void"
    );
    // Leased anew: the end of the first lease changes nothing.
    f.pass(Duration::from_secs(20));
    expect(&f.receive(2), &[]);
    f.ack(&again[0].handle).unwrap();
    expect(&named(&f, 2, "first"), &[("2", 1)]);
    f.pass(INVISIBLE);
    expect(&named(&f, 2, "first"), &[("2", 2), ("3", 1)]);
}

#[test]
fn an_answer_lost_in_a_crash_is_asked_for_again() {
    let f = ordered(Order::Queue);
    append(&f, &["1", "2", "3"]);
    named(&f, 1, "before");
    let f = f.after_kill();
    expect(&named(&f, 2, "other"), &[]);
    let again = named(&f, 2, "before");
    expect(&again, &[("1", 1)]);
    f.ack(&again[0].handle).unwrap();
    expect(&named(&f, 2, "after"), &[("2", 1), ("3", 1)]);
    let f = f.after_kill();
    expect(&named(&f, 2, "before"), &[]);
    expect(&named(&f, 2, "after"), &[("2", 1), ("3", 1)]);
}

#[test]
fn a_message_group_holds_back_only_itself() {
    let f = ordered(Order::MessageGroup);
    append(&f, &["a:1", "a:2", "b:1", "none", "a:3", "b:2"]);
    let first = f.receive_one();
    expect(std::slice::from_ref(&first), &[("a:1", 1)]);
    expect(&f.receive(2), &[("b:1", 1), ("none", 1)]);
    expect(&f.receive(9), &[]);
    f.ack(&first.handle).unwrap();
    expect(&f.receive(9), &[("a:2", 1), ("a:3", 1)]);
}

#[test]
fn what_waits_behind_its_group_survives_a_kill() {
    let f = ordered(Order::MessageGroup);
    append(&f, &["a:1", "a:2", "b:1"]);
    let first = f.receive_one();
    expect(&f.receive(9), &[("b:1", 1)]);
    let f = f.after_kill();
    assert_eq!(f.groups.group(GROUP).unwrap().order, Order::MessageGroup);
    expect(&f.receive(9), &[]);
    f.ack(&first.handle).unwrap();
    expect(&f.receive(9), &[("a:2", 1)]);
}

#[test]
fn a_dead_letter_holds_back_nothing() {
    for order in [Order::Queue, Order::MessageGroup] {
        let mut f = ordered(order);
        f.groups.update(GROUP, Some(1)).unwrap();
        append(&f, &["a:1", "a:2"]);
        f.receive_one();
        f.pass(INVISIBLE);
        expect(&f.receive(9), &[("a:2", 1)]);
        f.wait_for("%DLQ%g", 0, 1);
        assert_eq!(f.store.offsets("%DLQ%g", 0).unwrap(), 0..1);
    }
}

#[test]
fn topics_of_the_type_fifo_are_read_in_order_unless_the_group_says_otherwise() {
    let f = Fixture::new(1);
    let options = TopicOptions {
        queues: 1,
        kind: TopicType::Fifo,
    };
    let topic = f.store.create_topic("fifo", options).unwrap();
    assert_eq!(f.groups.order(GROUP, topic.kind), Order::Queue);
    f.groups.set_order(GROUP, Order::Free).unwrap();
    assert_eq!(f.groups.order(GROUP, topic.kind), Order::Free);
    let f = f.after_close();
    assert_eq!(f.groups.order(GROUP, topic.kind), Order::Free);
}

/// With a queue that is blocked the next look is not now, or a waiting receive would go in circles.
#[test]
fn a_blocked_queue_says_when_to_look_again() {
    let mut f = ordered(Order::Queue);
    append(&f, &["1", "2"]);
    let batch = f.receive(2);
    f.change(&batch[0].handle, Duration::from_secs(1)).unwrap();
    f.pass(Duration::from_secs(2));
    let looked = f.try_receive(&Filter::All, 2, INVISIBLE, false).unwrap();
    assert_eq!(looked.next_visible, Some(batch[1].visible_at));
}
