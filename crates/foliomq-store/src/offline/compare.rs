//! The log's records against each other, the metadata and the indexes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

use foliomq_commitlog::Survey;
use foliomq_consumequeue::{ConsumeQueues, Entry, IndexError, KeyIndex, key_hash, tag_hash};
use tempfile::TempDir;

use super::report::{Part, Report};
use super::unreadable;
use super::walk::{CONTROL, HIDDEN, MESSAGE, RawRecord, walk};
use crate::error::OpenError;
use crate::hidden::{Control, Verdict};
use crate::ledger::LedgerEvent;
use crate::message::{MESSAGE_ID, TAG};
use crate::registry::Registry;
use crate::shared::{CONSUME_QUEUES, KEYS};
use crate::stored::Parts;
use crate::wire::Fields;

/// Records that may carry the same message id, by repeated sends, and are still told apart.
const SAME_ID: usize = 1000;

/// Adds to `report` all that does not fit.
pub(super) fn compare(
    dir: &Path,
    survey: &Survey,
    registry: &Registry,
    report: &mut Report,
) -> Result<(), OpenError> {
    let indexes = match Indexes::open_copy(dir, survey, report.indexed) {
        Err(error @ (OpenError::Index(IndexError::Damaged { .. }) | OpenError::Invalid { .. })) => {
            report.add(Part::Index, None, error.to_string());
            None
        }
        Err(error) => return Err(error),
        Ok(indexes) => Some(indexes),
    };
    let mut comparison = Comparison {
        registry,
        indexes,
        next: HashMap::new(),
        line: None,
        report,
    };
    walk(survey, |record| comparison.record(&record)).map_err(unreadable(dir))?;
    comparison.ends();
    Ok(())
}

struct Indexes {
    queues: ConsumeQueues,
    keys: KeyIndex,
    _copy: TempDir,
}

impl Indexes {
    fn open_copy(dir: &Path, survey: &Survey, indexed: u64) -> Result<Self, OpenError> {
        let copy = TempDir::new().map_err(unreadable(dir))?;
        for folder in [CONSUME_QUEUES, KEYS] {
            let (from, to) = (dir.join(folder), copy.path().join(folder));
            fs::create_dir(&to).map_err(unreadable(&to))?;
            if from.is_dir() {
                copy_files(&from, &to).map_err(unreadable(&from))?;
            } else if indexed > 0 {
                let what = format!("the folder {} is missing", from.display());
                return Err(OpenError::invalid(what));
            }
        }
        let start = survey.segments.first().map_or(0, |segment| segment.base);
        let stretch = survey.checkpoint.map_or(1, |log| log.segment_size);
        let queues = ConsumeQueues::open(&copy.path().join(CONSUME_QUEUES), indexed)?;
        queues.trim(start);
        Ok(Self {
            queues,
            keys: KeyIndex::open(&copy.path().join(KEYS), indexed, stretch)?,
            _copy: copy,
        })
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

struct Comparison<'a> {
    registry: &'a Registry,
    indexes: Option<Indexes>,
    /// For each queue number: the offset that comes next in the log, and that comes next below the indexes' checkpoint.
    next: HashMap<u32, (u64, u64)>,
    /// The ledger's line that comes next, once there was one.
    line: Option<u64>,
    report: &'a mut Report,
}

impl Comparison<'_> {
    fn record(&mut self, record: &RawRecord) {
        match record.kind {
            MESSAGE => match Parts::of(&record.message) {
                Some(parts) => {
                    let system = &record.message[parts.system];
                    let id = text(system, MESSAGE_ID).filter(|id| !id.is_empty());
                    let key = id.map(|id| key_hash(&record.topic, id));
                    self.placed(record, tag_hash(text(system, TAG)), key);
                }
                None => self.wrong(Part::Log, record, "is not a message"),
            },
            CONTROL => match Control::decode(&record.message) {
                Some(control) => {
                    self.listed(record, LedgerEvent::of_control(&control));
                    if control.verdict == Verdict::Revealed {
                        self.placed(record, control.tag_hash, control.keys().last());
                    }
                }
                None => self.wrong(Part::Log, record, "is not a control record"),
            },
            HIDDEN => match LedgerEvent::of_hidden(&record.message) {
                Some(event) => self.listed(record, event),
                None => self.wrong(Part::Log, record, "is not a hidden message"),
            },
            _ => {}
        }
    }

    /// A record about a hidden message: the ledger must have its line.
    fn listed(&mut self, record: &RawRecord, event: LedgerEvent) {
        let (Some(indexes), true) = (&self.indexes, record.position < self.report.indexed) else {
            return;
        };
        let Some(number) = self.registry.ledger() else {
            return self.wrong(Part::Metadata, record, "is hidden, and nothing lists such");
        };
        let first = || indexes.queues.offsets(number).start;
        let line = self.line.unwrap_or_else(first);
        self.line = Some(line + 1);
        let expected = event.entry(record.position, record.size as u32, record.store_time);
        match indexes.queues.entry(number, line) {
            Ok(Some(entry)) if entry == expected => {}
            found => {
                let what = format!("is {expected:?}, line {line} of the ledger {found:?}");
                self.wrong(Part::Index, record, &what);
            }
        }
    }

    /// A record that stands for a message in a queue, with the hash of one of its keys.
    fn placed(&mut self, record: &RawRecord, tag_hash: u64, key: Option<u64>) {
        let Some(topic) = self.registry.find(&record.topic) else {
            if !self.registry.is_deleted(&record.topic, record.position) {
                self.wrong(Part::Metadata, record, "is of a topic that is not there");
            }
            return;
        };
        if record.position < topic.meta.since {
            return;
        }
        match topic.number(record.queue_id) {
            Ok(number) => self.entry(number, record, tag_hash, key),
            Err(error) => self.wrong(Part::Metadata, record, &error.to_string()),
        }
    }

    fn entry(&mut self, number: u32, record: &RawRecord, tag_hash: u64, key: Option<u64>) {
        let offset = record.queue_offset;
        let indexed = record.position < self.report.indexed;
        let (next, next_indexed) = self.next.entry(number).or_insert((offset, offset));
        let expected = *next;
        *next = offset + 1;
        if indexed {
            *next_indexed = offset + 1;
        }
        if offset != expected {
            let what = format!("has offset {offset} in its queue, after {expected} messages");
            self.wrong(Part::Log, record, &what);
        }
        if let Some(indexes) = self.indexes.as_ref().filter(|_| indexed) {
            self.report.compared += 1;
            let wrong = indexes.contradict(number, record, tag_hash, key);
            wrong
                .into_iter()
                .for_each(|what| self.wrong(Part::Index, record, &what));
        }
    }

    /// No queue's index may go on after the log's messages.
    fn ends(&mut self) {
        let Some(indexes) = &self.indexes else { return };
        for (number, (_, end)) in &self.next {
            let offsets = indexes.queues.offsets(*number);
            if offsets.end != *end && !(offsets == (0..0)) {
                let what = format!(
                    "queue number {number} ends at {} in the index, at {end} in the log",
                    offsets.end
                );
                self.report.add(Part::Index, None, what);
            }
        }
    }

    fn wrong(&mut self, part: Part, record: &RawRecord, what: &str) {
        let (topic, queue) = (&record.topic, record.queue_id);
        let what = format!("the record {what} (topic {topic}, queue {queue})");
        self.report.add(part, Some(record.position), what);
    }
}

impl Indexes {
    /// What they say of a record that is not so.
    fn contradict(
        &self,
        number: u32,
        record: &RawRecord,
        tag_hash: u64,
        key: Option<u64>,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        let expected = Entry {
            position: record.position,
            size: record.size as u32,
            tag_hash,
            store_time: record.store_time,
        };
        match self.queues.entry(number, record.queue_offset) {
            Ok(Some(entry)) if entry == expected => {}
            Ok(Some(entry)) => wrong.push(format!("is {expected:?}, its index entry {entry:?}")),
            Ok(None) => wrong.push("has no index entry".to_owned()),
            Err(error) => wrong.push(error.to_string()),
        }
        if let Some(key) = key {
            match self.keys.positions(key, SAME_ID) {
                Ok(found) if found.contains(&record.position) || found.len() == SAME_ID => {}
                Ok(_) => wrong.push("is not in the key index".to_owned()),
                Err(error) => wrong.push(error.to_string()),
            }
        }
        wrong
    }
}

/// The last text with this number in encoded system properties.
fn text(system: &[u8], number: u8) -> Option<&str> {
    Fields::new(system)
        .filter(|field| field.number == u32::from(number))
        .filter_map(|field| field.text())
        .last()
}
