//! What the model expects of messages that are in no queue yet.

use foliomq_delivery::{DeliveryError, Question, Resolution, Timestamp};
use proptest::prelude::*;
use proptest::sample::Index;

use super::fixture::TOPIC;
use super::world::{QUEUES, TAGS, World, tagged};

/// Questions about a transaction before it is rolled back.
pub const MAX_CHECKS: u32 = 2;
const FIRST_CHECK: u64 = 6000;
const CHECK_INTERVAL: u64 = 30_000;

/// To messages that are in no queue yet, and to get them there.
#[derive(Debug, Clone)]
pub enum HiddenStep {
    /// To a queue, with a tag, in so many seconds.
    Delay(u32, usize, u64),
    Due,
    Recall(Index),
    Half(u32, usize),
    /// Commits or rolls back.
    End(Index, bool),
    /// Whether somebody is there to ask.
    Ask(bool),
}

impl HiddenStep {
    pub fn any() -> impl Strategy<Value = Self> {
        let index = any::<Index>;
        let place = || (0..QUEUES, 0..TAGS.len());
        prop_oneof![
            15 => (place(), 0..100u64)
                .prop_map(|((queue, tag), seconds)| Self::Delay(queue, tag, seconds)),
            15 => Just(Self::Due),
            6 => index().prop_map(Self::Recall),
            10 => place().prop_map(|(queue, tag)| Self::Half(queue, tag)),
            12 => (index(), any::<bool>()).prop_map(|(which, commit)| Self::End(which, commit)),
            8 => any::<bool>().prop_map(Self::Ask),
        ]
    }

    pub fn take(&self, world: &mut World) {
        match self {
            Self::Delay(queue, tag, seconds) => world.delay(*queue, *tag, *seconds),
            Self::Due => world.deliver_due(),
            Self::Recall(which) => world.recall(which),
            Self::Half(queue, tag) => world.half(*queue, *tag),
            Self::End(which, commit) => world.end(which, *commit),
            Self::Ask(there) => world.ask(*there),
        }
    }
}

#[derive(Debug, Default)]
pub struct HiddenModel {
    delayed: Vec<Delayed>,
    halves: Vec<Half>,
}

#[derive(Debug, Clone)]
struct Message {
    queue: u32,
    tag: usize,
    body: String,
}

#[derive(Debug)]
struct Delayed {
    message: Message,
    due: Timestamp,
    handle: String,
    waits: bool,
}

#[derive(Debug)]
struct Half {
    message: Message,
    id: String,
    ask_at: Timestamp,
    asked: u32,
    end: Option<Resolution>,
}

impl World {
    fn message(&self, kind: &str, queue: u32, tag: usize) -> Message {
        let number = self.hidden.delayed.len() + self.hidden.halves.len();
        let (queue, body) = (queue % self.queues, format!("{kind} {number}"));
        Message { queue, tag, body }
    }

    fn entered(&mut self, message: Message) {
        self.enter(message.queue, message.tag, message.body);
    }

    fn delay(&mut self, queue: u32, tag: usize, seconds: u64) {
        let message = self.message("delayed", queue, tag);
        let (f, due) = (&self.f, self.f.now + seconds * 1000);
        let sent = [(due, tagged(&message.body, tag))];
        let sent = f
            .groups
            .submit_delayed(TOPIC, Some(message.queue), &sent, f.now);
        let sent = sent.unwrap().remove(0);
        f.store.wait_committed(sent.appended.end()).unwrap();
        f.store.catch_up();
        self.hidden.delayed.push(Delayed {
            message,
            due,
            handle: sent.recall_handle,
            waits: true,
        });
        self.seen.note("delayed");
    }

    pub fn deliver_due(&mut self) {
        let now = self.f.now;
        let done = self.f.groups.deliver_due(now).unwrap();
        self.f.store.catch_up();
        let waiting = self.hidden.delayed.iter_mut().filter(|one| one.waits);
        let mut due: Vec<&mut Delayed> = waiting.filter(|one| one.due <= now).collect();
        // Those of one time come as they were sent.
        due.sort_by_key(|one| one.due);
        due.iter_mut().for_each(|one| one.waits = false);
        let due: Vec<Message> = due.iter().map(|one| one.message.clone()).collect();
        assert_eq!(done.revealed, due.len(), "{due:?}");
        for message in due {
            self.entered(message);
            self.seen.note("revealed");
        }
        let left = self.hidden.delayed.iter().filter(|one| one.waits);
        assert_eq!(self.f.groups.waiting(), left.clone().count());
        let next = left.map(|one| one.due).min();
        assert!(done.next <= next || next.is_none(), "{done:?} {next:?}");
    }

    fn recall(&mut self, which: &Index) {
        if self.hidden.delayed.is_empty() {
            return;
        }
        let which = which.index(self.hidden.delayed.len());
        let one = &mut self.hidden.delayed[which];
        let result = self.f.groups.recall(TOPIC, &one.handle, self.f.now);
        if one.waits && one.due > self.f.now {
            assert!(result.is_ok(), "{one:?}: {result:?}");
            one.waits = false;
            self.seen.note("recalled");
        } else {
            let refused = matches!(result, Err(DeliveryError::NotWaiting { .. }));
            assert!(refused, "{one:?}: {result:?}");
            self.seen.note("recalled late");
        }
    }

    fn half(&mut self, queue: u32, tag: usize) {
        let message = self.message("half", queue, tag);
        let f = &self.f;
        let sent = [(None, tagged(&message.body, tag))];
        let sent = f
            .groups
            .submit_half(TOPIC, Some(message.queue), &sent, f.now);
        let sent = sent.unwrap().remove(0);
        f.store.wait_committed(sent.appended.end()).unwrap();
        f.store.catch_up();
        self.hidden.halves.push(Half {
            message,
            id: sent.transaction_id,
            ask_at: self.f.now + FIRST_CHECK,
            asked: 0,
            end: None,
        });
    }

    fn end(&mut self, which: &Index, commit: bool) {
        if self.hidden.halves.is_empty() {
            return;
        }
        let resolution = match commit {
            true => Resolution::Commit,
            false => Resolution::Rollback,
        };
        let which = which.index(self.hidden.halves.len());
        let one = &mut self.hidden.halves[which];
        let result = self.f.groups.end_transaction(TOPIC, &one.id, resolution);
        match one.end {
            Some(end) => assert_eq!(result.is_ok(), end == resolution, "{one:?}: {result:?}"),
            None => {
                result.unwrap();
                one.end = Some(resolution);
                let message = one.message.clone();
                self.f.store.catch_up();
                if commit {
                    self.entered(message);
                    self.seen.note("committed");
                } else {
                    self.seen.note("rolled back");
                }
            }
        }
    }

    fn ask(&mut self, there: bool) {
        let (now, mut asked) = (self.f.now, Vec::new());
        let ask = |question: Question| {
            asked.push(question.transaction_id);
            there
        };
        self.f.groups.ask(now, ask).unwrap();
        let mut expected = Vec::new();
        let open = self
            .hidden
            .halves
            .iter_mut()
            .filter(|one| one.end.is_none());
        for one in open.filter(|one| one.ask_at <= now) {
            if one.asked == MAX_CHECKS {
                one.end = Some(Resolution::Rollback);
                self.seen.note("rolled back");
                continue;
            }
            expected.push(one.id.clone());
            if there {
                (one.asked, one.ask_at) = (one.asked + 1, now + CHECK_INTERVAL);
                self.seen.note("asked");
            }
        }
        asked.sort_unstable();
        expected.sort_unstable();
        assert_eq!(asked, expected);
        let open = self.hidden.halves.iter().filter(|one| one.end.is_none());
        assert_eq!(self.f.groups.transactions(), open.count());
    }
}
