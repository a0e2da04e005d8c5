//! Which frames, and which messages of them, are stored.

use foliomq_proto::v1::RefusedMessage;
use foliomq_proto::v2::Code;

use crate::broker::Broker;
use crate::caller::Language;
use crate::frame::{Frame, MAX_MESSAGES, Message};
use crate::properties::unix_ms;
use crate::status::Refusal;
use crate::validate;

/// Checks what a frame says of all its messages.
pub(crate) fn check(frame: &Frame<'_>) -> Result<(), Refusal> {
    let bad = |what: &str| Err(Refusal::new(Code::BadRequest, what));
    if frame.producer_id == 0 {
        return bad("the producer id is 0");
    }
    if frame.sequence == 0 || frame.sequence.checked_add(frame.count as u64).is_none() {
        return bad("messages are numbered from 1");
    }
    if !(1..=MAX_MESSAGES).contains(&frame.count) {
        return bad(&format!("a frame holds 1 to {MAX_MESSAGES} messages"));
    }
    if frame.queue_id.is_some() && frame.messages.iter().any(has_queue) {
        return bad(
            "a message group has its own queue, and so have a priority and a lite topic: the frame names another",
        );
    }
    Ok(())
}

fn has_queue(message: &Message<'_>) -> bool {
    message.message_group.is_some() || message.priority.is_some() || message.lite_topic.is_some()
}

/// Takes the messages out that must not be stored, and says why.
pub(crate) fn sift(frame: &mut Frame<'_>, broker: &Broker) -> Vec<RefusedMessage> {
    let (max_body, now) = (broker.store.options().max_body, unix_ms());
    let mut refused = Vec::new();
    frame.messages.retain(|message| {
        let due = message.deliver_unix_ms;
        let in_time = || due.map_or(Ok(()), |due| broker.groups.check_due(due, now));
        let checked = validate::framed(message, max_body).and_then(|()| Ok(in_time()?));
        let good = checked.is_ok();
        refused.extend(checked.err().map(|refusal| RefusedMessage {
            index: message.index,
            status: Some(refusal.status(Language::Other)),
        }));
        good
    });
    refused
}
