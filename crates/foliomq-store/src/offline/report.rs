//! What was found in a store's folder.

use foliomq_commitlog::Survey;
use serde::Serialize;

use crate::topic::TopicType;

/// Findings that a report names; the others are counted.
const MAX_FINDINGS: usize = 1000;

/// What [`inspect`](crate::inspect) and [`verify`](crate::verify) found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The commit log.
    pub log: LogReport,
    /// The topics that the metadata name, by name.
    pub topics: Vec<TopicReport>,
    /// The indexes are flushed up to this position of the log. What is above is entered again at the next start.
    pub indexed: u64,
    /// Messages that were compared with the indexes; 0 after `inspect`.
    pub compared: u64,
    /// What is wrong, at most 1000. Empty in a sound store.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub more_findings: u64,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn sound(&self) -> bool {
        self.findings.is_empty()
    }

    pub(super) fn add(&mut self, part: Part, position: Option<u64>, what: impl Into<String>) {
        if self.findings.len() == MAX_FINDINGS {
            self.more_findings += 1;
            return;
        }
        let what = what.into();
        self.findings.push(Finding {
            part,
            position,
            what,
        });
    }
}

/// The commit log in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// The first position still there.
    pub start: u64,
    /// The position after the last record.
    pub end: u64,
    /// Everything below was flushed; `None` if that cannot be read.
    pub durable: Option<u64>,
    /// Whether it was closed with nothing after `durable`.
    pub clean: bool,
    /// Segments.
    pub segments: u64,
    /// Bytes of the device that they occupy.
    pub allocated: u64,
    /// Messages.
    pub messages: u64,
}

impl LogReport {
    pub(super) fn new(survey: &Survey) -> Self {
        let segments = &survey.segments;
        Self {
            start: segments.first().map_or(0, |segment| segment.base),
            end: survey.end(),
            durable: survey.checkpoint.map(|checkpoint| checkpoint.durable),
            clean: survey.checkpoint.is_some_and(|checkpoint| checkpoint.clean),
            segments: segments.len() as u64,
            allocated: segments.iter().map(|segment| segment.allocated).sum(),
            messages: segments.iter().map(|segment| segment.messages).sum(),
        }
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// Its name.
    pub name: String,
    /// Which kinds of message it takes.
    pub kind: TopicType,
    /// How many queues it has.
    pub queues: u32,
}

/// The part of a store that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The commit log: `foliomq verify --salvage` keeps what is readable.
    Log,
    /// Topics and progress.
    Metadata,
    /// The indexes: remove their folders and `index-checkpoint`, and the next start makes them anew.
    Index,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Where.
    pub part: Part,
    /// The position in the log that it is about.
    pub position: Option<u64>,
    /// What.
    pub what: String,
}
