//! Messages that are given up: they go to the topic `%DLQ%group`, and are acked once they are safe there.
//!
//! Meanwhile the broker itself holds the lease. If the append fails (the disk is full, say), or the process dies, that
//! lease ends like any other and the move is tried again. A crash after the append and before the ack makes a second
//! dead letter; no crash loses one: it is on the device before the ack is written, in async mode too.

use std::borrow::Cow;
use std::time::Duration;

use foliomq_store::{
    Message, StoreError, StoredMessage, TopicOptions, TopicType, lite_name, lite_parts,
};

use crate::lease::{Change, Lease, REPLACED, Standing};
use crate::shared::{Shared, after};
use crate::subscription::{Queue, Subscription};
use crate::wire::{Input, put, put_all, put_text};
use crate::{DeliveryError, Timestamp};

/// How long the broker holds a message that becomes a dead letter, and so when a failed move is tried again.
pub const DEAD_LETTER_RETRY: Duration = Duration::from_secs(30);

/// `SystemProperties.dead_letter_queue`, and the fields of `DeadLetterQueue`.
const DEAD_LETTER_QUEUE: u64 = 20;
const TOPIC: u64 = 1;
const MESSAGE_ID: u64 = 2;
/// Our own, which a client passes over: where the original lies.
const QUEUE: u64 = 100;
const OFFSET: u64 = 101;
/// And in which lite topic of the original's topic.
const LITE: u64 = 102;

/// Where a dead letter came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub topic: String,
    pub id: String,
    pub queue: u32,
    pub offset: u64,
}

/// A message that the broker holds to move it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetter {
    queue: u32,
    offset: u64,
    sequence: u32,
}

impl Shared {
    pub fn dead_letter(
        &self,
        group: &str,
        topic: &str,
        handle: &str,
        now: Timestamp,
    ) -> Result<(), DeliveryError> {
        let (subscription, handle) = self.owned(group, topic, handle)?;
        if !self.is_there(&subscription) {
            return Err(StoreError::UnknownTopic {
                topic: topic.to_owned(),
            }
            .into());
        }
        let (number, offset) = (u32::from(handle.queue), handle.claim.offset);
        let mut queue = subscription.queue(number);
        let held = match queue.leases().standing(&handle.claim, now) {
            Standing::Held(lease) => lease,
            Standing::Done => return Ok(()),
            Standing::Void(what) => return Err(DeliveryError::InvalidHandle { what }),
            Standing::Changed(_) => return Err(DeliveryError::InvalidHandle { what: REPLACED }),
        };
        let dead = self.claim_dead(&mut queue, number, &[(offset, held)], now)?;
        drop(queue);
        let moved = self.try_bury(&subscription, &dead);
        if moved.is_err() {
            self.give_back(&subscription, &dead, held)?;
        }
        moved
    }

    /// Leases messages to the broker itself. Their attempts stay as they are.
    pub fn claim_dead(
        &self,
        queue: &mut Queue,
        number: u32,
        dead: &[(u64, Lease)],
        now: Timestamp,
    ) -> Result<Vec<DeadLetter>, DeliveryError> {
        let mut claimed = Vec::with_capacity(dead.len());
        for (offset, lease) in dead {
            let sequence = queue.leases().sequence();
            let lease = Lease {
                visible_at: after(now, DEAD_LETTER_RETRY),
                sequence,
                attempt: lease.attempt,
                auto_renew: false,
            };
            queue.commit(
                &self.journal,
                &Change::Leased {
                    offset: *offset,
                    lease,
                },
            )?;
            claimed.push(DeadLetter {
                queue: number,
                offset: *offset,
                sequence,
            });
        }
        Ok(claimed)
    }

    /// Moves messages; those that cannot be moved now are tried again when the broker's lease ends.
    pub fn bury(&self, subscription: &Subscription, dead: &[DeadLetter]) {
        if let Err(error) = self.try_bury(subscription, dead) {
            let (group, topic) = (&subscription.group.name, &subscription.topic);
            tracing::warn!(%error, %group, %topic, "dead letters wait: they are tried again in {DEAD_LETTER_RETRY:?}");
        }
    }

    fn try_bury(
        &self,
        subscription: &Subscription,
        dead: &[DeadLetter],
    ) -> Result<(), DeliveryError> {
        if dead.is_empty() {
            return Ok(());
        }
        let topic = self.dead_letter_topic(&subscription.group.name)?;
        let mut result = Ok(());
        let mut end = 0;
        let mut moved = Vec::with_capacity(dead.len());
        for letter in dead {
            match self.copy(subscription, letter, &topic) {
                Ok(copied) => {
                    end = end.max(copied);
                    moved.push(letter);
                }
                Err(error) => result = Err(error.into()),
            }
        }
        // In async mode the journal, which says that they are done, could be on the device first.
        self.store.wait_durable(end)?;
        for letter in moved {
            self.settle(subscription, letter.queue, letter.offset, letter.sequence)?;
        }
        result
    }

    fn dead_letter_topic(&self, group: &str) -> Result<String, StoreError> {
        let name = format!("%DLQ%{group}");
        if self.store.topic(&name).is_none() {
            self.store.create_topic(
                &name,
                TopicOptions {
                    queues: 1,
                    kind: TopicType::Any,
                },
            )?;
        }
        Ok(name)
    }

    /// Appends the message to the dead letters; returns the position that must be on the device. 0 if it is gone.
    fn copy(
        &self,
        subscription: &Subscription,
        letter: &DeadLetter,
        to: &str,
    ) -> Result<u64, StoreError> {
        let start = self.store.offsets(&subscription.topic, letter.queue)?.start;
        let message = match self.read(&subscription.topic, letter.queue, letter.offset) {
            Ok(message) => message,
            Err(StoreError::Deleted { .. }) => return Ok(0),
            Err(_) if letter.offset < start => return Ok(0),
            Err(error @ StoreError::Lost { .. }) => {
                tracing::warn!(%error, topic = subscription.topic, queue = letter.queue, offset = letter.offset, "no dead letter");
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let system = with_origin(&message);
        let copy = Message::encoded(
            message.encoded_user_properties().to_vec(),
            system,
            message.body(),
        )?;
        self.store
            .submit(to, Some(0), &[copy])
            .map(|submitted| submitted.end())
    }

    /// The client holds the message again, as before.
    fn give_back(
        &self,
        subscription: &Subscription,
        dead: &[DeadLetter],
        lease: Lease,
    ) -> Result<(), DeliveryError> {
        for letter in dead {
            let mut queue = subscription.queue(letter.queue);
            if queue
                .leases()
                .lease(letter.offset)
                .is_some_and(|now| now.sequence == letter.sequence)
            {
                queue.commit(
                    &self.journal,
                    &Change::Leased {
                        offset: letter.offset,
                        lease,
                    },
                )?;
            }
        }
        Ok(())
    }
}

/// The message's system properties, with its origin unless it has one from an earlier move.
fn with_origin(message: &StoredMessage) -> Vec<u8> {
    let mut system = message.encoded_system_properties().to_vec();
    if !has_field(&system, DEAD_LETTER_QUEUE) {
        let place = (message.queue_id(), message.queue_offset());
        put_origin(&mut system, message.topic(), message.id(), place);
    }
    system
}

fn put_origin(system: &mut Vec<u8>, topic: &str, id: Cow<'_, str>, (queue, offset): (u32, u64)) {
    let mut origin = Vec::with_capacity(topic.len() + id.len() + 24);
    let (topic, lite) =
        lite_parts(topic).map_or((topic, None), |(topic, lite)| (topic, Some(lite)));
    put(&mut origin, TOPIC << 3 | 2);
    put_text(&mut origin, topic);
    put(&mut origin, MESSAGE_ID << 3 | 2);
    put_text(&mut origin, &id);
    put_all(
        &mut origin,
        [QUEUE << 3, u64::from(queue), OFFSET << 3, offset],
    );
    if let Some(lite) = lite {
        put(&mut origin, LITE << 3 | 2);
        put_text(&mut origin, lite);
    }
    put(system, DEAD_LETTER_QUEUE << 3 | 2);
    put(system, origin.len() as u64);
    system.extend_from_slice(&origin);
}

/// Where a dead letter came from; `None` if it does not say.
pub(crate) fn origin(letter: &StoredMessage) -> Option<Origin> {
    let content = find(letter.encoded_system_properties(), DEAD_LETTER_QUEUE)?.1;
    let text = |field| String::from_utf8(find(content, field)?.1.to_vec()).ok();
    let topic = text(TOPIC)?;
    Some(Origin {
        topic: text(LITE).map_or(topic.clone(), |lite| lite_name(&topic, &lite)),
        id: text(MESSAGE_ID)?,
        queue: find(content, QUEUE)?.0.try_into().ok()?,
        offset: find(content, OFFSET)?.0,
    })
}

/// Whether a protobuf message has a field. One that is malformed counts as far as it goes.
fn has_field(message: &[u8], field: u64) -> bool {
    find(message, field).is_some()
}

/// The first of a field's values: a number, or what has a length; the other is empty.
fn find(message: &[u8], field: u64) -> Option<(u64, &[u8])> {
    let mut input = Input(message);
    loop {
        let key = input.number()?;
        let value: (u64, &[u8]) = match key & 7 {
            0 => (input.number()?, &[]),
            1 => (0, input.slice(8)?),
            2 => {
                let size = input.count()?;
                (0, input.slice(size)?)
            }
            5 => (0, input.slice(4)?),
            _ => return None,
        };
        if key >> 3 == field {
            return Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_a_protobuf_message() {
        let mut system = vec![];
        put_origin(&mut system, "T", "ID".into(), (3, 300));
        let place = [0xa0, 6, 3, 0xa8, 6, 0xac, 2];
        assert_eq!(system[..2], [0xa2, 1]);
        assert_eq!(system[3..10], [0x0a, 1, b'T', 0x12, 2, b'I', b'D']);
        assert_eq!((usize::from(system[2]), &system[10..]), (14, &place[..]));
        let content = find(&system, DEAD_LETTER_QUEUE).unwrap().1;
        assert_eq!(find(content, OFFSET).unwrap().0, 300);
        assert!(has_field(&system, 20));
    }

    #[test]
    fn fields_of_all_kinds_are_passed_over() {
        let fields = [
            0x08, 0x96, 1, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, 0xa2, 1, 0x25, 0, 0, 0, 0, 0x28,
            1,
        ];
        assert!(has_field(&fields, 5));
        assert!(
            !has_field(&fields, 20),
            "what looks like the field is inside another one"
        );
        assert!(!has_field(&[0x1a, 200], 20));
    }
}
