//! Changes of metadata, and their bytes: `docs/format-index.md`.

use std::time::Duration;

use crate::topic::{MAX_QUEUES, TopicType};
use crate::topic_settings::{LiteLimits, Permission, TopicSettings};

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A topic was created.
    Topic(TopicMeta),
    /// A topic was deleted when the commit log had reached `position`: what lies below belongs to nobody.
    Deleted {
        name: String,
        id: u32,
        position: u64,
    },
    /// A group has done everything below `offset`.
    Progress {
        group: String,
        topic: u32,
        queue: u32,
        offset: u64,
    },
    /// A group's progress is forgotten: in this topic, or in all.
    Forgotten { group: String, topic: Option<u32> },
    /// Retention has emptied the queue of this number below this offset; its next message gets it, or a higher one.
    Emptied { queue: u32, next: u64 },
    /// The id and the queue number of the next topic: those of deleted topics are not given again.
    Counters { id: u32, number: u32 },
    /// The number of the queue that lists hidden messages.
    Ledger { queue: u32 },
    /// No hidden message lies below; from here on retention leaves the log alone.
    Held { position: u64 },
    /// Type and settings, from now on, of the topic whose queue 0 has this number.
    Settings {
        queue: u32,
        kind: TopicType,
        settings: TopicSettings,
    },
    /// The topic whose queue 0 has this number had `from` queues, and has `more` behind them: the first has the number
    /// `first_number`.
    Grown {
        queue: u32,
        from: u32,
        more: u32,
        first_number: u32,
    },
}

/// A topic as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicMeta {
    pub(crate) name: String,
    pub(crate) id: u32,
    pub(crate) queues: u32,
    pub(crate) kind: TopicType,
    /// Number of queue 0 in the consume queues; the others follow.
    pub(crate) first_number: u32,
    /// Records below this position of the commit log belong to an earlier topic of the same name.
    pub(crate) since: u64,
}

/// First byte of a record's content.
const VERSION: u8 = 1;
/// A record's content is closed once it has so many bytes.
const FULL: usize = 32 << 10;

const TOPIC: u8 = 1;
const DELETED: u8 = 2;
const PROGRESS: u8 = 3;
const EMPTIED: u8 = 4;
const COUNTERS: u8 = 5;
const SETTINGS: u8 = 30;
const GROWN: u8 = 31;
const FORGOTTEN: u8 = 32;
const LEDGER: u8 = 40;
const HELD: u8 = 41;

/// In the order of their codes.
pub(crate) const KINDS: [TopicType; 7] = [
    TopicType::Any,
    TopicType::Normal,
    TopicType::Fifo,
    TopicType::Delay,
    TopicType::Transaction,
    TopicType::Lite,
    TopicType::Priority,
];

/// In the order of their codes.
pub(crate) const PERMISSIONS: [Permission; 4] = [
    Permission::ReadWrite,
    Permission::Read,
    Permission::Write,
    Permission::None,
];

/// Changes as the content of one record.
#[derive(Debug)]
pub(crate) struct Batch(Vec<u8>);

impl Default for Batch {
    fn default() -> Self {
        Self(vec![VERSION])
    }
}

impl Batch {
    /// The content.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.len() == 1
    }

    /// Whether it is time to write it.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= FULL
    }

    pub(crate) fn clear(&mut self) {
        self.0.truncate(1);
    }

    pub(crate) fn push(&mut self, change: &Change) {
        match change {
            Change::Topic(meta) => self.topic(meta),
            Change::Deleted { name, id, position } => {
                self.add(DELETED, Some(name), &[u64::from(*id), *position]);
            }
            Change::Progress {
                group,
                topic,
                queue,
                offset,
            } => self.progress(group, *topic, *queue, *offset),
            Change::Emptied { queue, next } => {
                self.add(EMPTIED, None, &[u64::from(*queue), *next]);
            }
            Change::Counters { id, number } => {
                self.add(COUNTERS, None, &[u64::from(*id), u64::from(*number)]);
            }
            Change::Forgotten { group, topic } => {
                self.add(FORGOTTEN, Some(group), &[optional(topic.map(u64::from))]);
            }
            Change::Ledger { queue } => self.add(LEDGER, None, &[u64::from(*queue)]),
            Change::Held { position } => self.add(HELD, None, &[*position]),
            Change::Settings {
                queue,
                kind,
                settings,
            } => self.settings(*queue, *kind, settings),
            Change::Grown {
                queue,
                from,
                more,
                first_number,
            } => self.add(
                GROWN,
                None,
                &[*queue, *from, *more, *first_number].map(u64::from),
            ),
        }
    }

    fn settings(&mut self, queue: u32, kind: TopicType, settings: &TopicSettings) {
        let TopicSettings {
            permission,
            keep_for,
            keep_bytes,
            lite,
        } = settings;
        let numbers = [
            u64::from(queue),
            code(kind),
            permission_code(*permission),
            optional(keep_for.map(millis)),
            optional(*keep_bytes),
            optional(lite.ttl.map(millis)),
            optional(lite.topics.map(u64::from)),
            optional(lite.subscriptions.map(u64::from)),
        ];
        self.add(SETTINGS, None, &numbers);
    }

    pub(crate) fn topic(&mut self, meta: &TopicMeta) {
        let numbers = [
            u64::from(meta.id),
            u64::from(meta.queues),
            code(meta.kind),
            u64::from(meta.first_number),
            meta.since,
        ];
        self.add(TOPIC, Some(&meta.name), &numbers);
    }

    pub(crate) fn progress(&mut self, group: &str, topic: u32, queue: u32, offset: u64) {
        let numbers = [u64::from(topic), u64::from(queue), offset];
        self.add(PROGRESS, Some(group), &numbers);
    }

    fn add(&mut self, kind: u8, name: Option<&str>, numbers: &[u64]) {
        self.0.push(kind);
        if let Some(name) = name {
            self.number(name.len() as u64);
            self.0.extend_from_slice(name.as_bytes());
        }
        numbers.iter().for_each(|&number| self.number(number));
    }

    /// Seven bits a byte, the lowest first; the highest bit says that more follow.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

pub(crate) fn code(kind: TopicType) -> u64 {
    let code = KINDS.iter().position(|&other| other == kind);
    code.unwrap_or_default() as u64
}

pub(crate) fn permission_code(permission: Permission) -> u64 {
    let code = PERMISSIONS.iter().position(|&other| other == permission);
    code.unwrap_or_default() as u64
}

/// 0 stands for `None`, any other number for the one below it.
fn optional(number: Option<u64>) -> u64 {
    number.map_or(0, |number| number.saturating_add(1))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The changes in the content of a record, one after the other; the last may be an error.
pub(crate) fn decode(content: &[u8]) -> impl Iterator<Item = Result<Change, String>> {
    let mut rest = Some(Reader(content));
    let version = rest.as_mut().and_then(Reader::byte);
    let mut unknown = (version != Some(VERSION)).then(|| {
        format!(
            "version {} of the metadata is not known",
            version.unwrap_or_default()
        )
    });
    std::iter::from_fn(move || {
        if let Some(what) = unknown.take() {
            rest = None;
            return Some(Err(what));
        }
        let reader = rest.as_mut().filter(|reader| !reader.0.is_empty())?;
        let at = reader.0.len();
        let change = reader.change();
        if change.is_none() {
            rest = None;
        }
        Some(change.ok_or_else(|| format!("no change can be read {at} bytes before the end")))
    })
}

/// What is still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn change(&mut self) -> Option<Change> {
        Some(match self.byte()? {
            TOPIC => Change::Topic(TopicMeta {
                name: self.text()?,
                id: self.half()?,
                queues: self
                    .half()
                    .filter(|queues| (1..=MAX_QUEUES).contains(queues))?,
                kind: *KINDS.get(self.half()? as usize)?,
                // The numbers of all its queues fit.
                first_number: self
                    .half()
                    .filter(|first| *first <= u32::MAX - MAX_QUEUES)?,
                since: self.number()?,
            }),
            DELETED => Change::Deleted {
                name: self.text()?,
                id: self.half()?,
                position: self.number()?,
            },
            PROGRESS => Change::Progress {
                group: self.text()?,
                topic: self.half()?,
                queue: self.half()?,
                offset: self.number()?,
            },
            EMPTIED => Change::Emptied {
                queue: self.half()?,
                next: self.number()?,
            },
            COUNTERS => Change::Counters {
                id: self.half()?,
                number: self.half()?,
            },
            FORGOTTEN => Change::Forgotten {
                group: self.text()?,
                topic: self.optional_half()?,
            },
            LEDGER => Change::Ledger {
                queue: self.half()?,
            },
            HELD => Change::Held {
                position: self.number()?,
            },
            SETTINGS => Change::Settings {
                queue: self.half()?,
                kind: *KINDS.get(self.half()? as usize)?,
                settings: self.settings()?,
            },
            GROWN => self.grown()?,
            _ => return None,
        })
    }

    fn settings(&mut self) -> Option<TopicSettings> {
        Some(TopicSettings {
            permission: *PERMISSIONS.get(self.half()? as usize)?,
            keep_for: self.optional()?.map(Duration::from_millis),
            keep_bytes: self.optional()?,
            lite: LiteLimits {
                ttl: self.optional()?.map(Duration::from_millis),
                topics: self.optional_half()?,
                subscriptions: self.optional_half()?,
            },
        })
    }

    fn grown(&mut self) -> Option<Change> {
        let (queue, from, more) = (self.half()?, self.half()?, self.half()?);
        let sum = from.checked_add(more)?;
        if from == 0 || more == 0 || sum > MAX_QUEUES {
            return None;
        }
        // As for a topic: the numbers of all of them fit.
        let first_number = self
            .half()
            .filter(|first| *first <= u32::MAX - MAX_QUEUES)?;
        Some(Change::Grown {
            queue,
            from,
            more,
            first_number,
        })
    }

    fn optional(&mut self) -> Option<Option<u64>> {
        Some(self.number()?.checked_sub(1))
    }

    fn optional_half(&mut self) -> Option<Option<u32>> {
        match self.optional()? {
            Some(number) => Some(Some(u32::try_from(number).ok()?)),
            None => Some(None),
        }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn half(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    fn text(&mut self) -> Option<String> {
        let len = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(std::str::from_utf8(text).ok()?.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (
                ".{0,40}",
                (any::<u32>(), 1..=MAX_QUEUES, 0..=u32::MAX - MAX_QUEUES),
                0..KINDS.len(),
                any::<u64>()
            )
                .prop_map(|(name, (id, queues, first_number), kind, since)| {
                    let kind = KINDS[kind];
                    Change::Topic(TopicMeta {
                        name,
                        id,
                        queues,
                        kind,
                        first_number,
                        since,
                    })
                }),
            (".{0,40}", any::<u32>(), any::<u64>())
                .prop_map(|(name, id, position)| Change::Deleted { name, id, position }),
            (".{0,40}", any::<u32>(), any::<u32>(), any::<u64>()).prop_map(
                |(group, topic, queue, offset)| Change::Progress {
                    group,
                    topic,
                    queue,
                    offset
                }
            ),
            (any::<u32>(), any::<u64>()).prop_map(|(queue, next)| Change::Emptied { queue, next }),
            (any::<u32>(), any::<u32>()).prop_map(|(id, number)| Change::Counters { id, number }),
            (".{0,40}", any::<Option<u32>>())
                .prop_map(|(group, topic)| Change::Forgotten { group, topic }),
            any::<u32>().prop_map(|queue| Change::Ledger { queue }),
            any::<u64>().prop_map(|position| Change::Held { position }),
            settings(),
            (any::<u32>(), 1..MAX_QUEUES, 0..=u32::MAX - MAX_QUEUES).prop_map(
                |(queue, from, first_number)| Change::Grown {
                    queue,
                    from,
                    more: MAX_QUEUES - from,
                    first_number
                }
            ),
        ]
    }

    fn settings() -> impl Strategy<Value = Change> {
        let time = || prop::option::of((0..u64::MAX).prop_map(Duration::from_millis));
        let count = || prop::option::of(any::<u32>());
        let lite = (time(), count(), count()).prop_map(|(ttl, topics, subscriptions)| LiteLimits {
            ttl,
            topics,
            subscriptions,
        });
        let settings = (
            0..PERMISSIONS.len(),
            time(),
            prop::option::of(0..u64::MAX),
            lite,
        )
            .prop_map(|(permission, keep_for, keep_bytes, lite)| TopicSettings {
                permission: PERMISSIONS[permission],
                keep_for,
                keep_bytes,
                lite,
            });
        (any::<u32>(), 0..KINDS.len(), settings).prop_map(|(queue, kind, settings)| {
            Change::Settings {
                queue,
                kind: KINDS[kind],
                settings,
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn changes_come_back(changes in prop::collection::vec(change(), 0..20)) {
            let mut batch = Batch::default();
            changes.iter().for_each(|change| batch.push(change));
            let decoded: Result<Vec<_>, _> = decode(batch.bytes()).collect();
            prop_assert_eq!(decoded.unwrap(), changes);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(decode(&bytes).count() <= bytes.len().max(1));
            bytes.insert(0, VERSION);
            prop_assert!(decode(&bytes).count() <= bytes.len());
        }
    }

    #[test]
    fn an_unknown_version_and_a_cut_change_are_errors() {
        assert!(decode(b"{}").next().unwrap().is_err());
        assert!(decode(&[]).next().unwrap().is_err());
        let mut batch = Batch::default();
        batch.push(&Change::Counters {
            id: 300,
            number: 300,
        });
        let (last, cut) = batch.bytes().split_last().unwrap();
        assert_eq!(*last, 2);
        let decoded: Vec<_> = decode(cut).collect();
        assert!(matches!(decoded[..], [Err(_)]));
    }

    #[test]
    fn a_growth_by_a_senseless_number_of_queues_is_refused() {
        for (from, more, first_number) in
            [(0, 8, 0), (8, 0, 0), (8, MAX_QUEUES, 0), (8, 8, u32::MAX)]
        {
            let mut batch = Batch::default();
            batch.push(&Change::Grown {
                queue: 0,
                from,
                more,
                first_number,
            });
            assert!(decode(batch.bytes()).any(|change| change.is_err()));
        }
    }

    #[test]
    fn a_topic_of_a_senseless_number_of_queues_is_refused() {
        for (queues, first_number) in [(0, 0), (MAX_QUEUES + 1, 0), (1, u32::MAX)] {
            let topic = Change::Topic(TopicMeta {
                name: "t".to_owned(),
                id: 1,
                queues,
                kind: TopicType::Any,
                first_number,
                since: 0,
            });
            let mut batch = Batch::default();
            batch.push(&topic);
            assert!(decode(batch.bytes()).any(|change| change.is_err()));
        }
    }
}
