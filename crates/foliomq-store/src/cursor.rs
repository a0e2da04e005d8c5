//! Going over a queue by reference, without an allocation for each message.

use std::sync::Arc;

use foliomq_commitlog::{Kind, ReadError, RecordRef, View};
use foliomq_consumequeue::Entry;

use crate::error::StoreError;
use crate::message::TAG;
use crate::shared::Shared;
use crate::stored::{LOST, Parts};
use crate::wire::Fields;

/// Entries that are fetched at once, at most: after a jump it begins with one, and doubles.
const MOST_AHEAD: usize = 128;

/// A place in a queue; messages are borrowed from the mapped pages until the next is asked for.
///
/// The cheapest way to read many messages: no allocation, no lock and no share of the mapping for each. It keeps the
/// segment of the last message mapped. To wait for new messages, use [`Store::listen`](crate::Store::listen) or a
/// [`Tail`](crate::Tail); to keep a message, [`Store::read`](crate::Store::read).
#[derive(Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    number: u32,
    /// Of the message that comes next.
    offset: u64,
    /// Fetched ahead from the index; so many of them are used.
    entries: Vec<Entry>,
    used: usize,
    ahead: usize,
    view: View,
    /// Body bytes handed out and not counted yet.
    delivered: u64,
}

/// A stored message, borrowed from the mapped pages.
#[derive(Debug, Clone, Copy)]
pub struct MessageRef<'a> {
    record: RecordRef<'a>,
    body: &'a [u8],
    /// The content of its system properties.
    system: &'a [u8],
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, number: u32, offset: u64) -> Self {
        Self {
            number,
            view: shared.log.view(),
            shared,
            offset,
            entries: Vec::with_capacity(MOST_AHEAD),
            used: 0,
            ahead: 1,
            delivered: 0,
        }
    }

    /// Offset of the message that comes next.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes to another offset.
    pub fn seek(&mut self, offset: u64) {
        self.entries.clear();
        (self.used, self.ahead, self.offset) = (0, 1, offset);
    }

    /// The next message that is in the index now, or `None`. Messages that retention has removed are passed over.
    #[expect(
        clippy::should_implement_trait,
        reason = "each message borrows the cursor, which an Iterator cannot say"
    )]
    #[inline]
    pub fn next(&mut self) -> Result<Option<MessageRef<'_>>, StoreError> {
        let entry = loop {
            let Some(entry) = self.next_entry()? else {
                return Ok(None);
            };
            match self.view.hold(entry.position) {
                Err(ReadError::Deleted { .. }) => {}
                _ if entry.size == LOST => {}
                held => break held.map(|()| entry)?,
            }
        };
        let record = self.view.record(entry.position, entry.size)?;
        let message = MessageRef::new(record)?;
        self.offset = record.header().queue_offset + 1;
        self.delivered += message.body.len() as u64;
        Ok(Some(message))
    }

    #[inline]
    fn next_entry(&mut self) -> Result<Option<Entry>, StoreError> {
        if self.used == self.entries.len() {
            self.fetch()?;
        }
        let Some(entry) = self.entries.get(self.used).copied() else {
            return Ok(None);
        };
        self.used += 1;
        // The record will say it better, if there is one.
        self.offset += 1;
        Ok(Some(entry))
    }

    fn fetch(&mut self) -> Result<(), StoreError> {
        self.count_delivered();
        self.entries.clear();
        self.used = 0;
        let queues = &self.shared.queues;
        if self.ahead == 1
            && let Some(entry) = queues.entry(self.number, self.offset)?
        {
            // After a jump: one look at the index.
            self.entries.push(entry);
            self.ahead = 2;
            return Ok(());
        }
        let start = queues.offsets(self.number).start;
        self.offset = self.offset.max(start);
        queues.entries(self.number, self.offset, self.ahead, &mut self.entries)?;
        self.ahead = (2 * self.ahead).min(MOST_AHEAD);
        Ok(())
    }

    fn count_delivered(&mut self) {
        let delivered = std::mem::take(&mut self.delivered);
        if delivered > 0 {
            self.shared.count_delivered(delivered);
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.count_delivered();
    }
}

impl<'a> MessageRef<'a> {
    #[inline]
    fn new(record: RecordRef<'a>) -> Result<Self, StoreError> {
        let message = record.message();
        let parts = match record.header().kind {
            Kind::Message => Parts::of(message),
            _ => None,
        };
        let parts = parts.ok_or_else(|| not_a_message(record.header().position))?;
        Ok(Self {
            record,
            body: &message[parts.body.clone()],
            system: &message[parts.system],
        })
    }

    /// A slice of the mapped page.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The tag.
    pub fn tag(&self) -> Option<&'a str> {
        let fields = Fields::new(self.system).filter(|field| field.number == u32::from(TAG));
        fields.filter_map(|field| field.text()).last()
    }

    /// Its topic; empty if the record is damaged there.
    pub fn topic(&self) -> &'a str {
        std::str::from_utf8(self.record.topic()).unwrap_or_default()
    }

    /// Its queue within the topic.
    pub fn queue_id(&self) -> u32 {
        self.record.header().queue_id
    }

    /// Its place in the queue.
    pub fn queue_offset(&self) -> u64 {
        self.record.header().queue_offset
    }

    /// Byte offset in the commit log.
    pub fn position(&self) -> u64 {
        self.record.header().position
    }

    /// Unix milliseconds.
    pub fn store_time(&self) -> u64 {
        self.record.header().store_time
    }

    /// Whether the record is as it was written, by its checksum. Reads the whole record.
    pub fn verify(&self) -> bool {
        self.record.verify()
    }
}

#[cold]
fn not_a_message(position: u64) -> StoreError {
    StoreError::Read(format!(
        "the record at position {position} is not a message"
    ))
}
