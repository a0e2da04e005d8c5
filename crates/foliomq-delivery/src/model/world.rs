//! What a naive model expects of a group: one entry for each message, looked through as a whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Options, Order, Timestamp};
use foliomq_store::{Message, Topic};
use tempfile::TempDir;

use super::fixture::{Fixture, GROUP, TOPIC};
use super::hidden::{HiddenModel, MAX_CHECKS};
use super::ordered::{Ordered, OrderedStep};
use super::seen::Seen;

/// At first, and at most.
const FIRST_QUEUES: u32 = 2;
pub const QUEUES: u32 = 4;
pub const MAX_ATTEMPTS: u32 = 3;
pub const TAGS: [Option<&str>; 3] = [None, Some("A"), Some("B")];
const FILTERS: [&str; 3] = ["*", "A", "A || B"];

/// What the model knows of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry {
    New,
    Out {
        visible_at: Timestamp,
        attempt: u32,
        auto_renew: bool,
    },
    /// Given back: the next delivery has attempt + 1.
    Back {
        attempt: u32,
    },
    Done,
    /// Expired while a receive with a filter that refuses it may or may not have looked at it.
    DoneOrOut {
        attempt: u32,
    },
    Dead,
}

/// Queue and offset.
pub type Place = (u32, u64);

pub struct World {
    pub f: Fixture,
    pub queues: u32,
    /// Below these retention has taken everything.
    pub floors: BTreeMap<u32, u64>,
    pub model: BTreeMap<Place, Entry>,
    tags: BTreeMap<Place, usize>,
    bodies: BTreeMap<Place, String>,
    pub hidden: HiddenModel,
    ordered: Ordered,
    pub seen: Seen,
    /// The one handle of a message that may be good.
    pub handles: BTreeMap<Place, String>,
    pub old: Vec<(Place, String)>,
    /// Dead letters that there must be.
    dead: u64,
}

/// A folder in memory, if that is to be had: kills are survived there as on a disk.
fn folder() -> TempDir {
    match Path::new("/dev/shm").is_dir() {
        true => TempDir::with_prefix_in("foliomq-model", "/dev/shm").unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// A message with one of the tags.
pub fn tagged(body: &str, tag: usize) -> Message<'_> {
    let message = Message::new(body.as_bytes());
    match TAGS[tag] {
        Some(tag) => message.tag(tag),
        None => message,
    }
}

impl World {
    pub fn new(order: Order) -> Self {
        let options = Options {
            max_attempts: MAX_ATTEMPTS,
            snapshot_after: 20_000,
            max_checks: MAX_CHECKS,
            ..Options::default()
        };
        let f = Fixture::within(folder(), FIRST_QUEUES, options);
        Self {
            ordered: Ordered::new(&f, order),
            f,
            queues: FIRST_QUEUES,
            floors: BTreeMap::new(),
            seen: Seen::default(),
            model: BTreeMap::new(),
            tags: BTreeMap::new(),
            bodies: BTreeMap::new(),
            hidden: HiddenModel::default(),
            handles: BTreeMap::new(),
            old: Vec::new(),
            dead: 0,
        }
    }

    pub fn take_ordered(&mut self, step: &OrderedStep) {
        self.ordered.take(&self.f, step, &mut self.seen);
    }

    pub fn tick(&mut self) {
        self.f.groups.tick(self.f.now).unwrap();
        self.bury();
        self.ordered.bury(&self.f, &mut self.seen);
    }

    pub fn restart(mut self, how: &'static str, restart: fn(Fixture) -> Fixture) -> Self {
        self.seen.note(how);
        self.f = restart(self.f);
        self
    }

    /// The topic gets another queue.
    pub fn grow(&mut self) {
        if self.queues < QUEUES {
            self.queues += 1;
            let change = |topic: &mut Topic| topic.queues = self.queues;
            self.f.groups.update_topic(TOPIC, change).unwrap();
            self.seen.note("grown");
        }
    }

    /// Retention takes what there is: it is done, but for what is a dead letter already.
    pub fn empty(&mut self) {
        self.f.empty();
        // From here on the group knows.
        _ = self.f.groups.group(GROUP);
        for (place, entry) in &mut self.model {
            if *entry != Entry::Dead {
                *entry = Entry::Done;
            }
            let floor = self.floors.entry(place.0).or_default();
            *floor = (place.1 + 1).max(*floor);
        }
        self.old.extend(std::mem::take(&mut self.handles));
        self.seen.note("emptied");
    }

    pub fn append(&mut self, queue: u32, tag: usize) {
        let queue = queue % self.queues;
        let body = format!("plain {}", self.tags.len());
        let offset = self.f.append(queue, &tagged(&body, tag));
        assert_eq!(self.enter(queue, tag, body), offset);
    }

    /// The message of this body is the next of its queue; returns its offset.
    pub fn enter(&mut self, queue: u32, tag: usize, body: String) -> u64 {
        let mine = self.tags.keys().filter(|(other, _)| *other == queue);
        let place = (queue, mine.count() as u64);
        self.tags.insert(place, tag);
        self.bodies.insert(place, body);
        self.model.insert(place, Entry::New);
        place.1
    }

    fn matches(&self, place: Place, filter: usize) -> bool {
        let tag = TAGS[self.tags[&place]];
        filter == 0
            || tag.is_some_and(|tag| FILTERS[filter].split(" || ").any(|other| other == tag))
    }

    /// The attempts of a message that is due again.
    fn due(&self, entry: Entry) -> Option<u32> {
        match entry {
            Entry::Out {
                visible_at,
                attempt,
                ..
            } if visible_at <= self.f.now => Some(attempt),
            Entry::Back { attempt } | Entry::DoneOrOut { attempt } => Some(attempt),
            _ => None,
        }
    }

    pub fn receive(&mut self, most: usize, filter: usize, invisible: Duration, auto_renew: bool) {
        let parsed = Filter::tags(FILTERS[filter]).unwrap();
        let received = self
            .f
            .try_receive(&parsed, most, invisible, auto_renew)
            .unwrap();
        assert!(received.messages.len() <= most);
        let is_full = received.messages.len() == most;
        for delivery in &received.messages {
            self.delivered(delivery, filter, auto_renew);
        }
        self.pass_over(filter, is_full);
        // A full receive may have stopped before it saw every dead letter.
        self.settle_dead();
        if !is_full {
            let left: Vec<_> = self
                .model
                .iter()
                .filter(|(_, entry)| self.due(**entry).is_some())
                .collect();
            let unsure = |entry: &Entry| matches!(entry, Entry::DoneOrOut { .. });
            assert!(
                left.iter().all(|(_, entry)| unsure(entry)),
                "due, but not delivered: {left:?}"
            );
            assert!(
                !self.model.values().any(|entry| *entry == Entry::New),
                "new, but not delivered"
            );
        }
    }

    fn delivered(&mut self, delivery: &Delivery, filter: usize, auto_renew: bool) {
        let place = (delivery.message.queue_id(), delivery.message.queue_offset());
        let body = self.bodies.get(&place).map(String::as_bytes);
        assert_eq!(Some(delivery.message.body()), body, "{place:?}");
        assert!(self.matches(place, filter), "{place:?} does not match");
        let entry = self.model[&place];
        let attempt = match entry {
            Entry::New => 1,
            entry => {
                self.due(entry)
                    .unwrap_or_else(|| panic!("{place:?} delivered while {entry:?}"))
                    + 1
            }
        };
        assert_eq!(delivery.attempt, attempt, "{place:?} was {entry:?}");
        assert!(attempt <= MAX_ATTEMPTS);
        self.seen.note(match attempt {
            1 => "delivered",
            _ => "delivered again",
        });
        self.model.insert(
            place,
            Entry::Out {
                visible_at: delivery.visible_at,
                attempt,
                auto_renew,
            },
        );
        self.hand_out(place, delivery.handle.clone());
    }

    pub fn hand_out(&mut self, place: Place, handle: String) {
        self.void(place);
        // A change back to an earlier end makes an earlier handle good again.
        self.old.retain(|(_, old)| *old != handle);
        self.handles.insert(place, handle);
    }

    pub fn void(&mut self, place: Place) {
        self.old
            .extend(self.handles.remove(&place).map(|handle| (place, handle)));
    }

    /// What a filter refused is done; what it may have refused before it was full is unsure.
    fn pass_over(&mut self, filter: usize, is_full: bool) {
        let nexts: Vec<u64> = self
            .f
            .groups
            .group(GROUP)
            .unwrap()
            .queues
            .iter()
            .map(|queue| queue.next)
            .collect();
        for (place, entry) in self.model.clone() {
            if self.matches(place, filter) {
                continue;
            }
            let now = match self.due(entry) {
                None if entry == Entry::New && place.1 < nexts[place.0 as usize] => Entry::Done,
                Some(attempt) if attempt < MAX_ATTEMPTS && is_full => Entry::DoneOrOut { attempt },
                Some(attempt) if attempt < MAX_ATTEMPTS => Entry::Done,
                _ => continue,
            };
            self.model.insert(place, now);
        }
    }

    /// Takes note of dead letters that came since, by what the topic of dead letters holds.
    pub fn settle_dead(&mut self) {
        self.f.store.catch_up();
        let Some(topic) = self.f.store.topic(&format!("%DLQ%{GROUP}")) else {
            return;
        };
        let messages = self
            .f
            .store
            .read_many(&topic.name, 0, self.dead, usize::from(u16::MAX))
            .unwrap();
        for message in messages {
            let body = std::str::from_utf8(message.body()).unwrap();
            let place = self.bodies.iter().find(|(_, other)| *other == body);
            let place = *place.unwrap().0;
            let entry = self.model[&place];
            assert_eq!(
                self.due(entry),
                Some(MAX_ATTEMPTS),
                "{place:?} is a dead letter while {entry:?}"
            );
            self.model.insert(place, Entry::Dead);
            self.void(place);
            self.dead += 1;
            self.seen.note("dead letter");
        }
    }

    /// Those that are due after their last attempt are dead letters now.
    fn bury(&mut self) {
        let due: Vec<Place> = self
            .model
            .iter()
            .filter(|(_, entry)| self.due(**entry) == Some(MAX_ATTEMPTS))
            .map(|(place, _)| *place)
            .collect();
        let expected = self.dead + due.len() as u64;
        self.settle_dead();
        assert_eq!(self.dead, expected, "{due:?}");
    }

    /// Whatever is left comes out, or is a dead letter.
    pub fn drain(mut self) -> Seen {
        for _ in 0..=2 * MAX_ATTEMPTS {
            self.f.pass(Duration::from_secs(100));
            self.deliver_due();
            self.tick();
            self.receive(1000, 0, Duration::from_secs(50), false);
            let model = &self.model;
            let is_out = |place: &&Place| matches!(model[place], Entry::Out { .. });
            let open: Vec<Place> = self.handles.keys().filter(is_out).copied().collect();
            for place in open {
                self.f.ack(&self.handles[&place]).unwrap();
                self.model.insert(place, Entry::Done);
            }
            self.take_ordered(&OrderedStep::Receive(1000));
            self.ordered.ack_all(&self.f);
        }
        assert!(self.ordered.is_done(), "{:?}", self.ordered);
        let settled =
            |entry: &Entry| matches!(entry, Entry::Done | Entry::Dead | Entry::DoneOrOut { .. });
        assert!(self.model.values().all(settled), "{:?}", self.model);
        if let Some(group) = self.f.groups.group(GROUP) {
            assert!(
                group
                    .queues
                    .iter()
                    .all(|queue| queue.in_flight == 0 && queue.committed == queue.max_offset),
                "{group:?}"
            );
        }
        self.seen
    }
}
