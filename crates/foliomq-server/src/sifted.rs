//! Which frames, and which messages of them, are stored.

use foliomq_proto::v1::RefusedMessage;
use foliomq_proto::v2::Code;

use crate::caller::Language;
use crate::frame::{Frame, MAX_MESSAGES};
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
    let mut messages = frame.messages.iter();
    if frame.queue_id.is_some() && messages.any(|message| message.message_group.is_some()) {
        return bad("a message group has its own queue: the frame names another");
    }
    Ok(())
}

/// Takes the messages out that must not be stored, and says why.
pub(crate) fn sift(frame: &mut Frame<'_>, max_body: usize) -> Vec<RefusedMessage> {
    let mut refused = Vec::new();
    frame.messages.retain(|message| {
        let checked = validate::framed(message, max_body);
        let good = checked.is_ok();
        refused.extend(checked.err().map(|refusal| RefusedMessage {
            index: message.index,
            status: Some(refusal.status(Language::Other)),
        }));
        good
    });
    refused
}
