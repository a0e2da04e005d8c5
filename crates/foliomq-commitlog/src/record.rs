//! Records: what is appended, where it went, and what is read back.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use crate::header::{HEADER, Header, Kind, checksum_fits};

/// What to append.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// A message or a control record. Fillers are the log's own: of those, nothing fits.
    pub kind: Kind,
    /// At most 255 bytes.
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: u32,
    /// The queue's next offset; the log takes one under its lock and increments it.
    pub next_offset: &'a AtomicU64,
    /// Set once the queue takes nothing more; looked at under the log's lock. See
    /// [`CommitLog::while_locked`](crate::CommitLog::while_locked).
    pub closed: Option<&'a AtomicBool>,
    /// The message, in parts that are copied one after the other. At most `u32::MAX / 2` bytes in sum.
    pub message: &'a [&'a [u8]],
}

impl Draft<'_> {
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
            .is_some_and(|closed| closed.load(Ordering::Acquire))
    }
}

/// Where a record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Of its first byte.
    pub position: u64,
    /// Bytes that the record takes in the log, header and padding included.
    pub size: u32,
    /// Its place in its queue.
    pub queue_offset: u64,
    /// Unix milliseconds; never decreases along the log.
    pub store_time: u64,
}

impl Appended {
    /// The position after the record: acknowledged once `committed` reaches it.
    pub fn end(&self) -> u64 {
        self.position + u64::from(self.size)
    }
}

/// One record, for as long as something else holds its bytes.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    header: Header,
    bytes: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// `bytes` is the whole record; its header was parsed from them.
    pub(crate) fn new(header: Header, bytes: &'a [u8]) -> Self {
        Self { header, bytes }
    }

    /// All fields of the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Topic, as it was written: UTF-8, if nothing is damaged.
    pub fn topic(&self) -> &'a [u8] {
        &self.bytes[topic_range(&self.header)]
    }

    /// The message.
    pub fn message(&self) -> &'a [u8] {
        &self.bytes[message_range(&self.header)]
    }

    /// Whether the checksum in the header fits the bytes.
    pub fn verify(&self) -> bool {
        checksum_fits(self.bytes)
    }
}

/// One record, by reference (or from a buffer in [`ReadMode::Buffered`](crate::ReadMode::Buffered)). Cheap to clone;
/// keeps its segment mapped.
#[derive(Debug, Clone)]
pub struct Record {
    header: Header,
    bytes: Bytes,
}

impl Record {
    /// `bytes` is the whole record; its header was parsed from them.
    pub(crate) fn new(header: Header, bytes: Bytes) -> Result<Self, String> {
        let record = Self { header, bytes };
        match std::str::from_utf8(record.topic_bytes()) {
            Ok(_) => Ok(record),
            Err(error) => Err(format!("the topic is not UTF-8: {error}")),
        }
    }

    /// Of its first byte.
    pub fn position(&self) -> u64 {
        self.header.position
    }

    /// The position after it.
    pub fn end(&self) -> u64 {
        self.header.position + u64::from(self.header.size)
    }

    /// What it is for.
    pub fn kind(&self) -> Kind {
        self.header.kind
    }

    /// Queue within the topic.
    pub fn queue_id(&self) -> u32 {
        self.header.queue_id
    }

    /// Place in the queue.
    pub fn queue_offset(&self) -> u64 {
        self.header.queue_offset
    }

    /// Unix milliseconds.
    pub fn store_time(&self) -> u64 {
        self.header.store_time
    }

    /// Bytes in the log.
    pub fn size(&self) -> u32 {
        self.header.size
    }

    /// All fields of the header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Topic.
    pub fn topic(&self) -> &str {
        // Checked when the record was made; the fallback is never taken.
        std::str::from_utf8(self.topic_bytes()).unwrap_or_default()
    }

    /// The message as a slice of the mapped page.
    pub fn message(&self) -> &[u8] {
        &self.bytes[message_range(&self.header)]
    }

    /// The same without a copy, owning a share of the mapping.
    pub fn message_bytes(&self) -> Bytes {
        self.bytes.slice(message_range(&self.header))
    }

    /// Whether the checksum in the header fits the bytes.
    pub fn verify(&self) -> bool {
        checksum_fits(&self.bytes)
    }

    fn topic_bytes(&self) -> &[u8] {
        &self.bytes[topic_range(&self.header)]
    }
}

/// Where the topic lies in a record.
fn topic_range(header: &Header) -> Range<usize> {
    HEADER..HEADER + usize::from(header.topic_len)
}

/// Where the message lies in a record.
fn message_range(header: &Header) -> Range<usize> {
    let start = topic_range(header).end;
    start..start + header.message_len as usize
}
