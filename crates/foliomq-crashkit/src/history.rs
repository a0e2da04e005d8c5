//! What was sent, what was promised, and whether a store still has it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use foliomq_store::{Message, Store, StoreError, StoredMessage, TopicOptions};

/// The topic of every message.
pub(crate) const TOPIC: &str = "t";
/// Its queues.
pub(crate) const QUEUES: u32 = 3;
/// The group whose progress is kept.
pub(crate) const GROUP: &str = "g";

/// So often a message that was just appended is read, a second each time.
const STARVED: usize = 60;
/// A queue is read again so often, if retention seems to be at work.
const RETRIES: usize = 1000;

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) queue: u32,
    pub(crate) body: Vec<u8>,
}

/// What may not be lost from some moment on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Promise {
    /// So many messages, from the first one sent.
    pub(crate) messages: usize,
    /// So many, if only the process dies.
    pub(crate) appended: usize,
    /// The topic.
    pub(crate) topic: bool,
    /// The indexes: they were flushed, and need never be made anew.
    pub(crate) indexes: bool,
    /// By queue.
    pub(crate) progress: BTreeMap<u32, u64>,
    /// A receipt handle that stays one of ours.
    pub(crate) handle: Option<String>,
}

/// All that happened to a store, in the order of its log.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) sent: Vec<Sent>,
    /// By moment. The first one holds while the store opens.
    pub(crate) promises: Vec<Promise>,
    /// By queue: retention may have dropped what is below.
    pub(crate) dropped: [u64; QUEUES as usize],
    /// What the group may have acknowledged: queue and offset.
    pub(crate) acked: BTreeSet<(u32, u64)>,
}

/// What a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) topic: bool,
    /// By queue.
    pub(crate) offsets: Vec<Range<u64>>,
    bodies: Vec<Vec<Vec<u8>>>,
    pub(crate) progress: BTreeMap<u32, u64>,
}

impl Contents {
    /// All that can be read from a store.
    pub(crate) fn of(store: &Store) -> Result<Self, StoreError> {
        let mut contents = Self {
            topic: store.topic(TOPIC).is_some(),
            offsets: vec![0..0; QUEUES as usize],
            bodies: vec![Vec::new(); QUEUES as usize],
            progress: BTreeMap::new(),
        };
        if !contents.topic {
            return Ok(contents);
        }
        for queue in 0..QUEUES {
            for _ in 0..RETRIES {
                let offsets = store.offsets(TOPIC, queue)?;
                let messages = store.read_many(TOPIC, queue, 0, usize::MAX)?;
                let bodies = messages.iter().map(|message| message.body().to_vec());
                contents.bodies[queue as usize] = bodies.collect();
                contents.offsets[queue as usize] = offsets.clone();
                let whole = messages.len() as u64 == offsets.end - offsets.start;
                if whole && store.offsets(TOPIC, queue)? == offsets {
                    break;
                }
                std::thread::yield_now();
            }
            let progress = store.progress(GROUP, TOPIC, queue);
            contents
                .progress
                .extend(progress.map(|offset| (queue, offset)));
        }
        Ok(contents)
    }

    /// Messages that were ever in it, those that retention dropped included.
    pub(crate) fn total(&self) -> usize {
        self.offsets
            .iter()
            .map(|offsets| offsets.end as usize)
            .sum()
    }
}

impl History {
    /// Whether `found` is what the log may hold: a prefix of what was sent, with all that was promised at `moment`.
    pub(crate) fn check(&self, found: &Contents, moment: u64) -> Result<(), String> {
        let promise = &self.promises[moment as usize];
        if promise.topic && !found.topic {
            return Err("lost: the topic".to_owned());
        }
        let total = found.total();
        if total < promise.messages {
            let promised = promise.messages;
            return Err(format!("lost: {total} messages of {promised} promised"));
        }
        if total > self.sent.len() {
            let sent = self.sent.len();
            return Err(format!("made up: {total} messages, {sent} were sent"));
        }
        (0..QUEUES).try_for_each(|queue| self.check_queue(found, queue, total))?;
        for (queue, promised) in &promise.progress {
            if found.progress.get(queue).is_none_or(|kept| kept < promised) {
                return Err(format!("lost: progress {promised} of queue {queue}"));
            }
        }
        Ok(())
    }

    /// Whether all that was appended at `moment` is there.
    pub(crate) fn check_appended(&self, found: &Contents, moment: u64) -> Result<(), String> {
        let (total, appended) = (found.total(), self.promises[moment as usize].appended);
        if total < appended {
            return Err(format!("lost by a kill: {total} messages of {appended}"));
        }
        Ok(())
    }

    fn check_queue(&self, found: &Contents, queue: u32, total: usize) -> Result<(), String> {
        let offsets = &found.offsets[queue as usize];
        let bodies = &found.bodies[queue as usize];
        let of_queue = self.sent[..total].iter().filter(|sent| sent.queue == queue);
        let expected: Vec<&Vec<u8>> = of_queue.map(|sent| &sent.body).collect();
        if offsets.end != expected.len() as u64 {
            let (end, sent) = (offsets.end, expected.len());
            return Err(format!(
                "not a prefix: queue {queue} ends at {end}, of the first {total} messages it has {sent}"
            ));
        }
        if offsets.start > self.dropped[queue as usize] {
            let (start, dropped) = (offsets.start, self.dropped[queue as usize]);
            return Err(format!(
                "lost: queue {queue} begins at {start}, dropped was what is below {dropped}"
            ));
        }
        let expected = &expected[offsets.start as usize..];
        if expected.len() != bodies.len() {
            let (found, there) = (bodies.len(), expected.len());
            return Err(format!(
                "lost: queue {queue} reads {found} messages of {there}"
            ));
        }
        match expected
            .iter()
            .zip(bodies)
            .position(|(one, two)| *one != two)
        {
            Some(n) => Err(format!("altered: message {n} of queue {queue}")),
            None => Ok(()),
        }
    }

    /// Nothing but what was found counts from here on, all of it promised.
    pub(crate) fn go_on_from(&mut self, found: &Contents) {
        self.sent.truncate(found.total());
        let promise = Promise {
            messages: found.total(),
            appended: found.total(),
            topic: found.topic,
            indexes: self.promises[0].indexes,
            progress: found.progress.clone(),
            handle: self.promises[0].handle.clone(),
        };
        // Others will have the offsets of what was lost.
        self.acked
            .retain(|&(queue, offset)| offset < found.offsets[queue as usize].end);
        self.promises = vec![promise];
        for (dropped, offsets) in self.dropped.iter_mut().zip(&found.offsets) {
            *dropped = (*dropped).max(offsets.start);
        }
    }

    /// The id of the `n`-th message.
    pub(crate) fn id(n: usize) -> String {
        format!("m{n}")
    }
}

/// Makes the topic, which may be there.
pub(crate) fn make_topic(store: &Store) -> Result<(), StoreError> {
    let options = TopicOptions {
        queues: QUEUES,
        ..TopicOptions::default()
    };
    store.create_topic(TOPIC, options).map(|_| ())
}

/// A read gives up if the dispatcher does not come to run for a second, as on a machine with too much to do.
fn read_in_time(store: &Store, offset: u64) -> Result<Option<StoredMessage>, StoreError> {
    for _ in 0..STARVED {
        let read = store.read(TOPIC, 0, offset)?;
        if read.is_some() {
            return Ok(read);
        }
    }
    Ok(None)
}

/// Whether appends go on: a few are made, and read back.
pub(crate) fn check_appends(store: &Store, before: &Contents) -> Result<(), String> {
    let failed = |error: StoreError| format!("cannot go on: {error}");
    make_topic(store).map_err(failed)?;
    for n in 0..2 {
        let body = format!("afterwards {n}").into_bytes();
        let appended = store
            .append_to(TOPIC, 0, &Message::new(&body))
            .map_err(failed)?;
        let expected = before.offsets[0].end + n;
        if appended.queue_offset != expected {
            let offset = appended.queue_offset;
            return Err(format!("an append got offset {offset}, not {expected}"));
        }
        let read = read_in_time(store, expected).map_err(failed)?;
        if read.is_none_or(|message| message.body() != body) {
            // Where the indexes have stopped, the next append is refused, and says why.
            let refused = store.append_to(TOPIC, 0, &Message::new(&body)).err();
            return Err(format!(
                "what was appended afterwards cannot be read; the next append is refused: {refused:?}"
            ));
        }
    }
    Ok(())
}
