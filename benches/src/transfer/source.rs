//! What is sent: the segments of a real store, in the page cache, and the positions of messages in them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use foliomq_benches::payload::Payload;
use foliomq_store::{Entry, Flush, Message, Options, Preheat, Retention, Store, TopicOptions};
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::raw::Mapping;

/// Queues whose messages lie interleaved in the log; the consumer reads one of them.
const QUEUES: u32 = 4;
/// Most messages of the queue that is read.
const MOST_MESSAGES: u64 = 65_536;
/// Most pieces that the log is cut into: more than a run of small ones sends.
const MOST_PIECES: usize = 1 << 19;
/// Where a record's lengths stand, and where its topic begins (docs/format.md).
const TOPIC_LENGTH: usize = 6;
const MESSAGE_LENGTH: usize = 60;
const HEADER: usize = 64;

/// A run of bytes within one segment: a message's body, or a piece of the segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// Index of the segment.
    pub segment: usize,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes.
    pub length: usize,
}

/// How the pieces lie in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Bodies of one queue, by its consume queue; records of three other queues lie between them.
    Scattered,
    /// The segments from end to end.
    Bulk,
    /// The same, to a consumer that never sleeps, so that nobody has to wake it.
    Polled,
}

impl Pattern {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Scattered, Self::Bulk, Self::Polled];

    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scattered => "scattered",
            Self::Bulk => "in bulk",
            Self::Polled => "in bulk, polled",
        }
    }
}

/// The segments of a store, open and mapped.
#[derive(Debug)]
pub struct Source {
    segments: Vec<Segment>,
    /// Bytes of the log that were written.
    written: u64,
    pieces: BTreeMap<(Pattern, usize), Vec<Piece>>,
}

#[derive(Debug)]
struct Segment {
    file: File,
    bytes: Mapping,
}

impl Source {
    /// Writes a store below `folder` with a topic for each size, closes it, and finds the messages of queue 0 of each.
    pub fn write(folder: &Path, plan: &Plan) -> Result<Self> {
        let store = open(folder, plan)?;
        for &size in &plan.sizes {
            fill(&store, size, plan.queue_bytes)
                .with_context(|| format!("writing messages of {size} bytes"))?;
        }
        store.flush()?;
        let mut source = Self {
            segments: segments(&store)?,
            written: store.watermarks().appended,
            pieces: BTreeMap::new(),
        };
        for &size in &plan.sizes {
            let bodies = source.find(&store, plan.segment, size)?;
            source.pieces.insert((Pattern::Scattered, size), bodies);
            source
                .pieces
                .insert((Pattern::Bulk, size), source.cut(size));
        }
        store.close()?;
        Ok(source)
    }

    /// The bytes of a piece, in the mapping.
    pub fn bytes(&self, piece: &Piece) -> &[u8] {
        let start = piece.offset as usize;
        &self.segments[piece.segment].bytes[start..start + piece.length]
    }

    /// The file that a piece lies in.
    pub fn file(&self, piece: &Piece) -> &File {
        &self.segments[piece.segment].file
    }

    /// Pieces of one size, in the order in which they are sent.
    pub fn pieces(&self, pattern: Pattern, size: usize) -> &[Piece] {
        let pattern = if pattern == Pattern::Polled {
            Pattern::Bulk
        } else {
            pattern
        };
        self.pieces.get(&(pattern, size)).map_or(&[], Vec::as_slice)
    }

    /// Bytes of the log.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn cut(&self, size: usize) -> Vec<Piece> {
        let mut left = self.written;
        let mut pieces = Vec::new();
        for (segment, Segment { bytes, .. }) in self.segments.iter().enumerate() {
            let used = left.min(bytes.len() as u64);
            left -= used;
            let offsets = (0..used / size as u64).map(|index| index * size as u64);
            pieces.extend(
                offsets
                    .map(|offset| Piece {
                        segment,
                        offset,
                        length: size,
                    })
                    .take(MOST_PIECES - pieces.len()),
            );
        }
        pieces
    }

    /// The bodies of queue 0, each compared with what the store itself reads.
    fn find(&self, store: &Store, segment: u64, size: usize) -> Result<Vec<Piece>> {
        let topic = topic(size);
        let mut entries = Vec::new();
        store.entries(&topic, 0, 0, MOST_MESSAGES as usize, &mut entries)?;
        let piece = |entry: &Entry| -> Result<Piece> {
            let piece = self.body(entry, segment, size)?;
            let read = store.message(entry)?;
            ensure!(
                read.body() == self.bytes(&piece),
                "another body at position {}",
                entry.position
            );
            Ok(piece)
        };
        entries.iter().map(piece).collect()
    }

    /// Where the body lies in its record: the message is the last part of the record, the body of the message.
    fn body(&self, entry: &Entry, segment: u64, size: usize) -> Result<Piece> {
        let (index, start) = (
            (entry.position / segment) as usize,
            (entry.position % segment) as usize,
        );
        let record = self
            .segments
            .get(index)
            .and_then(|segment| segment.bytes.get(start..start + HEADER));
        let record = record.with_context(|| format!("no record at position {}", entry.position))?;
        let topic = u16::from_le_bytes([record[TOPIC_LENGTH], record[TOPIC_LENGTH + 1]]);
        let message = record[MESSAGE_LENGTH..]
            .first_chunk()
            .map_or(0, |length| u32::from_le_bytes(*length));
        let end = start + HEADER + usize::from(topic) + message as usize;
        Ok(Piece {
            segment: index,
            offset: (end - size) as u64,
            length: size,
        })
    }
}

fn topic(size: usize) -> String {
    format!("of-{size}")
}

fn open(folder: &Path, plan: &Plan) -> Result<Store> {
    let mut options = Options::new(folder)
        .segment_size(plan.segment)
        .flush(Flush::Async {
            interval: foliomq_benches::bench::FLUSH_INTERVAL,
        })
        .preheat(Preheat::Window {
            bytes: foliomq_benches::bench::WINDOW,
        })
        .retention(Retention {
            age: None,
            ..Retention::default()
        });
    options.max_body = plan.sizes.iter().copied().max().unwrap_or(options.max_body);
    options.open().context("opening the store")
}

/// Appends to the queues in turn. Each body begins with its number, so that no two are the same.
fn fill(store: &Store, size: usize, queue_bytes: u64) -> Result<()> {
    let topic = topic(size);
    store.create_topic(
        &topic,
        TopicOptions {
            queues: QUEUES,
            ..TopicOptions::default()
        },
    )?;
    let messages = (queue_bytes / size as u64).clamp(2, MOST_MESSAGES);
    let payload = Payload::new(size);
    let mut body = Vec::with_capacity(size);
    for number in 0..messages * u64::from(QUEUES) {
        body.clear();
        body.extend_from_slice(payload.body(number));
        body[..8].copy_from_slice(&number.to_le_bytes());
        store.append_to(
            &topic,
            (number % u64::from(QUEUES)) as u32,
            &Message::new(&body),
        )?;
    }
    // Reading the last one waits until the consume queue has it.
    store
        .read(&topic, 0, messages - 1)?
        .context("the last message is not in its queue")?;
    Ok(())
}

/// Opens and maps every segment. The store still has them open for writing, but nothing is appended any more.
fn segments(store: &Store) -> Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for info in store.segments() {
        let path = &info.path;
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let bytes = Mapping::of(&file).with_context(|| format!("mapping {}", path.display()))?;
        segments.push(Segment { file, bytes });
    }
    Ok(segments)
}
