//! Going over a queue by reference, without an allocation for each message.

use std::sync::Arc;

use foliomq_commitlog::{Header, Kind, ReadError, RecordRef, View};
use foliomq_consumequeue::Entry;

use crate::error::StoreError;
use crate::hidden::{Control, PREFIX, Place};
use crate::message::TAG;
use crate::registry::TopicState;
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
    topic: Arc<TopicState>,
    queue: u32,
    /// Of the queue, in the consume queues.
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
    /// Where a control record has put it.
    place: Option<Place>,
    /// The content of its system properties.
    system: &'a [u8],
}

impl Cursor {
    pub(crate) fn new(
        shared: Arc<Shared>,
        topic: Arc<TopicState>,
        queue: u32,
        offset: u64,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            number: topic.number(queue)?,
            topic,
            queue,
            view: shared.log.view(),
            shared,
            offset,
            entries: Vec::with_capacity(MOST_AHEAD),
            used: 0,
            ahead: 1,
            delivered: 0,
        })
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
        let (header, place) = loop {
            let Some(entry) = self.next_entry()? else {
                return Ok(None);
            };
            if let Some(found) = self.load(&entry)? {
                break found;
            }
        };
        let record = self.view.loaded(header);
        let record = record.ok_or_else(|| not_a_message(header.position))?;
        let message = MessageRef::new(record, place)?;
        self.offset = place.map_or(header.queue_offset, |place| place.queue_offset) + 1;
        self.delivered += message.body.len() as u64;
        Ok(Some(message))
    }

    /// Loads the record of a message; `None` if it is gone.
    #[inline]
    fn load(&mut self, entry: &Entry) -> Result<Option<(Header, Option<Place>)>, StoreError> {
        if entry.size == LOST || !self.hold(entry.position)? {
            return Ok(None);
        }
        let header = self.view.load(entry.position, entry.size)?;
        match header.kind {
            Kind::Control => self.load_revealed(header),
            _ => Ok(Some((header, None))),
        }
    }

    /// Loads the record of the message that a control record, which is loaded, has put into its queue.
    #[cold]
    fn load_revealed(
        &mut self,
        control: Header,
    ) -> Result<Option<(Header, Option<Place>)>, StoreError> {
        let record = self.view.loaded(control);
        let original = record.and_then(|record| Control::reveal(record.message()));
        let original = original.ok_or_else(|| not_a_message(control.position))?;
        let (position, size) = (original.position, original.size);
        if !self.hold(position)? {
            return Ok(None);
        }
        match self.view.load(position, size) {
            Err(ReadError::Filler { .. }) => Ok(None),
            header => Ok(Some((header?, Some(Place::of(&control))))),
        }
    }

    /// Whether the log still has the segment at `position`, which then stays.
    #[inline]
    fn hold(&mut self, position: u64) -> Result<bool, StoreError> {
        match self.view.hold(position) {
            Err(ReadError::Deleted { .. }) => Ok(false),
            held => Ok(held.map(|()| true)?),
        }
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
        self.offset = self.offset.max(self.topic.floor(self.queue));
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
    fn new(record: RecordRef<'a>, place: Option<Place>) -> Result<Self, StoreError> {
        let message = match (record.header().kind, place) {
            (Kind::Message, None) => Some(record.message()),
            (Kind::Hidden, Some(_)) => record.message().get(PREFIX..),
            _ => None,
        };
        let found = message.and_then(|message| Some((message, Parts::of(message)?)));
        let (message, parts) = found.ok_or_else(|| not_a_message(record.header().position))?;
        Ok(Self {
            record,
            place,
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
        let own = self.record.header().queue_id;
        self.place.map_or(own, |place| place.queue_id)
    }

    /// Its place in the queue.
    pub fn queue_offset(&self) -> u64 {
        let own = self.record.header().queue_offset;
        self.place.map_or(own, |place| place.queue_offset)
    }

    /// Byte offset in the commit log.
    pub fn position(&self) -> u64 {
        let own = self.record.header().position;
        self.place.map_or(own, |place| place.position)
    }

    /// Unix milliseconds.
    pub fn store_time(&self) -> u64 {
        let own = self.record.header().store_time;
        self.place.map_or(own, |place| place.store_time)
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
