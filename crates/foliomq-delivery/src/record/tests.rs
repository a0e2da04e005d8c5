use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::Start;
use crate::lease::{Change, Taken};
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

fn runs() -> impl Strategy<Value = Vec<Range<u64>>> {
    prop::collection::vec((0..1u64 << 40, 1..50u64), 0..9).prop_map(|gaps| {
        let mut at = 0;
        gaps.into_iter()
            .map(|(gap, size)| {
                let start = at + gap;
                at = start + size;
                start..at
            })
            .collect()
    })
}

fn taken() -> impl Strategy<Value = Taken> {
    (
        any::<u64>(),
        any::<bool>(),
        any::<u32>(),
        prop::collection::vec(any::<(u64, u16)>(), 0..9),
        runs(),
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
        runs().prop_map(|runs| Change::AllDone { runs }),
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
        (any::<u32>(), any::<Option<u32>>())
            .prop_map(|(group, topic)| Record::Forgotten { group, topic }),
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
