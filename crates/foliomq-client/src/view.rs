//! A message of a stream, wherever its bytes are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use foliomq_proto::{v1, v2};
use prost::Message as _;

use crate::convert::resource;
use crate::error::{Error, Result};
use crate::message::StoredMessage;

/// A message that a stream brought, read in place: a look at it copies nothing. Cheap to clone.
///
/// With mapped delivery its bytes are the broker's own pages; it keeps their file on the disk for as long as it is held.
#[derive(Debug, Clone)]
pub struct MessageView(Place);

#[derive(Debug, Clone)]
enum Place {
    /// In the log's pages, which this process has mapped.
    Mapped(foliomq_store::StoredMessage),
    /// In the bytes that came over the connection.
    Carried(Arc<Carried>),
}

#[derive(Debug)]
struct Carried {
    topic: String,
    queue_id: u32,
    queue_offset: u64,
    position: u64,
    stored: u64,
    user: Properties,
    system: v2::SystemProperties,
    body: Bytes,
}

impl MessageView {
    pub(crate) fn mapped(message: foliomq_store::StoredMessage) -> Self {
        Self(Place::Mapped(message))
    }

    pub(crate) fn carried(delivered: v1::Delivered) -> Result<Self> {
        let missing = |what: &str| Error::Protocol(format!("a delivery has no {what}"));
        let message = delivered.message.ok_or_else(|| missing("message"))?;
        let system = message.system_properties;
        Ok(Self(Place::Carried(Arc::new(Carried {
            topic: delivered.topic,
            queue_id: delivered.queue_id,
            queue_offset: delivered.queue_offset,
            position: delivered.position,
            stored: delivered.store_unix_ms,
            user: message.user_properties,
            system: system.ok_or_else(|| missing("system properties"))?,
            body: message.body,
        }))))
    }

    /// Whether the bytes are those of the broker's pages.
    pub fn is_mapped(&self) -> bool {
        matches!(self.0, Place::Mapped(_))
    }

    /// The topic it was sent to.
    pub fn topic(&self) -> &str {
        match &self.0 {
            Place::Mapped(message) => message.topic(),
            Place::Carried(message) => &message.topic,
        }
    }

    /// The queue of the topic that holds it.
    pub fn queue_id(&self) -> u32 {
        match &self.0 {
            Place::Mapped(message) => message.queue_id(),
            Place::Carried(message) => message.queue_id,
        }
    }

    /// Its place in that queue, counted from 0.
    pub fn queue_offset(&self) -> u64 {
        match &self.0 {
            Place::Mapped(message) => message.queue_offset(),
            Place::Carried(message) => message.queue_offset,
        }
    }

    /// Byte offset of its record in the broker's log.
    pub fn position(&self) -> u64 {
        match &self.0 {
            Place::Mapped(message) => message.position(),
            Place::Carried(message) => message.position,
        }
    }

    /// When it was stored, by the broker's clock.
    pub fn stored_at(&self) -> SystemTime {
        let unix_ms = match &self.0 {
            Place::Mapped(message) => message.store_time(),
            Place::Carried(message) => message.stored,
        };
        SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms)
    }

    /// The bytes that were sent.
    pub fn body(&self) -> &[u8] {
        match &self.0 {
            Place::Mapped(message) => message.body(),
            Place::Carried(message) => &message.body,
        }
    }

    /// The same, to keep: it shares what the view holds. No copy.
    pub fn body_bytes(&self) -> Bytes {
        match &self.0 {
            Place::Mapped(message) => message.body_bytes(),
            Place::Carried(message) => message.body.clone(),
        }
    }

    /// The sender's message id.
    pub fn id(&self) -> Cow<'_, str> {
        match &self.0 {
            Place::Mapped(message) => message.id(),
            Place::Carried(message) => Cow::Borrowed(&message.system.message_id),
        }
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        match &self.0 {
            Place::Mapped(message) => message.tag(),
            Place::Carried(message) => message.system.tag.as_deref(),
        }
    }

    /// The message group, within which messages keep their order.
    pub fn message_group(&self) -> Option<&str> {
        match &self.0 {
            Place::Mapped(message) => message.message_group(),
            Place::Carried(message) => message.system.message_group.as_deref(),
        }
    }

    /// The keys, in the sender's order.
    pub fn keys(&self) -> Vec<&str> {
        match &self.0 {
            Place::Mapped(message) => message.keys().collect(),
            Place::Carried(message) => message.system.keys.iter().map(String::as_str).collect(),
        }
    }

    /// One of the application's properties.
    pub fn property(&self, name: &str) -> Option<&str> {
        match &self.0 {
            Place::Mapped(message) => {
                // The last counts, as in any map of protobuf.
                let named = message.properties().filter(|(other, _)| *other == name);
                named.map(|(_, value)| value).last()
            }
            Place::Carried(message) => message.user.get(name).map(String::as_str),
        }
    }

    /// Everything of it, copied out but for the body.
    ///
    /// # Errors
    /// [`Error::Protocol`] for a stored message whose properties cannot be read.
    pub fn to_stored(&self) -> Result<StoredMessage> {
        let (user_properties, system) = match &self.0 {
            Place::Mapped(message) => decode(message)?,
            Place::Carried(message) => (message.user.clone(), message.system.clone()),
        };
        StoredMessage::from_wire(v2::Message {
            topic: Some(resource(self.topic())),
            user_properties,
            system_properties: Some(v2::SystemProperties {
                message_id: self.id().into_owned(),
                queue_id: self.queue_id() as i32,
                queue_offset: i64::try_from(self.queue_offset()).ok(),
                store_timestamp: Some(self.stored_at().into()),
                ..system
            }),
            body: self.body_bytes(),
        })
    }
}

/// The application's own.
type Properties = HashMap<String, String>;

/// The properties of a message in the log, which stand there as they were encoded.
fn decode(message: &foliomq_store::StoredMessage) -> Result<(Properties, v2::SystemProperties)> {
    let malformed = |error| Error::Protocol(format!("a stored message is malformed: {error}"));
    let user = v2::Message::decode(message.encoded_user_properties()).map_err(malformed)?;
    let system = v2::SystemProperties::decode(message.encoded_system_properties());
    Ok((user.user_properties, system.map_err(malformed)?))
}
