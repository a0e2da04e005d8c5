//! What is found of a store after a cut, held against what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use foliomq_store::{Message, Options, Retention, Store, StoredMessage, verify};

use crate::body::{id, identify};
use crate::history::{History, Promises};
use crate::load::{GROUP, KEPT, SEGMENT, topic_name};
use crate::note::Placed;

/// So many messages, at most, are also looked up by their id.
const LOOKED_UP: usize = 200;

/// What came of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages that were promised and not deleted by retention.
    pub promised: u64,
    /// Of these, the ones that are gone or differ.
    pub lost: u64,
    /// Messages that were found, by position.
    pub found: BTreeMap<u64, Placed>,
    /// Where the log ended.
    pub end: u64,
    /// All else that must not be.
    pub problems: Vec<String>,
}

impl Outcome {
    /// Whether everything is as it must be.
    pub fn good(&self) -> bool {
        self.lost == 0 && self.problems.is_empty()
    }

    fn demand(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }
}

/// Opens the store at `dir` as a broker does after a power cut, and checks it.
pub fn check(dir: &Path, seed: u64, history: &History, promises: &Promises) -> Outcome {
    let mut outcome = Outcome::default();
    if let Err(error) = examine(dir, seed, history, promises, &mut outcome) {
        // Nothing can be read: all is lost.
        outcome.promised = promised(history, promises, 0).count() as u64;
        outcome.lost = outcome.promised;
        outcome.problems.push(format!("{error:#}"));
    }
    outcome
}

fn examine(
    dir: &Path,
    seed: u64,
    history: &History,
    promises: &Promises,
    outcome: &mut Outcome,
) -> Result<()> {
    let store = open(dir)?;
    let found = Found::read(&store, seed)?;
    let dropped = Dropped::new(&store, promises)?;
    compare(&store, &found, history, promises, &dropped, outcome);
    compare_unnoted(&found, history, &dropped, outcome);
    compare_the_rest(&store, promises, outcome);
    found.look_up(&store, outcome)?;
    go_on(&store, outcome)?;
    store.close().context("closing the store again")?;
    drop(store);
    let report = verify(dir).context("verifying")?;
    outcome.demand(report.sound(), || format!("verify: {:?}", report.findings));
    let again = Found::read(&open(dir).context("opening again")?, seed)?;
    outcome.demand(again.placed == found.placed, || {
        "opening again gives something else".to_owned()
    });
    outcome.found = found.placed;
    Ok(())
}

/// Appends to every queue.
fn go_on(store: &Store, outcome: &mut Outcome) -> Result<()> {
    let topics = store.topics().into_iter();
    let queues =
        topics.flat_map(|topic| (0..topic.queues).map(move |queue| (topic.name.clone(), queue)));
    for (topic, queue) in queues {
        let next = store.offsets(&topic, queue)?.end;
        let appended = store.append_to(&topic, queue, &Message::new(b""))?;
        outcome.demand(appended.queue_offset == next, || {
            format!(
                "{topic}/{queue} goes on at {} after {next}",
                appended.queue_offset
            )
        });
    }
    Ok(())
}

/// Opens a store as a broker does by default, but keeps everything.
pub fn open(dir: &Path) -> Result<Store> {
    let kept = Retention {
        age: None,
        ..Default::default()
    };
    let options = Options::new(dir).segment_size(SEGMENT).retention(kept);
    options.open().context("opening the store")
}

/// The messages in a store.
#[derive(Debug, Default)]
pub struct Found {
    /// By position.
    pub placed: BTreeMap<u64, Placed>,
    /// Messages without a body, which the rig itself appends.
    pub empty: u64,
    /// What nobody has sent.
    pub strange: Vec<String>,
}

impl Found {
    /// Reads everything.
    pub fn read(store: &Store, seed: u64) -> Result<Self> {
        let mut found = Self::default();
        for topic in store.topics() {
            for queue in 0..topic.queues {
                let offsets = store.offsets(&topic.name, queue)?;
                let messages = store.read_many(&topic.name, queue, 0, usize::MAX)?;
                for (offset, message) in offsets.clone().zip(&messages) {
                    found.add(message, seed, offset);
                }
                if messages.len() as u64 != offsets.end - offsets.start {
                    let (name, read) = (&topic.name, messages.len());
                    let what =
                        format!("{name}/{queue} holds {offsets:?} and gives {read} messages");
                    found.strange.push(what);
                }
            }
        }
        Ok(found)
    }

    /// Some of them must be found by their id, too.
    fn look_up(&self, store: &Store, outcome: &mut Outcome) -> Result<()> {
        let step = self.placed.len().div_ceil(LOOKED_UP).max(1);
        for placed in self.placed.values().step_by(step) {
            let id = id(placed.writer, placed.number);
            let found = store.find_by_id(&topic_name(placed.topic), &id, 1)?;
            let position = found.first().map(StoredMessage::position);
            outcome.demand(position == Some(placed.position), || {
                format!("{id} is not found by its id: {placed:?}")
            });
        }
        Ok(())
    }

    fn add(&mut self, message: &StoredMessage, seed: u64, offset: u64) {
        let (position, queue) = (message.position(), message.queue_id());
        if message.body().is_empty() {
            self.empty += 1;
            return;
        }
        let topic = message.topic().strip_prefix("topic-");
        let topic = topic.and_then(|number| number.parse().ok());
        let (Some((writer, number)), Some(topic)) = (identify(seed, message.body()), topic) else {
            let what = format!("a body at position {position} that nobody has sent");
            return self.strange.push(what);
        };
        if message.queue_offset() != offset {
            let other = message.queue_offset();
            self.strange
                .push(format!("offset {offset} gives the message of {other}"));
        }
        let placed = Placed {
            position,
            end: position + u64::from(message.size()),
            topic,
            queue,
            offset,
            writer,
            number,
        };
        self.placed.insert(position, placed);
    }
}

/// What must be there of a store that begins at `start`.
fn promised<'a>(
    history: &'a History,
    promises: &Promises,
    start: u64,
) -> impl Iterator<Item = &'a Placed> {
    let end = promises.position;
    let from = history.placed.range(start..);
    from.map(|(_, placed)| placed)
        .filter(move |placed| placed.end <= end)
}

fn compare(
    store: &Store,
    found: &Found,
    history: &History,
    promises: &Promises,
    dropped: &Dropped,
    outcome: &mut Outcome,
) {
    let start = store.watermarks().start;
    let end = store.recovery().end;
    outcome.end = end;
    outcome.problems.extend(found.strange.iter().cloned());
    let there = |placed: &&Placed| {
        found.placed.get(&placed.position) == Some(placed) || dropped.has(placed)
    };
    for placed in promised(history, promises, start) {
        outcome.promised += 1;
        if !there(&placed) {
            outcome.lost += 1;
        }
    }
    // A prefix: whatever is known to have been appended below the end is there, promised or not.
    let end = end.min(promises.limit).max(start);
    let missing = history.placed.range(start..end);
    let missing = missing
        .map(|(_, placed)| placed)
        .find(|placed| !there(placed));
    outcome.demand(missing.is_none(), || {
        format!("the log goes from {start} to {end}, and has a hole: {missing:?}")
    });
}

/// Retention keeps the last bytes, up to the size of a segment that it drops at once.
fn droppable(promises: &Promises) -> u64 {
    let newest = promises.appended.next_multiple_of(SEGMENT) + SEGMENT;
    newest.saturating_sub(KEPT - SEGMENT)
}

/// What retention has taken from queues whose segments are there still: where a queue begins that is emptied is on the
/// device before they go.
struct Dropped {
    /// By topic and queue.
    starts: BTreeMap<(u32, u32), u64>,
    /// What may go of the log that is there.
    going: Range<u64>,
}

impl Dropped {
    fn new(store: &Store, promises: &Promises) -> Result<Self> {
        let mut starts = BTreeMap::new();
        for topic in store.topics() {
            let number = topic.name.strip_prefix("topic-");
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            for queue in 0..topic.queues {
                let start = store.offsets(&topic.name, queue)?.start;
                starts.insert((number, queue), start);
            }
        }
        Ok(Self {
            starts,
            going: store.watermarks().start..droppable(promises),
        })
    }

    fn has(&self, placed: &Placed) -> bool {
        let start = self.starts.get(&(placed.topic, placed.queue));
        self.going.contains(&placed.position) && start.is_some_and(|&start| placed.offset < start)
    }
}

/// What must hold beside the messages: how far retention goes, topics, progress.
fn compare_the_rest(store: &Store, promises: &Promises, outcome: &mut Outcome) {
    let start = store.watermarks().start;
    outcome.demand(start <= droppable(promises), || {
        format!(
            "the log begins at {start}, though it went to {}",
            promises.appended
        )
    });
    for topic in &promises.topics {
        let name = topic_name(*topic);
        outcome.demand(store.topic(&name).is_some(), || format!("{name} is gone"));
    }
    for ((topic, queue), offset) in &promises.progress {
        let kept = store.progress(GROUP, &topic_name(*topic), *queue);
        outcome.demand(kept >= Some(*offset), || {
            format!("progress in {topic}/{queue} is {kept:?} after {offset}")
        });
    }
}

/// Messages that were found and that the load had no time to note: each once, and of each writer without a gap.
fn compare_unnoted(found: &Found, history: &History, dropped: &Dropped, outcome: &mut Outcome) {
    let mut numbers: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for placed in found.placed.values() {
        let once = numbers
            .entry(placed.writer)
            .or_default()
            .insert(placed.number);
        let elsewhere = !history.placed.contains_key(&placed.position)
            && history.names.contains(&(placed.writer, placed.number));
        outcome.demand(once && !elsewhere, || {
            format!("twice in the log: {placed:?}")
        });
    }
    let noted = history.placed.values();
    for placed in noted.filter(|placed| dropped.has(placed)) {
        let numbers = numbers.entry(placed.writer).or_default();
        numbers.insert(placed.number);
    }
    for (writer, numbers) in numbers {
        let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else {
            continue;
        };
        outcome.demand((last - first) as usize + 1 == numbers.len(), || {
            format!("writer {writer}'s messages {first} to {last} have gaps")
        });
    }
}
