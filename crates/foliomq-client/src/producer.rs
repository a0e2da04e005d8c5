//! Sending.

use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v2::{Code, RecallMessageRequest, SendMessageRequest, SendResultEntry, Status};

use crate::client::{Connection, Messaging, within};
use crate::convert::resource;
use crate::error::{Error, Result, check};
use crate::headers::{Headers, host_name};
use crate::message::Message;
use crate::message_id::MessageIds;

/// Sends messages. Cheap to clone; calls run side by side.
#[derive(Debug, Clone)]
pub struct Producer {
    connection: Connection,
    calls: Messaging,
    ids: Arc<MessageIds>,
    host: Arc<str>,
}

/// The broker's word that it has a message, and as durably as its flush mode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The id under which it can be found.
    pub message_id: String,
    /// Its place in its queue. (Which queue the broker chose is not part of the protocol's answer.)
    pub queue_offset: u64,
    /// Of a delayed message: recalls it.
    pub recall_handle: Option<String>,
}

impl Producer {
    pub(crate) fn new(connection: Connection, headers: &Headers, ids: Arc<MessageIds>) -> Self {
        let calls = connection.messaging(headers);
        Self {
            connection,
            calls,
            ids,
            host: host_name().into(),
        }
    }

    /// Sends one message and waits until the broker has it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the broker's reason; [`Error::Transport`] if no answer came, in which case the message
    /// may or may not have been stored.
    pub async fn send(&self, message: Message) -> Result<Receipt> {
        match self.send_batch([message]).await {
            Ok(mut receipts) => receipts
                .pop()
                .ok_or_else(|| Error::Protocol("it has no receipt".to_owned())),
            Err(Error::RefusedMessage { code, text, .. }) => Err(Error::Refused { code, text }),
            Err(error) => Err(error),
        }
    }

    /// Gives up a delayed message before its time, by the handle that its sender got; returns its message id.
    ///
    /// # Errors
    /// [`Error::Refused`] with [`MessageNotFound`](Code::MessageNotFound) if it is delivered or recalled already, and with
    /// [`BadRequest`](Code::BadRequest) for what is no such handle.
    pub async fn recall(&self, topic: &str, handle: &str) -> Result<String> {
        let request = RecallMessageRequest {
            topic: Some(resource(topic)),
            recall_handle: handle.to_owned(),
        };
        let request = within(request, Duration::ZERO);
        let answer = self.calls.clone().recall_message(request).await;
        let answer = answer.map_err(|status| self.connection.error(status))?;
        let answer = answer.into_inner();
        check(answer.status)?;
        Ok(answer.message_id)
    }

    /// Sends messages of one topic together: all are stored, one after the other in one queue, or none.
    /// Returns one receipt for each, in order; nothing is sent for no messages.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Error::RefusedMessage`] names the message that the broker did not like, if it says so.
    pub async fn send_batch(
        &self,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Vec<Receipt>> {
        let new_id = || self.ids.next();
        let messages: Vec<_> = messages
            .into_iter()
            .map(|message| message.into_wire(&self.host, new_id))
            .collect();
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let sent = messages.len();
        let request = within(SendMessageRequest { messages }, Duration::ZERO);
        let answer = self.calls.clone().send_message(request).await;
        let answer = answer
            .map_err(|status| self.connection.error(status))?
            .into_inner();
        receipts(sent, answer.status, answer.entries)
    }
}

fn receipts(
    sent: usize,
    status: Option<Status>,
    entries: Vec<SendResultEntry>,
) -> Result<Vec<Receipt>> {
    let is_ok = |entry: &SendResultEntry| {
        entry
            .status
            .as_ref()
            .is_some_and(|s| s.code == i32::from(Code::Ok))
    };
    let culprit = entries.iter().position(|entry| !is_ok(entry));
    match culprit.and_then(|index| Some((index, entries[index].status.clone()?))) {
        // Equal refusals of all say nothing about a single one: then the status on top speaks.
        Some((index, bad)) if entries.iter().any(is_ok) || sent == 1 => {
            return Err(Error::RefusedMessage {
                index,
                code: bad.code,
                text: bad.message,
            });
        }
        _ => check(status)?,
    }
    if entries.len() != sent {
        return Err(Error::Protocol(format!(
            "it has {} receipts for {sent} messages",
            entries.len()
        )));
    }
    let receipt = |entry: SendResultEntry| Receipt {
        message_id: entry.message_id,
        queue_offset: u64::try_from(entry.offset).unwrap_or_default(),
        recall_handle: Some(entry.recall_handle).filter(|handle| !handle.is_empty()),
    };
    Ok(entries.into_iter().map(receipt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code) -> Option<Status> {
        Some(Status {
            code: code.into(),
            message: "why".to_owned(),
        })
    }

    fn entry(code: Code, offset: i64) -> SendResultEntry {
        SendResultEntry {
            status: status(code),
            message_id: offset.to_string(),
            offset,
            ..Default::default()
        }
    }

    #[test]
    fn receipts_come_in_order() {
        let entries = vec![entry(Code::Ok, 4), entry(Code::Ok, 5)];
        let receipts = receipts(2, status(Code::Ok), entries).unwrap();
        assert_eq!(
            receipts.iter().map(|r| r.queue_offset).collect::<Vec<_>>(),
            [4, 5]
        );
    }

    #[test]
    fn the_culprit_of_a_mixed_batch_is_named() {
        let entries = vec![entry(Code::Ok, 0), entry(Code::MessageBodyEmpty, 0)];
        let error = receipts(2, status(Code::MultipleResults), entries).unwrap_err();
        assert!(
            matches!(error, Error::RefusedMessage { index: 1, .. }),
            "{error}"
        );
        assert_eq!(error.code(), Some(Code::MessageBodyEmpty));
    }

    #[test]
    fn a_batch_that_is_refused_as_a_whole_is_a_refusal() {
        let error = receipts(2, status(Code::TopicNotFound), Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }

    #[test]
    fn missing_receipts_are_a_protocol_error() {
        let error = receipts(2, status(Code::Ok), vec![entry(Code::Ok, 0)]).unwrap_err();
        assert!(matches!(error, Error::Protocol(_)), "{error}");
    }
}
