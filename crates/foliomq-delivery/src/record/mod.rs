//! The journal's records, as bytes: `docs/format-delivery.md` describes them. Numbers are LEB128 unless a size is given.

mod attempt;
mod change;
mod hidden;
mod lite;
mod state;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use change::encode_change;
pub(crate) use lite::LiteChange;

use crate::lease::{Change, Lease};
use crate::order::Order;
use crate::pending::{Half, Saved};
use crate::wire::{Input, put, put_all, put_text};
use crate::{Backoff, Rules};

/// Messages in one [`Record::State`]: about 60 KiB.
pub(crate) const STATE_CHUNK: usize = 4096;

const GROUP: u8 = 1;
const SUBSCRIPTION: u8 = 2;
const TAKEN: u8 = 3;
const DONE: u8 = 4;
const LEASED: u8 = 5;
const RESET: u8 = 6;
const CUT: u8 = 7;
const STATE: u8 = 8;
const SNAPSHOT_END: u8 = 9;
const ALL_DONE: u8 = 11;
const BACKOFF: u8 = 20;
const ORDER: u8 = 10;
const LITE: u8 = 30;
const ATTEMPT: u8 = 31;
const RULES: u8 = 32;
const FORGOTTEN: u8 = 33;
const PENDING: u8 = 40;
const ASKED: u8 = 41;

/// Of the parts of a snapshot.
const FIRST: u8 = 1;
const LAST: u8 = 2;

/// One entry of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// A group is there, with this policy.
    Group {
        id: u32,
        name: String,
        max_attempts: u32,
    },
    /// What a group has of the topic with this id is forgotten, or the group with all.
    Forgotten { group: u32, topic: Option<u32> },
    /// A group's pauses between deliveries; without one they are the default.
    Backoff { group: u32, backoff: Backoff },
    /// How a group is held to the order of messages.
    Order { group: u32, order: Order },
    /// What a client of a group reads of the lite topics of `topic` has changed; `topics` are the store's ids of some.
    Lite {
        group: u32,
        topic: String,
        client: String,
        change: LiteChange,
        topics: Vec<u32>,
    },
    /// Where a group begins, and its bounds of the invisible time.
    Rules { group: u32, rules: Rules },
    /// The last batch of a queue that was asked for by name: offset and sequence of each lease.
    Attempt {
        subscription: u32,
        queue: u32,
        id: String,
        leases: Vec<(u64, u32)>,
    },
    /// A group reads a topic; `starts` is the first offset of each queue. Ignored where it is known already.
    Subscription {
        id: u32,
        group: u32,
        topic_id: u32,
        topic: String,
        starts: Vec<u64>,
    },
    /// Something happened to a queue.
    Change {
        subscription: u32,
        queue: u32,
        change: Change,
    },
    /// A part of a queue's state in a snapshot. With the last part it replaces what was known of the queue; a first part
    /// voids parts that lack their last.
    State {
        subscription: u32,
        queue: u32,
        first: bool,
        last: bool,
        next: u64,
        leases: Vec<(u64, Lease)>,
    },
    /// A part of the hidden messages in a snapshot, of everything below position `seen` of the commit log. With the last part
    /// they replace what was known; a first part voids parts that lack their last.
    Pending {
        first: bool,
        last: bool,
        seen: u64,
        messages: Vec<Saved>,
    },
    /// Somebody was asked about a half message: how often by now, and when he is next.
    Asked { id: u64, half: Half },
    /// Everything before `begin` is in records after it.
    SnapshotEnd { begin: u64 },
}

impl Record {
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Group {
                id,
                name,
                max_attempts,
            } => {
                out.push(GROUP);
                put_all(out, [u64::from(*id), u64::from(*max_attempts)]);
                put_text(out, name);
            }
            Self::Forgotten { group, topic } => {
                out.push(FORGOTTEN);
                let topic = topic.map_or(0, |topic| u64::from(topic) + 1);
                put_all(out, [u64::from(*group), topic]);
            }
            Self::Backoff { group, backoff } => {
                out.push(BACKOFF);
                put(out, u64::from(*group));
                backoff.encode(out);
            }
            Self::Order { group, order } => {
                out.push(ORDER);
                put(out, u64::from(*group));
                out.push(order.code());
            }
            Self::Lite {
                group,
                topic,
                client,
                change,
                topics,
            } => lite::encode(out, *group, [topic, client], *change, topics),
            Self::Rules { group, rules } => {
                out.push(RULES);
                put(out, u64::from(*group));
                rules.encode(out);
            }
            Self::Attempt {
                subscription,
                queue,
                id,
                leases,
            } => attempt::encode(out, [*subscription, *queue], id, leases),
            Self::Subscription {
                id,
                group,
                topic_id,
                topic,
                starts,
            } => subscription::encode(out, [*id, *group, *topic_id], topic, starts),
            Self::Change {
                subscription,
                queue,
                change,
            } => encode_change(out, *subscription, *queue, change),
            Self::State {
                subscription,
                queue,
                first,
                last,
                next,
                leases,
            } => {
                out.push(STATE);
                put_all(out, [*subscription, *queue].map(u64::from));
                put_part(out, *first, *last);
                state::encode(out, *next, leases);
            }
            Self::Pending {
                first,
                last,
                seen,
                messages,
            } => {
                out.push(PENDING);
                put_part(out, *first, *last);
                hidden::encode(out, *seen, messages);
            }
            Self::Asked { id, half } => {
                out.push(ASKED);
                hidden::encode_asked(out, *id, half);
            }
            Self::SnapshotEnd { begin } => {
                out.push(SNAPSHOT_END);
                put(out, *begin);
            }
        }
    }

    /// `None`: not a record of this version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut input = Input(bytes);
        let record = match input.byte()? {
            GROUP => Self::Group {
                id: input.small()?,
                max_attempts: input.small()?,
                name: input.text()?,
            },
            FORGOTTEN => Self::Forgotten {
                group: input.small()?,
                topic: match input.number()? {
                    0 => None,
                    id => Some(u32::try_from(id - 1).ok()?),
                },
            },
            BACKOFF => Self::Backoff {
                group: input.small()?,
                backoff: Backoff::decode(&mut input)?,
            },
            ORDER => Self::Order {
                group: input.small()?,
                order: Order::from_code(input.byte()?)?,
            },
            LITE => input.lite()?,
            RULES => Self::Rules {
                group: input.small()?,
                rules: Rules::decode(&mut input)?,
            },
            ATTEMPT => input.attempt()?,
            SUBSCRIPTION => input.subscription()?,
            STATE => input.state()?,
            PENDING => input.pending()?,
            ASKED => input.asked()?,
            SNAPSHOT_END => Self::SnapshotEnd {
                begin: input.number()?,
            },
            kind => {
                let (subscription, queue) = (input.small()?, input.small()?);
                Self::Change {
                    subscription,
                    queue,
                    change: input.change(kind)?,
                }
            }
        };
        input.0.is_empty().then_some(record)
    }
}

fn put_part(out: &mut Vec<u8>, first: bool, last: bool) {
    out.push(if first { FIRST } else { 0 } | if last { LAST } else { 0 });
}

impl Input<'_> {
    /// Whether a part of a snapshot is the first, and whether it is the last.
    fn part(&mut self) -> Option<(bool, bool)> {
        let flags = self.byte()?;
        Some((flags & FIRST != 0, flags & LAST != 0))
    }
}
