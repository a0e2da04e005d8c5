//! A message as it lies in the log.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use foliomq_commitlog::{Kind, Record};
use foliomq_segment::PAGE;

use crate::error::StoreError;
use crate::hidden::{PREFIX, Place};
use crate::message::{
    BODY, KEYS, MESSAGE_GROUP, MESSAGE_ID, SYSTEM_PROPERTIES, TAG, USER_PROPERTIES, property,
};
use crate::wire::Fields;

/// Size in the index of a message that a salvage gave up: smaller than any record.
pub(crate) const LOST: u32 = 1;

/// What the id of a message begins with that its sender gave none: version 01, as the clients' own, and `FOLIOQ` where
/// they have a hardware address, process 0. The position follows, in 16 hex digits.
const POSITION_ID: &str = "01464F4C494F510000";

/// A stored message, read by reference. Cheap to clone; keeps its segment mapped.
#[derive(Debug, Clone)]
pub struct StoredMessage {
    record: Record,
    /// Where the parts lie in the record's message.
    user: Range<usize>,
    system: Range<usize>,
    body: Range<usize>,
    /// Where a control record has put it.
    place: Option<Place>,
}

impl StoredMessage {
    /// Finds the parts.
    pub(crate) fn new(record: Record) -> Result<Self, StoreError> {
        Self::parse(record, Kind::Message, 0)
    }

    /// The message of a hidden record, where `place` says, or in no queue.
    pub(crate) fn hidden(record: Record, place: Option<Place>) -> Result<Self, StoreError> {
        let message = Self::parse(record, Kind::Hidden, PREFIX)?;
        Ok(Self { place, ..message })
    }

    /// Finds the parts of a record of this kind, whose message follows so many other bytes.
    fn parse(record: Record, kind: Kind, before: usize) -> Result<Self, StoreError> {
        let message = record.message().get(before..);
        let parts = message
            .filter(|_| record.kind() == kind)
            .and_then(Parts::of);
        let parts = parts.ok_or_else(|| Self::malformed(record.position()))?;
        let within = |range: Range<usize>| range.start + before..range.end + before;
        Ok(Self {
            user: within(parts.user),
            system: within(parts.system),
            body: within(parts.body),
            place: None,
            record,
        })
    }

    #[cold]
    pub(crate) fn malformed(position: u64) -> StoreError {
        StoreError::Read(format!(
            "the record at position {position} is not a message"
        ))
    }

    /// Its topic.
    pub fn topic(&self) -> &str {
        self.record.topic()
    }

    /// Its queue within the topic.
    pub fn queue_id(&self) -> u32 {
        self.place
            .map_or(self.record.queue_id(), |place| place.queue_id)
    }

    /// Its place in the queue.
    pub fn queue_offset(&self) -> u64 {
        self.place
            .map_or(self.record.queue_offset(), |place| place.queue_offset)
    }

    /// Byte offset in the commit log: of the record, or of the one that has put it into its queue.
    pub fn position(&self) -> u64 {
        self.place
            .map_or(self.record.position(), |place| place.position)
    }

    /// Unix milliseconds. Of a message that was hidden: when it came into its queue.
    pub fn store_time(&self) -> u64 {
        self.place
            .map_or(self.record.store_time(), |place| place.store_time)
    }

    /// Bytes in the log of the record at its [`position`](Self::position), as the index has them: of a message that was hidden
    /// those of the record that has put it into its queue.
    pub fn size(&self) -> u32 {
        self.place.map_or(self.record.size(), |place| place.size)
    }

    /// A slice of the mapped page.
    pub fn body(&self) -> &[u8] {
        &self.record.message()[self.body.clone()]
    }

    /// The same, owning a share of the mapping. No copy.
    pub fn body_bytes(&self) -> Bytes {
        self.record.message_bytes().slice(self.body.clone())
    }

    /// Touches each page of the body, so that it is in memory and who hands it on waits for none. It may wait for the
    /// device: not for a thread that others depend on.
    pub fn touch(&self) {
        touch(self.body());
    }

    /// The tag.
    pub fn tag(&self) -> Option<&str> {
        self.system().tag()
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.system().keys()
    }

    /// The message group, within which messages keep their order.
    pub fn message_group(&self) -> Option<&str> {
        self.system().texts(MESSAGE_GROUP).last()
    }

    /// The sender's message id, or one made of the position (34 hex digits, as the clients' own).
    pub fn id(&self) -> Cow<'_, str> {
        match self.sender_id() {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{POSITION_ID}{:016X}", self.position())),
        }
    }

    /// The application's properties.
    pub fn properties(&self) -> impl Iterator<Item = (&str, &str)> {
        let entries = Fields::new(self.encoded_user_properties()).filter_map(|field| field.content);
        entries.filter_map(property)
    }

    /// Whole `user_properties` entries as field 2 of `apache.rocketmq.v2.Message`, a slice of the page.
    pub fn encoded_user_properties(&self) -> &[u8] {
        &self.record.message()[self.user.clone()]
    }

    /// The content of `SystemProperties`, a slice of the page.
    pub fn encoded_system_properties(&self) -> &[u8] {
        &self.record.message()[self.system.clone()]
    }

    pub(crate) fn sender_id(&self) -> Option<&str> {
        self.system().sender_id()
    }

    fn system(&self) -> System<'_> {
        System(self.encoded_system_properties())
    }
}

/// The content of one `SystemProperties`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System<'a>(&'a [u8]);

impl<'a> System<'a> {
    pub(crate) fn tag(self) -> Option<&'a str> {
        self.texts(TAG).last()
    }

    pub(crate) fn keys(self) -> impl Iterator<Item = &'a str> {
        self.texts(KEYS)
    }

    pub(crate) fn sender_id(self) -> Option<&'a str> {
        self.texts(MESSAGE_ID).last().filter(|id| !id.is_empty())
    }

    fn texts(self, number: u8) -> impl Iterator<Item = &'a str> {
        Fields::new(self.0)
            .filter(move |field| field.number == u32::from(number))
            .filter_map(|field| field.text())
    }
}

/// The system properties of a record's message; `None` if that is malformed.
pub(crate) fn system_properties(message: &[u8]) -> Option<System<'_>> {
    Parts::of(message).map(|parts| System(&message[parts.system]))
}

/// Where the parts of a message lie in its encoding.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) user: Range<usize>,
    pub(crate) system: Range<usize>,
    pub(crate) body: Range<usize>,
}

impl Parts {
    /// `None` if they are malformed, or not in the order in which the store writes them.
    pub(crate) fn of(message: &[u8]) -> Option<Self> {
        let mut parts = Self::default();
        let mut fields = Fields::new(message);
        let ordered = fields.all(|field| {
            let range = field.end - field.content.map_or(0, <[u8]>::len)..field.end;
            let (before_body, before_system) = (parts.body.end == 0, parts.system.end == 0);
            match u8::try_from(field.number) {
                Ok(USER_PROPERTIES) if before_body && before_system => parts.user.end = field.end,
                Ok(SYSTEM_PROPERTIES) if before_body && before_system => parts.system = range,
                Ok(BODY) if before_body => parts.body = range,
                _ => return false,
            }
            field.content.is_some()
        });
        (ordered && fields.sound()).then_some(parts)
    }
}

/// The position in an id that [`StoredMessage::id`] made.
pub(crate) fn position_of(id: &str) -> Option<u64> {
    let digits = id
        .strip_prefix(POSITION_ID)
        .filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// One byte of each page, and the last: what does not begin with a page ends in one more.
fn touch(bytes: &[u8]) {
    let pages = bytes.iter().step_by(PAGE as usize).chain(bytes.last());
    std::hint::black_box(pages.fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
}
