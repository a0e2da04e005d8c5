//! Kinds of message: how each is sent, and what must hold of its deliveries.

use anyhow::{Result, ensure};
use foliomq_proto::v1::TopicType;
use foliomq_proto::v2::{Message, MessageType, SendResultEntry};
use futures_util::future::BoxFuture;

use crate::client::Client;
use crate::ledger::{Item, Ledger};

/// One kind of message under kill -9. That nothing is lost, that what was acknowledged stays so and that attempts go on
/// counting holds for all, and is checked for all.
pub trait MessageKind: Send + Sync + 'static {
    /// The name of its topic and of its group.
    fn name(&self) -> &'static str;

    /// The type of its topic.
    fn topic_type(&self) -> TopicType;

    /// Makes a message one of this kind.
    fn shape(&self, item: Item, message: &mut Message);

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
}
