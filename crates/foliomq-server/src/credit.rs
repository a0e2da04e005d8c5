//! How much a subscriber is ready to take.

use foliomq_proto::v1::Open;
use foliomq_proto::v2::Code;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::status::Refusal;

/// Most credit at once, messages.
const MAX_MESSAGES: usize = 1 << 20;
/// Most credit at once, bytes.
const MAX_BYTES: u64 = 1 << 40;

/// What may be delivered before more credit comes.
#[derive(Debug)]
pub(crate) struct Credit {
    left: Mutex<Left>,
    more: Notify,
}

#[derive(Debug)]
struct Left {
    messages: usize,
    /// Below 0 after a message that was larger than what was left; `None`: not counted.
    bytes: Option<i64>,
}

/// What there is credit for: at least one message, and one byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Credit {
    /// The credit that a subscription begins with.
    pub(crate) fn new(open: &Open) -> Result<Self, Refusal> {
        let credit = Self {
            left: Mutex::new(Left {
                messages: 0,
                bytes: (open.credit_bytes > 0).then_some(0),
            }),
            more: Notify::new(),
        };
        credit.add_messages(open.credit)?;
        if open.credit_bytes > 0 {
            credit.add_bytes(open.credit_bytes)?;
        }
        Ok(credit)
    }

    pub(crate) fn add_messages(&self, more: u32) -> Result<(), Refusal> {
        let mut left = self.left.lock();
        let sum = left.messages + more as usize;
        if sum > MAX_MESSAGES {
            return Err(bad(format!("more credit than for {MAX_MESSAGES} messages")));
        }
        left.messages = sum;
        self.more.notify_one();
        Ok(())
    }

    pub(crate) fn add_bytes(&self, more: u64) -> Result<(), Refusal> {
        let mut left = self.left.lock();
        let Some(bytes) = &mut left.bytes else {
            return Err(bad("the subscription began without credit of bytes".into()));
        };
        let sum = i64::try_from(more).map_or(i64::MAX, |more| bytes.saturating_add(more));
        if sum > MAX_BYTES as i64 {
            return Err(bad(format!("more credit than for {MAX_BYTES} bytes")));
        }
        *bytes = sum;
        self.more.notify_one();
        Ok(())
    }

    /// Waits until there is some.
    pub(crate) async fn some(&self) -> Allowance {
        loop {
            if let Some(allowance) = self.left.lock().allowance() {
                return allowance;
            }
            self.more.notified().await;
        }
    }

    /// Takes what was delivered.
    pub(crate) fn spend(&self, messages: usize, bytes: usize) {
        let mut left = self.left.lock();
        left.messages = left.messages.saturating_sub(messages);
        if let Some(left) = &mut left.bytes {
            *left = left.saturating_sub_unsigned(bytes as u64);
        }
    }
}

impl Left {
    fn allowance(&self) -> Option<Allowance> {
        let bytes = self.bytes.map_or(Some(usize::MAX), |bytes| {
            usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
        })?;
        let messages = self.messages;
        (messages > 0).then_some(Allowance { messages, bytes })
    }
}

fn bad(what: String) -> Refusal {
    Refusal::new(Code::BadRequest, what)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn credit(messages: u32, bytes: u64) -> Result<Credit, Refusal> {
        Credit::new(&Open {
            credit: messages,
            credit_bytes: bytes,
            ..Open::default()
        })
    }

    fn now(credit: &Credit) -> Option<(usize, usize)> {
        match pin!(credit.some()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(allowance) => Some((allowance.messages, allowance.bytes)),
            Poll::Pending => None,
        }
    }

    #[test]
    fn it_takes_credit_of_both_kinds_and_the_last_byte_lets_one_message_through() {
        let credit = credit(3, 1000).unwrap();
        assert_eq!(now(&credit), Some((3, 1000)));
        credit.spend(1, 999);
        assert_eq!(now(&credit), Some((2, 1)));
        credit.spend(1, 5000);
        assert_eq!(now(&credit), None);
        credit.add_bytes(4999).unwrap();
        assert_eq!(now(&credit), None, "it is at zero");
        credit.add_bytes(1).unwrap();
        assert_eq!(now(&credit), Some((1, 1)));
        credit.spend(1, 0);
        assert_eq!(now(&credit), None);
    }

    #[test]
    fn bytes_are_not_counted_unless_that_is_asked_for_and_nothing_is_without_bound() {
        let free = credit(1, 0).unwrap();
        assert_eq!(now(&free), Some((1, usize::MAX)));
        assert_eq!(free.add_bytes(1).unwrap_err().code, Code::BadRequest);
        let counted = credit(1, 1).unwrap();
        assert_eq!(
            counted.add_bytes(u64::MAX).unwrap_err().code,
            Code::BadRequest
        );
        assert_eq!(
            counted.add_messages(u32::MAX).unwrap_err().code,
            Code::BadRequest
        );
    }
}
