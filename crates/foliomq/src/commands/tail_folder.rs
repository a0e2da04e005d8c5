//! A topic as it grows, read from the store's folder beside the process that has it open.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use foliomq_client::{StoredMessage, TailFrom};
use foliomq_proto::v2;
use foliomq_store::{Messages, Reader, ReaderError, Store};
use prost::Message;

/// How long one look for the next message may block, so that an interrupt is seen.
const LOOK: Duration = Duration::from_millis(100);

/// What comes of one topic, without asking the broker.
pub struct FolderTail {
    messages: Messages,
    /// The newest of what was there, and not handed out yet.
    held: VecDeque<StoredMessage>,
    /// Earlier ones are passed over.
    since: SystemTime,
    follow: bool,
    /// It was said that nobody has the store open.
    warned: bool,
}

impl FolderTail {
    pub fn open(dir: &Path, topic: &str, from: TailFrom, follow: bool) -> anyhow::Result<Self> {
        let reader = Store::open_reader(dir)
            .with_context(|| format!("cannot follow the store in {}", dir.display()))?;
        let start = reader.watermarks().start;
        let mut tail = Self {
            messages: reader.messages(start).of_topic(topic),
            held: VecDeque::new(),
            since: UNIX_EPOCH,
            follow,
            warned: false,
        };
        match from {
            TailFrom::Earliest => {}
            TailFrom::Latest => tail.messages = reader.tail().of_topic(topic),
            TailFrom::Time(time) => tail.since = time,
            TailFrom::Last(count) => tail.hold_newest(&reader, count)?,
        }
        Ok(tail)
    }

    /// Goes through all that is there, and holds the newest of each queue.
    fn hold_newest(&mut self, reader: &Reader, count: u32) -> anyhow::Result<()> {
        let end = reader.watermarks().committed;
        let mut queues = BTreeMap::<u32, VecDeque<foliomq_store::StoredMessage>>::new();
        while self.messages.next_position() < end
            && let Some(message) = self.messages.next()
        {
            let message = message?;
            let newest = queues.entry(message.queue_id()).or_default();
            newest.push_back(message);
            if newest.len() > count as usize {
                newest.pop_front();
            }
        }
        let mut newest: Vec<_> = queues.into_values().flatten().collect();
        newest.sort_by_key(foliomq_store::StoredMessage::position);
        self.held = newest.iter().map(shown).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The next message; `None` at the end, unless that is waited beyond.
    pub async fn next(&mut self) -> anyhow::Result<Option<StoredMessage>> {
        if let Some(message) = self.held.pop_front() {
            return Ok(Some(message));
        }
        loop {
            let look = if self.follow { LOOK } else { Duration::ZERO };
            match self.messages.next_timeout(look) {
                Ok(Some(message)) => {
                    let message = shown(&message)?;
                    if message.stored_at.is_none_or(|time| time >= self.since) {
                        return Ok(Some(message));
                    }
                }
                Ok(None) | Err(ReaderError::WriterGone { .. }) if !self.follow => return Ok(None),
                Ok(None) => tokio::task::yield_now().await,
                Err(error @ ReaderError::WriterGone { .. }) => self.await_writer(&error).await,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn await_writer(&mut self, gone: &ReaderError) {
        if !self.warned {
            tracing::warn!(%gone, "waiting for the store to be opened again");
            self.warned = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The message as the broker would hand it out.
fn shown(message: &foliomq_store::StoredMessage) -> anyhow::Result<StoredMessage> {
    let system = v2::SystemProperties::decode(message.encoded_system_properties())
        .with_context(|| format!("the message at position {}", message.position()))?;
    let born_at = system
        .born_timestamp
        .and_then(|time| SystemTime::try_from(time).ok());
    let properties = message.properties();
    Ok(StoredMessage {
        topic: message.topic().to_owned(),
        id: message.id().into_owned(),
        body: message.body_bytes(),
        gzip: system.body_encoding == i32::from(v2::Encoding::Gzip),
        tag: system.tag,
        keys: system.keys,
        properties: properties
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        queue_id: message.queue_id(),
        queue_offset: message.queue_offset(),
        born_at,
        stored_at: UNIX_EPOCH.checked_add(Duration::from_millis(message.store_time())),
        priority: system.priority.and_then(|given| given.try_into().ok()),
        lite_topic: system.lite_topic,
    })
}
