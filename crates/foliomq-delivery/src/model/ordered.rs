//! What the model expects of an ordered group: what is not done holds back what comes after it.

use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Order, Receive, Timestamp};
use foliomq_store::{Message, TopicOptions, TopicType};
use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::{Fixture, INVISIBLE, is_invalid};
use super::seen::Seen;

const GROUP: &str = "ordered";
const TOPIC: &str = "in-order";
const MAX_ATTEMPTS: u32 = 4;
/// Message groups.
const GROUPS: u8 = 4;

/// To the ordered group.
#[derive(Debug, Clone)]
pub enum OrderedStep {
    /// A message of a message group.
    Append(u8),
    /// At most so many.
    Receive(usize),
    Ack(Index),
    /// Seconds.
    Change(Index, u64),
}

impl OrderedStep {
    pub fn any() -> impl Strategy<Value = Self> {
        let index = any::<Index>;
        prop_oneof![
            20 => (0..GROUPS).prop_map(Self::Append),
            25 => (1..6usize).prop_map(Self::Receive),
            20 => index().prop_map(Self::Ack),
            10 => (index(), 0..40u64).prop_map(|(which, seconds)| Self::Change(which, seconds)),
        ]
    }
}

#[derive(Debug)]
struct Entry {
    /// What holds it back: its message group, or 0 where the queue does.
    holder: u8,
    attempt: u32,
    done: bool,
    visible_at: Timestamp,
    handle: String,
}

impl Entry {
    fn is_leased(&self, now: Timestamp) -> bool {
        !self.done && self.attempt > 0 && self.visible_at > now
    }
}

#[derive(Debug)]
pub struct Ordered {
    order: Order,
    /// By offset, in the one queue.
    entries: Vec<Entry>,
    /// Dead letters there are.
    dead: u64,
}

impl Ordered {
    pub fn new(f: &Fixture, order: Order) -> Self {
        let kind = TopicType::Any;
        let options = TopicOptions { queues: 1, kind };
        f.store.create_topic(TOPIC, options).unwrap();
        f.groups.update(GROUP, Some(MAX_ATTEMPTS)).unwrap();
        f.groups.set_order(GROUP, order).unwrap();
        Self {
            order,
            entries: Vec::new(),
            dead: 0,
        }
    }

    pub fn take(&mut self, f: &Fixture, step: &OrderedStep, seen: &mut Seen) {
        match step {
            OrderedStep::Append(group) => self.append(f, *group),
            OrderedStep::Receive(most) => self.receive(f, *most, seen),
            OrderedStep::Ack(which) => self.ack(f, which),
            OrderedStep::Change(which, seconds) => {
                self.change(f, which, Duration::from_secs(*seconds));
            }
        }
    }

    fn append(&mut self, f: &Fixture, group: u8) {
        let offset = self.entries.len() as u64;
        // The property of the message group, which is one character.
        let system = vec![0x8a, 0x01, 1, b'a' + group];
        let body = offset.to_string();
        let message = Message::encoded(Vec::new(), system, body.as_bytes()).unwrap();
        let appended = f.store.append_to(TOPIC, 0, &message).unwrap();
        assert_eq!(appended.queue_offset, offset);
        f.store.catch_up();
        self.entries.push(Entry {
            holder: if self.order == Order::Queue { 0 } else { group },
            attempt: 0,
            done: false,
            visible_at: 0,
            handle: String::new(),
        });
    }

    pub fn receive(&mut self, f: &Fixture, most: usize, seen: &mut Seen) {
        let request = Receive {
            group: GROUP,
            topic: TOPIC,
            filter: &Filter::All,
            most,
            invisible: INVISIBLE,
            auto_renew: false,
        };
        let batch = f.groups.receive(&request, f.now).unwrap().messages;
        let dead = self.new_dead(f);
        self.check_order(&batch, &dead, f.now);
        self.end_dead(&dead, f.now, seen);
        for delivery in &batch {
            self.delivered(delivery, seen);
        }
        let withheld = self.first_free(f.now).filter(|_| batch.len() < most);
        assert_eq!(withheld, None, "it is free, but not delivered");
    }

    /// A message may come if it is neither leased nor done, and all before it that could hold it back are done or come
    /// before it in the same batch; out of a queue that is held as a whole, if nothing of it is leased.
    fn check_order(&self, batch: &[Delivery], dead: &[usize], now: Timestamp) {
        let offset = |delivery: &Delivery| delivery.message.queue_offset() as usize;
        let offsets: Vec<usize> = batch.iter().map(offset).collect();
        assert!(offsets.is_sorted(), "a batch out of order: {offsets:?}");
        for &offset in offsets.iter().chain(dead) {
            let (before, rest) = self.entries.split_at(offset);
            let entry = &rest[0];
            assert!(!entry.done && !entry.is_leased(now), "{offset}: {entry:?}");
            for (earlier, other) in before.iter().enumerate() {
                let comes = || offsets.contains(&earlier) || dead.contains(&earlier);
                assert!(
                    other.holder != entry.holder || other.done || comes(),
                    "{offset} before {earlier}"
                );
            }
            assert!(
                self.order != Order::Queue || !self.entries.iter().any(|one| one.is_leased(now)),
                "{offset} out of a queue that is held"
            );
        }
    }

    fn delivered(&mut self, delivery: &Delivery, seen: &mut Seen) {
        let offset = delivery.message.queue_offset();
        let body = std::str::from_utf8(delivery.message.body()).unwrap();
        assert_eq!(body, offset.to_string());
        let entry = &mut self.entries[offset as usize];
        assert_eq!(delivery.attempt, entry.attempt + 1, "{offset}: {entry:?}");
        assert!(delivery.attempt <= MAX_ATTEMPTS, "{offset}: {entry:?}");
        (entry.attempt, entry.visible_at) = (delivery.attempt, delivery.visible_at);
        entry.handle.clone_from(&delivery.handle);
        seen.note(match entry.attempt {
            1 => "delivered in order",
            _ => "delivered in order again",
        });
    }

    /// The first that nothing holds back.
    fn first_free(&self, now: Timestamp) -> Option<usize> {
        let mut holders = Vec::new();
        let leased = |entry: &Entry| entry.is_leased(now);
        if self.order == Order::Queue && self.entries.iter().any(leased) {
            return None;
        }
        let mut open = (0..).zip(&self.entries).filter(|(_, entry)| !entry.done);
        let free = open.find(|(_, entry)| {
            let first = !holders.contains(&entry.holder);
            holders.push(entry.holder);
            first && !leased(entry)
        });
        free.map(|(offset, _)| offset)
    }

    /// Offsets of the dead letters that came since.
    fn new_dead(&self, f: &Fixture) -> Vec<usize> {
        f.store.catch_up();
        let topic = format!("%DLQ%{GROUP}");
        if f.store.topic(&topic).is_none() {
            return Vec::new();
        }
        let letters = f.store.read_many(&topic, 0, self.dead, 1000).unwrap();
        let offset = |body: &[u8]| std::str::from_utf8(body).unwrap().parse().unwrap();
        letters.iter().map(|one| offset(one.body())).collect()
    }

    fn end_dead(&mut self, dead: &[usize], now: Timestamp, seen: &mut Seen) {
        for &offset in dead {
            let entry = &mut self.entries[offset];
            let over = !entry.done && entry.attempt == MAX_ATTEMPTS && entry.visible_at <= now;
            assert!(over, "{offset} is a dead letter while {entry:?}");
            entry.done = true;
            seen.note("dead letter of an ordered group");
        }
        self.dead += dead.len() as u64;
    }

    /// All that are due after their last attempt are dead letters now.
    pub fn bury(&mut self, f: &Fixture, seen: &mut Seen) {
        let dead = self.new_dead(f);
        self.end_dead(&dead, f.now, seen);
        let over =
            |one: &Entry| !one.done && one.attempt == MAX_ATTEMPTS && one.visible_at <= f.now;
        let left = self.entries.iter().position(over);
        assert_eq!(left, None, "it is over, but no dead letter");
    }

    /// One that was delivered and is not done, and whether its lease stands.
    fn choose(&mut self, which: &Index, now: Timestamp) -> Option<(&mut Entry, bool)> {
        let open = |entry: &&mut Entry| !entry.done && entry.attempt > 0;
        let mut open: Vec<&mut Entry> = self.entries.iter_mut().filter(open).collect();
        if open.is_empty() {
            return None;
        }
        let chosen = open.swap_remove(which.index(open.len()));
        let leased = chosen.is_leased(now);
        Some((chosen, leased))
    }

    fn ack(&mut self, f: &Fixture, which: &Index) {
        if let Some((entry, leased)) = self.choose(which, f.now) {
            let result = f.groups.ack(GROUP, TOPIC, &entry.handle, f.now);
            assert!(leased || is_invalid(&result), "{entry:?}: {result:?}");
            assert_eq!(result.is_ok(), leased, "{entry:?}: {result:?}");
            entry.done = leased;
        }
    }

    fn change(&mut self, f: &Fixture, which: &Index, invisible: Duration) {
        if let Some((entry, leased)) = self.choose(which, f.now) {
            let handle = &entry.handle;
            let result = f
                .groups
                .change_invisible(GROUP, TOPIC, handle, invisible, f.now);
            if leased {
                entry.handle = result.unwrap();
                entry.visible_at = f.now + invisible.as_millis() as u64;
            } else {
                assert!(is_invalid(&result), "{entry:?}: {result:?}");
            }
        }
    }

    /// Acks all that is leased.
    pub fn ack_all(&mut self, f: &Fixture) {
        for entry in self.entries.iter_mut().filter(|one| one.is_leased(f.now)) {
            f.groups.ack(GROUP, TOPIC, &entry.handle, f.now).unwrap();
            entry.done = true;
        }
    }

    pub fn is_done(&self) -> bool {
        self.entries.iter().all(|entry| entry.done)
    }
}
