//! The journal's records, as bytes: `docs/format-delivery.md` describes them. Numbers are LEB128 unless a size is given.

use std::ops::Range;

use crate::lease::{Change, Lease, Taken};
use crate::order::Order;
use crate::pending::{Half, Saved};
use crate::wire::{Input, put, put_all, put_text};
use crate::{Backoff, Rules, Timestamp};

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
const BACKOFF: u8 = 20;
const ORDER: u8 = 10;
const LITE: u8 = 30;
const ATTEMPT: u8 = 31;
const RULES: u8 = 32;
const PENDING: u8 = 40;
const ASKED: u8 = 41;

const AUTO_RENEW: u8 = 1;
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

/// What happened to the lite topics that a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LiteChange {
    /// It reads these too.
    Add,
    /// It reads these no more.
    Remove,
    /// It reads none.
    Clear,
}

impl LiteChange {
    /// In the order of their codes.
    const ALL: [Self; 3] = [Self::Add, Self::Remove, Self::Clear];
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
            } => {
                out.push(LITE);
                put(out, u64::from(*group));
                put_text(out, topic);
                put_text(out, client);
                out.push(*change as u8);
                put(out, topics.len() as u64);
                put_all(out, topics.iter().copied().map(u64::from));
            }
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
            } => encode_attempt(out, [*subscription, *queue], id, leases),
            Self::Subscription {
                id,
                group,
                topic_id,
                topic,
                starts,
            } => {
                out.push(SUBSCRIPTION);
                put_all(out, [*id, *group, *topic_id].map(u64::from));
                put_text(out, topic);
                put(out, starts.len() as u64);
                put_all(out, starts.iter().copied());
            }
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
                out.push(if *first { FIRST } else { 0 } | if *last { LAST } else { 0 });
                put_all(out, [*next, leases.len() as u64]);
                for (offset, lease) in leases {
                    put_lease(out, *offset, lease);
                }
            }
            Self::Pending {
                first,
                last,
                seen,
                messages,
            } => {
                out.push(PENDING);
                out.push(if *first { FIRST } else { 0 } | if *last { LAST } else { 0 });
                put_all(out, [*seen, messages.len() as u64]);
                messages.iter().for_each(|message| message.encode(out));
            }
            Self::Asked { id, half } => {
                out.push(ASKED);
                put_all(out, [*id, half.since, half.ask_at, u64::from(half.asked)]);
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
            ASKED => Self::Asked {
                id: input.number()?,
                half: Half {
                    since: input.number()?,
                    ask_at: input.number()?,
                    asked: input.small()?,
                },
            },
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

/// The bytes of a change, without owning it.
pub(crate) fn encode_change(out: &mut Vec<u8>, subscription: u32, queue: u32, change: &Change) {
    let kind = match change {
        Change::Taken(_) => TAKEN,
        Change::Done { .. } => DONE,
        Change::Leased { .. } => LEASED,
        Change::Reset { .. } => RESET,
        Change::Cut { .. } => CUT,
    };
    out.push(kind);
    put_all(out, [subscription, queue].map(u64::from));
    match change {
        Change::Taken(taken) => put_taken(out, taken),
        Change::Leased { offset, lease } => put_lease(out, *offset, lease),
        Change::Done { offset: number }
        | Change::Reset { next: number }
        | Change::Cut { end: number } => put(out, *number),
    }
}

fn encode_attempt(out: &mut Vec<u8>, place: [u32; 2], id: &str, leases: &[(u64, u32)]) {
    out.push(ATTEMPT);
    put_all(out, place.map(u64::from));
    put_text(out, id);
    put(out, leases.len() as u64);
    for (offset, sequence) in leases {
        put(out, *offset);
        out.extend_from_slice(&sequence.to_le_bytes());
    }
}

fn put_taken(out: &mut Vec<u8>, taken: &Taken) {
    out.push(if taken.auto_renew { AUTO_RENEW } else { 0 });
    out.extend_from_slice(&taken.sequence.to_le_bytes());
    put_all(
        out,
        [taken.visible_at, taken.next, taken.again.len() as u64],
    );
    for (offset, attempt) in &taken.again {
        put_all(out, [*offset, u64::from(*attempt)]);
    }
    put(out, taken.fresh.len() as u64);
    let mut at = 0;
    for run in &taken.fresh {
        put_all(out, [run.start - at, run.end - run.start]);
        at = run.end;
    }
}

fn put_lease(out: &mut Vec<u8>, offset: u64, lease: &Lease) {
    put_all(out, [offset, lease.visible_at, u64::from(lease.attempt)]);
    out.extend_from_slice(&lease.sequence.to_le_bytes());
    out.push(if lease.auto_renew { AUTO_RENEW } else { 0 });
}

impl Input<'_> {
    fn subscription(&mut self) -> Option<Record> {
        let (id, group, topic_id) = (self.small()?, self.small()?, self.small()?);
        let topic = self.text()?;
        let starts = (0..self.count()?)
            .map(|_| self.number())
            .collect::<Option<_>>()?;
        Some(Record::Subscription {
            id,
            group,
            topic_id,
            topic,
            starts,
        })
    }

    fn lite(&mut self) -> Option<Record> {
        let (group, topic, client) = (self.small()?, self.text()?, self.text()?);
        let change = *LiteChange::ALL.get(usize::from(self.byte()?))?;
        let topics = (0..self.count()?)
            .map(|_| self.small())
            .collect::<Option<_>>()?;
        Some(Record::Lite {
            group,
            topic,
            client,
            change,
            topics,
        })
    }

    fn attempt(&mut self) -> Option<Record> {
        let (subscription, queue, id) = (self.small()?, self.small()?, self.text()?);
        let leases = (0..self.count()?)
            .map(|_| Some((self.number()?, self.sequence()?)))
            .collect::<Option<_>>()?;
        Some(Record::Attempt {
            subscription,
            queue,
            id,
            leases,
        })
    }

    fn state(&mut self) -> Option<Record> {
        let (subscription, queue) = (self.small()?, self.small()?);
        let flags = self.byte()?;
        let (first, last) = (flags & FIRST != 0, flags & LAST != 0);
        let next = self.number()?;
        let leases = (0..self.count()?)
            .map(|_| self.lease())
            .collect::<Option<_>>()?;
        Some(Record::State {
            subscription,
            queue,
            first,
            last,
            next,
            leases,
        })
    }

    fn pending(&mut self) -> Option<Record> {
        let flags = self.byte()?;
        let seen = self.number()?;
        let messages = (0..self.count()?).map(|_| Saved::decode(self));
        Some(Record::Pending {
            first: flags & FIRST != 0,
            last: flags & LAST != 0,
            seen,
            messages: messages.collect::<Option<_>>()?,
        })
    }

    fn change(&mut self, kind: u8) -> Option<Change> {
        Some(match kind {
            TAKEN => Change::Taken(self.taken()?),
            DONE => Change::Done {
                offset: self.number()?,
            },
            LEASED => {
                let (offset, lease) = self.lease()?;
                Change::Leased { offset, lease }
            }
            RESET => Change::Reset {
                next: self.number()?,
            },
            CUT => Change::Cut {
                end: self.number()?,
            },
            _ => return None,
        })
    }

    fn taken(&mut self) -> Option<Taken> {
        let auto_renew = self.byte()? & AUTO_RENEW != 0;
        let sequence = self.sequence()?;
        let (visible_at, next) = (self.number()?, self.number()?);
        let again = (0..self.count()?)
            .map(|_| Some((self.number()?, self.small()?)))
            .collect::<Option<_>>()?;
        let mut at = 0;
        let fresh = (0..self.count()?)
            .map(|_| self.run(&mut at))
            .collect::<Option<_>>()?;
        Some(Taken {
            visible_at,
            auto_renew,
            sequence,
            again,
            fresh,
            next,
        })
    }

    /// A run of offsets that begins at or after `at`, which moves to its end.
    fn run(&mut self, at: &mut u64) -> Option<Range<u64>> {
        let start = at.checked_add(self.number()?)?;
        *at = start.checked_add(self.number()?)?;
        Some(start..*at)
    }

    fn sequence(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.slice(4)?.try_into().ok()?))
    }

    fn lease(&mut self) -> Option<(u64, Lease)> {
        let (offset, visible_at): (u64, Timestamp) = (self.number()?, self.number()?);
        let attempt = self.small()?;
        let sequence = self.sequence()?;
        let auto_renew = self.byte()? & AUTO_RENEW != 0;
        Some((
            offset,
            Lease {
                visible_at,
                sequence,
                attempt,
                auto_renew,
            },
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Start;
    use crate::pending::State;

    fn bytes(record: &Record) -> Vec<u8> {
        let mut out = Vec::new();
        record.encode(&mut out);
        out
    }

    fn lease() -> impl Strategy<Value = (u64, Lease)> {
        (
            any::<u64>(),
            any::<u64>(),
            any::<u32>(),
            any::<u16>(),
            any::<bool>(),
        )
            .prop_map(|(offset, visible_at, sequence, attempt, auto_renew)| {
                (
                    offset,
                    Lease {
                        visible_at,
                        sequence,
                        attempt,
                        auto_renew,
                    },
                )
            })
    }

    fn taken() -> impl Strategy<Value = Taken> {
        let runs = prop::collection::vec((0..1u64 << 40, 1..50u64), 0..9).prop_map(|gaps| {
            let mut at = 0;
            gaps.into_iter()
                .map(|(gap, size)| {
                    let start = at + gap;
                    at = start + size;
                    start..at
                })
                .collect()
        });
        (
            any::<u64>(),
            any::<bool>(),
            any::<u32>(),
            prop::collection::vec(any::<(u64, u16)>(), 0..9),
            runs,
            any::<u64>(),
        )
            .prop_map(
                |(visible_at, auto_renew, sequence, again, fresh, next)| Taken {
                    visible_at,
                    auto_renew,
                    sequence,
                    again,
                    fresh,
                    next,
                },
            )
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            taken().prop_map(Change::Taken),
            any::<u64>().prop_map(|offset| Change::Done { offset }),
            lease().prop_map(|(offset, lease)| Change::Leased { offset, lease }),
            any::<u64>().prop_map(|next| Change::Reset { next }),
            any::<u64>().prop_map(|end| Change::Cut { end }),
        ]
    }

    fn half(time: u64) -> Half {
        Half {
            since: time,
            ask_at: time / 2,
            asked: time as u32 % 16,
        }
    }

    fn pending() -> impl Strategy<Value = Record> {
        let message = (0..1u64 << 40, 0..1u64 << 40, any::<u64>(), 0..3);
        let message = message.prop_map(|(id, moved, time, kind)| Saved {
            id,
            position: id + moved,
            state: match kind {
                0 => State::Half(half(time)),
                kind => State::Delayed {
                    due: time,
                    recalled: kind == 1,
                },
            },
        });
        let messages = prop::collection::vec(message, 0..9);
        let parts = (any::<bool>(), any::<bool>(), any::<u64>(), messages);
        parts.prop_map(|(first, last, seen, messages)| Record::Pending {
            first,
            last,
            seen,
            messages,
        })
    }

    fn start() -> impl Strategy<Value = Start> {
        prop_oneof![
            Just(Start::Earliest),
            Just(Start::Latest),
            any::<u64>().prop_map(Start::Time),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<u32>(), "\\PC{0,20}", any::<u32>()).prop_map(|(id, name, max_attempts)| {
                Record::Group {
                    id,
                    name,
                    max_attempts,
                }
            }),
            (
                any::<(u32, u32, u32)>(),
                "\\PC{0,20}",
                prop::collection::vec(any::<u64>(), 0..9)
            )
                .prop_map(|((id, group, topic_id), topic, starts)| {
                    Record::Subscription {
                        id,
                        group,
                        topic_id,
                        topic,
                        starts,
                    }
                }),
            (any::<u32>(), any::<u32>(), change()).prop_map(|(subscription, queue, change)| {
                Record::Change {
                    subscription,
                    queue,
                    change,
                }
            }),
            (
                any::<(u32, u32)>(),
                any::<(bool, bool)>(),
                any::<u64>(),
                prop::collection::vec(lease(), 0..9)
            )
                .prop_map(|((subscription, queue), (first, last), next, leases)| {
                    Record::State {
                        subscription,
                        queue,
                        first,
                        last,
                        next,
                        leases,
                    }
                }),
            (any::<u32>(), 0..4u8).prop_map(|(group, code)| Record::Order {
                group,
                order: Order::from_code(code).unwrap()
            }),
            (
                any::<u32>(),
                "\\PC{0,20}",
                "\\PC{0,20}",
                0..3usize,
                prop::collection::vec(any::<u32>(), 0..9)
            )
                .prop_map(|(group, topic, client, change, topics)| Record::Lite {
                    group,
                    topic,
                    client,
                    change: LiteChange::ALL[change],
                    topics,
                }),
            pending(),
            (any::<u64>(), any::<u64>()).prop_map(|(id, time)| Record::Asked {
                id,
                half: half(time)
            }),
            (
                any::<(u32, u32)>(),
                "\\PC{0,20}",
                prop::collection::vec(any::<(u64, u32)>(), 0..9)
            )
                .prop_map(|((subscription, queue), id, leases)| Record::Attempt {
                    subscription,
                    queue,
                    id,
                    leases,
                }),
            (any::<u32>(), any::<(u32, u32)>(), start()).prop_map(|(group, (min, max), start)| {
                Record::Rules {
                    group,
                    rules: Rules {
                        start,
                        invisible: min..=max,
                    },
                }
            }),
            any::<u64>().prop_map(|begin| Record::SnapshotEnd { begin }),
        ]
    }

    proptest! {
        #[test]
        fn every_record_comes_back(record in record()) {
            prop_assert_eq!(Record::decode(&bytes(&record)), Some(record));
        }

        #[test]
        fn a_shortened_or_prolonged_record_is_refused(record in record(), cut in any::<prop::sample::Index>()) {
            let mut bytes = bytes(&record);
            prop_assert_eq!(Record::decode(&bytes[..cut.index(bytes.len())]), None);
            bytes.push(0);
            prop_assert_eq!(Record::decode(&bytes), None);
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Record::decode(&bytes);
        }
    }

    #[test]
    fn a_receive_of_32_messages_takes_few_bytes() {
        let run = 1000..1032;
        let taken = Taken {
            visible_at: 300,
            sequence: 5,
            fresh: vec![run],
            next: 1032,
            ..Taken::default()
        };
        let record = Record::Change {
            subscription: 1,
            queue: 2,
            change: Change::Taken(taken),
        };
        let golden = [3, 1, 2, 0, 5, 0, 0, 0, 0xac, 2, 0x88, 8, 0, 1, 0xe8, 7, 32];
        assert_eq!(bytes(&record), golden);
    }
}
