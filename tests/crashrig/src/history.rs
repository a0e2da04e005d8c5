//! All that the load noted, and what of it was promised when.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};

use crate::events::{Kind, Record};
use crate::note::{Note, Placed};

/// The notes of a recording.
#[derive(Debug)]
pub struct History {
    /// With the event that each is.
    notes: Vec<(usize, Note)>,
    /// Where each message was put, by position.
    pub placed: BTreeMap<u64, Placed>,
    /// The writer and number of each.
    pub names: BTreeSet<(u32, u32)>,
}

/// What a power cut must not take.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Promises {
    /// Messages below this position.
    pub position: u64,
    /// The last position known to have been appended.
    pub appended: u64,
    /// Where an earlier recovery has cut the log: what the load appended there is gone, and need not be told from what
    /// came later.
    pub limit: u64,
    /// Topics.
    pub topics: BTreeSet<u32>,
    /// Progress by topic and queue.
    pub progress: BTreeMap<(u32, u32), u64>,
}

impl History {
    pub fn load(record: &Record) -> Result<Self> {
        let mut history = Self {
            notes: Vec::new(),
            placed: BTreeMap::new(),
            names: BTreeSet::new(),
        };
        for (n, event) in record.events.iter().enumerate() {
            if event.kind == Kind::Note {
                let notes = Note::decode_all(&record.bytes(event)?).context("a note is damaged")?;
                notes.into_iter().for_each(|note| history.add(n, note));
            }
        }
        Ok(history)
    }

    fn add(&mut self, event: usize, note: Note) {
        self.notes.push((event, note));
        if let Note::Placed(placed) = note {
            self.placed.insert(placed.position, placed);
            self.names.insert((placed.writer, placed.number));
        }
    }

    /// What was promised before the event `at`.
    pub fn promises(&self, at: usize) -> Promises {
        let mut promises = Promises {
            limit: u64::MAX,
            ..Promises::default()
        };
        let before = self.notes.iter().take_while(|(event, _)| *event < at);
        for (_, note) in before {
            match *note {
                Note::Placed(placed) => promises.appended = promises.appended.max(placed.end),
                Note::Promised { position } => promises.position = promises.position.max(position),
                Note::Topic { topic } => _ = promises.topics.insert(topic),
                Note::Progress {
                    topic,
                    queue,
                    offset,
                } => {
                    let kept = promises.progress.entry((topic, queue)).or_default();
                    *kept = offset.max(*kept);
                }
            }
        }
        promises
    }
}
