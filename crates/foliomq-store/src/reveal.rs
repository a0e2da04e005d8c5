//! Hiding messages, and ending their wait.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use foliomq_commitlog::{Appended, Draft, Kind};
use foliomq_consumequeue::{key_hash, tag_hash};

use crate::error::StoreError;
use crate::hidden::{ANY_QUEUE, Awaits, Control, HiddenMessage, PREFIX, Prefix, Verdict};
use crate::housekeeper::unix_ms;
use crate::message::Message;
use crate::registry::TopicState;
use crate::shared::Shared;

/// Control records that are appended at once, and their bytes: no more than fit the smallest segment.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 16 << 10;

/// What [`Store::reveal`](crate::Store::reveal) did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revealed {
    /// So many of the positions were dealt with, from the first on.
    pub taken: usize,
    /// The position after the last control record.
    pub end: u64,
    /// Those that could not be put into a queue, and why: by position.
    pub refused: Vec<(u64, StoreError)>,
}

/// A message that is ready for its queue.
struct Ready {
    topic: Arc<TopicState>,
    queue: u32,
    control: Vec<u8>,
}

impl Shared {
    /// All of them or none, in no queue, not yet committed.
    pub(crate) fn append_hidden(
        &self,
        topic: &TopicState,
        queue: Option<u32>,
        messages: &[(Awaits, &Message<'_>)],
    ) -> Result<Vec<Appended>, StoreError> {
        if messages.is_empty() {
            return Err(StoreError::illegal("a batch holds at least one message"));
        }
        self.admit()?;
        queue.map_or(Ok(0), |queue| topic.number(queue))?;
        for (_, message) in messages {
            self.check_body(message)?;
        }
        // No topic is made from the record of a hidden message.
        self.settle(topic)?;
        self.hold_from(self.log.watermarks().appended)?;
        let frame = |&(awaits, message): &(Awaits, &Message<'_>)| {
            let carried = None;
            (Prefix { awaits, carried }.encode(), message.heads())
        };
        let frames: Vec<_> = messages.iter().map(frame).collect();
        let parts = messages.iter().zip(&frames);
        let parts = parts.map(|((_, message), (prefix, heads))| {
            let [user, system_head, system, body_head, body] = message.parts(heads);
            [&prefix[..], user, system_head, system, body_head, body]
        });
        let parts: Vec<_> = parts.collect();
        let unused: Vec<_> = parts.iter().map(|_| AtomicU64::new(0)).collect();
        let drafts = parts.iter().zip(&unused).map(|(parts, unused)| Draft {
            kind: Kind::Hidden,
            topic: &topic.meta.name,
            queue_id: queue.unwrap_or(ANY_QUEUE),
            next_offset: unused,
            closed: Some(&topic.closed),
            message: parts,
        });
        let appended = self.log.append_batch(&drafts.collect::<Vec<_>>());
        appended.map_err(|error| topic.refusal(error))
    }

    /// The hidden message whose record lies at `position`.
    pub(crate) fn hidden(&self, position: u64) -> Result<HiddenMessage, StoreError> {
        HiddenMessage::new(self.log.read(position)?)
    }

    /// Puts the first of the messages into their queues, as many as go into one batch.
    pub(crate) fn reveal(&self, positions: &[u64]) -> Result<Revealed, StoreError> {
        self.admit()?;
        let (mut ready, mut bytes) = (Vec::new(), 0);
        let mut revealed = Revealed::default();
        for &position in positions.iter().take(BATCH) {
            match self.ready(position, ready.is_empty()) {
                Ok(Some(one)) => {
                    bytes += one.control.len() + one.topic.meta.name.len() + PREFIX;
                    ready.push(one);
                }
                // A large message would take its time to be carried: what is ready goes first.
                Ok(None) => break,
                Err(StoreError::Append(error)) => return Err(error.into()),
                Err(error) => revealed.refused.push((position, error)),
            }
            revealed.taken += 1;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        revealed.end = self.append_controls(&ready)?;
        Ok(revealed)
    }

    fn append_controls(&self, ready: &[Ready]) -> Result<u64, StoreError> {
        let parts: Vec<_> = ready.iter().map(|one| [&one.control[..]]).collect();
        let drafts = ready.iter().zip(&parts);
        let drafts = drafts.map(|(one, parts)| draft(one, parts));
        let drafts: Vec<_> = drafts.collect::<Result<_, StoreError>>()?;
        let appended = self.log.append_batch(&drafts)?;
        Ok(appended.last().map_or(0, Appended::end))
    }

    /// What reveals the message at `position`; `None` if it must be carried forward first and `may_carry` is not set.
    fn ready(&self, position: u64, may_carry: bool) -> Result<Option<Ready>, StoreError> {
        let mut hidden = self.hidden(position)?;
        let topic = self.topic_of_hidden(&hidden)?;
        if self.leaves_soon(&hidden) {
            if !may_carry {
                return Ok(None);
            }
            let appended = self.carry(position)?;
            self.log.wait_committed(appended.end())?;
            hidden = self.hidden(appended.position)?;
        }
        let queue = hidden.queue.unwrap_or_else(|| topic.take_turn());
        topic.number(queue)?;
        let message = &hidden.message;
        let keys = message.keys().chain(message.sender_id());
        let keys = keys.map(|key| key_hash(&topic.meta.name, key));
        let named = (hidden.id, message.position(), message.size());
        let control = Control::encode(Verdict::Revealed, named, tag_hash(message.tag()), keys);
        Ok(Some(Ready {
            topic,
            queue,
            control,
        }))
    }

    /// The topic that the message was appended to, if that is still there.
    fn topic_of_hidden(&self, hidden: &HiddenMessage) -> Result<Arc<TopicState>, StoreError> {
        let name = hidden.message.topic();
        let topic = self.registry.get(name)?;
        // Made again since.
        if hidden.id < topic.meta.since {
            return Err(StoreError::UnknownTopic {
                topic: name.to_owned(),
            });
        }
        Ok(topic)
    }

    /// Notes that the hidden message at `position` is given up; returns where the note ends.
    pub(crate) fn cancel(&self, id: u64, position: u64) -> Result<u64, StoreError> {
        self.admit()?;
        let named = (id, position, 0);
        let control = Control::encode(Verdict::Cancelled, named, 0, std::iter::empty());
        let appended = self.log.append(&Draft {
            kind: Kind::Control,
            topic: "",
            queue_id: ANY_QUEUE,
            next_offset: &AtomicU64::new(0),
            closed: None,
            message: &[&control],
        })?;
        Ok(appended.end())
    }

    /// Appends the hidden message at `position` again, under the same id.
    pub(crate) fn carry(&self, position: u64) -> Result<Appended, StoreError> {
        self.admit()?;
        let record = self.log.read(position)?;
        let hidden = HiddenMessage::new(record.clone())?;
        let prefix = Prefix {
            awaits: hidden.awaits,
            carried: Some(hidden.id),
        };
        let appended = self.log.append(&Draft {
            kind: Kind::Hidden,
            topic: record.topic(),
            queue_id: record.queue_id(),
            next_offset: &AtomicU64::new(0),
            closed: None,
            message: &[&prefix.encode(), &record.message()[PREFIX..]],
        })?;
        Ok(appended)
    }

    /// Whether retention would drop the message in less than half of the time that it keeps a new one.
    fn leaves_soon(&self, hidden: &HiddenMessage) -> bool {
        let (retention, log) = (&self.options.retention, self.log.watermarks());
        let position = hidden.message.position();
        let age = unix_ms().saturating_sub(hidden.message.store_time());
        let by_age = |limit: Duration| Duration::from_millis(age) > limit / 2;
        let by_size = |limit: u64| log.appended - position > limit / 2;
        let by_disk = || position - log.start < (log.appended - log.start) / 2;
        retention.age.is_some_and(by_age)
            || retention.size.is_some_and(by_size)
            || (retention.disk.is_some() && position >= log.start && by_disk())
    }
}

/// What puts a message into its queue.
fn draft<'a>(one: &'a Ready, parts: &'a [&'a [u8]]) -> Result<Draft<'a>, StoreError> {
    Ok(Draft {
        kind: Kind::Control,
        topic: &one.topic.meta.name,
        queue_id: one.queue,
        next_offset: one.topic.place(one.queue)?,
        closed: Some(&one.topic.closed),
        message: parts,
    })
}
