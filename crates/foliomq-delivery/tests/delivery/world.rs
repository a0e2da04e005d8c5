//! What a naive model expects of a group: one entry for each message, looked through as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use foliomq_delivery::{Delivery, Filter, Options, ResetTo, Timestamp};
use foliomq_store::Message;
use proptest::sample::Index;

use crate::fixture::{Fixture, GROUP, TOPIC, is_invalid};
use crate::hidden_world::{HiddenModel, MAX_CHECKS};

pub const QUEUES: u32 = 3;
const MAX_ATTEMPTS: u32 = 3;
pub const TAGS: [Option<&str>; 3] = [None, Some("A"), Some("B")];
const FILTERS: [&str; 3] = ["*", "A", "A || B"];

/// What the model knows of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
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

type Place = (u32, u64);

pub struct World {
    pub f: Fixture,
    model: BTreeMap<Place, Entry>,
    tags: BTreeMap<Place, usize>,
    bodies: BTreeMap<Place, String>,
    pub hidden: HiddenModel,
    /// The one handle of a message that may be good.
    handles: BTreeMap<Place, String>,
    old: Vec<(Place, String)>,
    /// Dead letters that there must be.
    dead: u64,
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
    pub fn new() -> Self {
        let options = Options {
            max_attempts: MAX_ATTEMPTS,
            snapshot_after: 20_000,
            max_checks: MAX_CHECKS,
            ..Options::default()
        };
        let f = Fixture::with(QUEUES, options);
        Self {
            f,
            model: BTreeMap::new(),
            tags: BTreeMap::new(),
            bodies: BTreeMap::new(),
            hidden: HiddenModel::default(),
            handles: BTreeMap::new(),
            old: Vec::new(),
            dead: 0,
        }
    }

    pub fn append(&mut self, queue: u32, tag: usize) {
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

    fn hand_out(&mut self, place: Place, handle: String) {
        assert!(
            !self.old.iter().any(|(_, old)| *old == handle),
            "a handle was given twice"
        );
        self.void(place);
        self.handles.insert(place, handle);
    }

    fn void(&mut self, place: Place) {
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
    fn settle_dead(&mut self) {
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
        }
    }

    /// Those that are due after their last attempt are dead letters now.
    pub fn bury(&mut self) {
        let due: Vec<Place> = self
            .model
            .iter()
            .filter(|(_, entry)| self.due(**entry) == Some(MAX_ATTEMPTS))
            .map(|(place, _)| *place)
            .collect();
        let expected = self.dead + due.len() as u64;
        if expected > self.dead {
            self.f.wait_for(&format!("%DLQ%{GROUP}"), 0, expected);
        }
        self.settle_dead();
        assert_eq!(self.dead, expected, "{due:?}");
    }

    /// A handle that was good, and whether it still is.
    fn choose(&self, which: &Index) -> Option<(Place, String, bool)> {
        let places: Vec<Place> = self.handles.keys().copied().collect();
        if places.is_empty() {
            return None;
        }
        let place = *which.get(&places);
        let held =
            matches!(self.model[&place], Entry::Out { visible_at, .. } if visible_at > self.f.now);
        Some((place, self.handles[&place].clone(), held))
    }

    fn is_unsure(&self, place: Place) -> bool {
        matches!(self.model[&place], Entry::DoneOrOut { .. })
    }

    pub fn ack(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.ack(&handle);
        if held {
            result.unwrap();
            self.model.insert(place, Entry::Done);
        } else if !self.is_unsure(place) {
            let done = matches!(self.model[&place], Entry::Done | Entry::Dead);
            assert_eq!(
                result.is_ok(),
                done,
                "{place:?} {:?}: {result:?}",
                self.model[&place]
            );
        }
    }

    pub fn ack_old(&mut self, which: &Index) {
        if self.old.is_empty() {
            return;
        }
        let (place, handle) = which.get(&self.old);
        if !self.is_unsure(*place) {
            let result = self.f.ack(handle);
            let done = matches!(self.model[place], Entry::Done | Entry::Dead);
            assert_eq!(
                result.is_ok(),
                done,
                "{place:?} {:?}: {result:?}",
                self.model[place]
            );
            assert!(done || is_invalid(&result));
        }
    }

    pub fn change(&mut self, which: &Index, invisible: Duration) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.change(&handle, invisible);
        if !held {
            assert!(is_invalid(&result), "{result:?}");
            return;
        }
        let Entry::Out {
            attempt,
            auto_renew,
            ..
        } = self.model[&place]
        else {
            unreachable!("it is held")
        };
        let visible_at = self.f.now + invisible.as_millis() as u64;
        self.model.insert(
            place,
            Entry::Out {
                visible_at,
                attempt,
                auto_renew,
            },
        );
        self.hand_out(place, result.unwrap());
    }

    pub fn renew(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let by = Duration::from_secs(10);
        let result = self.f.groups.renew(&handle, by, self.f.now);
        match self.model[&place] {
            Entry::Out {
                attempt,
                auto_renew: true,
                ..
            } if held => {
                result.unwrap();
                let visible_at = self.f.now + by.as_millis() as u64;
                self.model.insert(
                    place,
                    Entry::Out {
                        visible_at,
                        attempt,
                        auto_renew: true,
                    },
                );
            }
            _ => assert!(is_invalid(&result), "{result:?}"),
        }
    }

    pub fn release(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.groups.release(&handle, self.f.now);
        match self.model[&place] {
            Entry::Out { attempt, .. } if held => {
                result.unwrap();
                self.model.insert(
                    place,
                    Entry::Back {
                        attempt: attempt - 1,
                    },
                );
                self.void(place);
            }
            _ => assert!(is_invalid(&result), "{result:?}"),
        }
    }

    pub fn dead_letter(&mut self, which: &Index) {
        let Some((place, handle, held)) = self.choose(which) else {
            return;
        };
        let result = self.f.bury(&handle);
        if !held {
            let done = matches!(self.model[&place], Entry::Done | Entry::Dead);
            assert!(
                self.is_unsure(place) || result.is_ok() == done,
                "{result:?}"
            );
            return;
        }
        result.unwrap();
        self.f.wait_for(&format!("%DLQ%{GROUP}"), 0, self.dead + 1);
        self.model.insert(
            place,
            Entry::Back {
                attempt: MAX_ATTEMPTS,
            },
        );
        self.settle_dead();
        assert_eq!(self.model[&place], Entry::Dead);
    }

    pub fn reset(&mut self, to: &Index) {
        let target = to.index(20) as u64;
        if self.f.groups.group(GROUP).is_none() {
            return;
        }
        self.f
            .groups
            .reset(GROUP, TOPIC, ResetTo::Offset(target), self.f.now)
            .unwrap();
        for (place, entry) in &mut self.model {
            *entry = if place.1 < target {
                Entry::Done
            } else {
                Entry::New
            };
        }
        let handles = std::mem::take(&mut self.handles);
        self.old.extend(handles);
    }

    /// Whatever is left comes out, or is a dead letter.
    pub fn drain(mut self) {
        for _ in 0..=2 * MAX_ATTEMPTS {
            self.f.pass(Duration::from_secs(100));
            self.deliver_due();
            self.f.groups.tick(self.f.now).unwrap();
            self.bury();
            self.receive(1000, 0, Duration::from_secs(50), false);
            let model = &self.model;
            let is_out = |place: &&Place| matches!(model[place], Entry::Out { .. });
            let open: Vec<Place> = self.handles.keys().filter(is_out).copied().collect();
            for place in open {
                self.f.ack(&self.handles[&place]).unwrap();
                self.model.insert(place, Entry::Done);
            }
        }
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
    }
}
