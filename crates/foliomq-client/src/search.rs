//! Looking for messages of a topic without a group.

use std::time::SystemTime;

use foliomq_proto::v1;
use foliomq_proto::v1::query_messages_request::By;

use crate::StoredMessage;
use crate::admin_types::tailed;
use crate::error::Result;

/// By what messages are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchKey {
    /// The id that the sender gave or got.
    Id(String),
    /// One of the keys that the sender gave.
    Key(String),
}

/// Which messages of a topic are wanted; see [`Admin::search`](crate::Admin::search).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The topic.
    pub topic: String,
    /// `None`: all of the topic, queue by queue, in the order of each. By id or key the newest come first, at most 64.
    pub key: Option<SearchKey>,
    /// Stored at or after this time, by the broker's clock, to the millisecond.
    pub from: Option<SystemTime>,
    /// Stored at or before this time.
    pub to: Option<SystemTime>,
    /// Of this queue only.
    pub queue_id: Option<u32>,
    /// At most so many, and no more than 64; 0 stands for 64.
    pub limit: u32,
    /// Where to go on: the [`next`](Found::next) of the page before, with all else as it was there.
    pub page: Option<String>,
}

/// A page of what was found: no more messages once their bodies have 4 MiB.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The messages.
    pub messages: Vec<StoredMessage>,
    /// There may be more: the [`page`](Search::page) of the next search.
    pub next: Option<String>,
}

impl Search {
    pub(crate) fn into_wire(self) -> v1::QueryMessagesRequest {
        v1::QueryMessagesRequest {
            topic: self.topic,
            by: self.key.map(|key| match key {
                SearchKey::Id(id) => By::MessageId(id),
                SearchKey::Key(key) => By::Key(key),
            }),
            limit: self.limit,
            from: self.from.map(Into::into),
            to: self.to.map(Into::into),
            queue_id: self.queue_id,
            page: self.page.unwrap_or_default(),
        }
    }
}

impl Found {
    pub(crate) fn from_wire(answer: v1::QueryMessagesResponse) -> Result<Self> {
        let messages = answer.messages.into_iter().map(tailed);
        Ok(Self {
            messages: messages.collect::<Result<_>>()?,
            next: Some(answer.next_page).filter(|next| !next.is_empty()),
        })
    }
}
