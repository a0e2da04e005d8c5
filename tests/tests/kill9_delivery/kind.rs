//! Kinds of message: how each is sent, and what must hold of its deliveries.

use anyhow::{Context, Result, ensure};
use foliomq_proto::v1::TopicType;
use foliomq_proto::v2::{Message, MessageType, SendResultEntry};
use futures_util::future::BoxFuture;

use crate::client::Client;
use crate::ledger::{Item, Ledger};
use crate::load::RECEIVERS;

/// One kind of message under kill -9. That nothing is lost, that what was acknowledged stays so and that attempts go on
/// counting holds for all, and is checked for all.
pub trait MessageKind: Send + Sync + 'static {
    /// The name of its topic and of its group.
    fn name(&self) -> &'static str;

    /// The type of its topic.
    fn topic_type(&self) -> TopicType;

    /// Makes a message one of this kind.
    fn shape(&self, item: Item, message: &mut Message);

    /// What a receiver does once, before the first crash, and never again.
    fn prepare<'a>(&'a self, _client: &'a Client, _receiver: u32) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { Ok(()) })
    }

    /// Whether a receiver may get this message at all.
    fn is_for(&self, _receiver: u32, _item: Item) -> bool {
        true
    }

    /// What a producer does once a message is stored (commits, say). False: the message need not come.
    fn conclude<'a>(
        &'a self,
        _client: &'a Client,
        _item: Item,
        _stored: &'a SendResultEntry,
    ) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async { Ok(true) })
    }

    /// Checks one delivery; `before` are the messages before it in the same batch, and the ledger does not know of the
    /// batch yet.
    ///
    /// # Errors
    /// With what is wrong.
    fn check(&self, ledger: &Ledger, before: &[Item], item: Item, message: &Message) -> Result<()>;
}

/// Messages without a promise of order.
pub struct Normal;

impl MessageKind for Normal {
    fn name(&self) -> &'static str {
        "normal"
    }

    fn topic_type(&self) -> TopicType {
        TopicType::Normal
    }

    fn shape(&self, _item: Item, _message: &mut Message) {}

    fn check(&self, _: &Ledger, _: &[Item], _: Item, _: &Message) -> Result<()> {
        Ok(())
    }
}

/// The messages of one sender are one message group: none comes while an earlier one is not done.
pub struct Fifo;

impl MessageKind for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn topic_type(&self) -> TopicType {
        TopicType::Fifo
    }

    fn shape(&self, (sender, _): Item, message: &mut Message) {
        if let Some(system) = &mut message.system_properties {
            system.message_type = MessageType::Fifo.into();
            system.message_group = Some(format!("sender {sender}"));
        }
    }

    fn check(&self, ledger: &Ledger, before: &[Item], item: Item, _: &Message) -> Result<()> {
        in_order(ledger, before, item)
    }
}

/// Messages of four levels.
pub struct Priority;

impl Priority {
    const LEVELS: u64 = 4;

    fn level((_, number): Item) -> i32 {
        (number % Self::LEVELS) as i32
    }
}

impl MessageKind for Priority {
    fn name(&self) -> &'static str {
        "priority"
    }

    fn topic_type(&self) -> TopicType {
        TopicType::Priority
    }

    fn shape(&self, item: Item, message: &mut Message) {
        if let Some(system) = &mut message.system_properties {
            system.message_type = MessageType::Priority.into();
            system.priority = Some(Self::level(item));
        }
    }

    /// It keeps its level, and no batch has a lower one before a higher one.
    fn check(&self, _: &Ledger, before: &[Item], item: Item, message: &Message) -> Result<()> {
        let system = message.system_properties.as_ref();
        let level = system.and_then(|system| system.priority);
        let level = level.with_context(|| format!("{item:?} came without its priority"))?;
        ensure!(level == Self::level(item), "{item:?} has priority {level}");
        let lower = before.iter().find(|other| Self::level(**other) < level);
        ensure!(
            lower.is_none(),
            "{item:?} came after {lower:?} in one batch"
        );
        Ok(())
    }
}

/// The messages of one sender are one lite topic. Each receiver subscribes to those of some senders, once.
pub struct Lite;

impl Lite {
    fn topic(sender: u32) -> String {
        format!("sender-{sender}")
    }

    /// Each has at least one that nobody else has, and there is one that all have.
    fn subscribed(receiver: u32) -> Vec<u32> {
        vec![receiver, RECEIVERS]
    }
}

impl MessageKind for Lite {
    fn name(&self) -> &'static str {
        "lite"
    }

    fn topic_type(&self) -> TopicType {
        TopicType::Lite
    }

    fn shape(&self, (sender, _): Item, message: &mut Message) {
        if let Some(system) = &mut message.system_properties {
            system.message_type = MessageType::Lite.into();
            system.lite_topic = Some(Self::topic(sender));
        }
    }

    fn prepare<'a>(&'a self, client: &'a Client, receiver: u32) -> BoxFuture<'a, Result<()>> {
        let topics = Self::subscribed(receiver).into_iter().map(Self::topic);
        Box::pin(client.subscribe_lite(topics.collect()))
    }

    fn is_for(&self, receiver: u32, (sender, _): Item) -> bool {
        Self::subscribed(receiver).contains(&sender)
    }

    fn check(&self, ledger: &Ledger, before: &[Item], item: Item, message: &Message) -> Result<()> {
        let system = message.system_properties.as_ref();
        let topic = system.and_then(|system| system.lite_topic.clone());
        ensure!(
            topic == Some(Self::topic(item.0)),
            "{item:?} came in the lite topic {topic:?}"
        );
        in_order(ledger, before, item)
    }
}

/// No message comes while an earlier one of its sender is not done, or after a later one.
fn in_order(ledger: &Ledger, before: &[Item], item: Item) -> Result<()> {
    let (sender, number) = item;
    let mut earlier = ledger.unsettled.range((sender, 0)..(sender, number));
    let passed = earlier.find(|earlier| !before.contains(earlier));
    ensure!(passed.is_none(), "{item:?} came before {passed:?} was done");
    let later = before
        .iter()
        .find(|(other, later)| *other == sender && *later > number);
    ensure!(
        later.is_none(),
        "{item:?} came after {later:?} in one batch"
    );
    Ok(())
}
