//! What a sender is handed to name a hidden message: the recall handle of a delayed one, the id of a transaction.
//!
//! As long as a receipt handle, and sealed with the same secret: `docs/format-delivery.md` has the layout.

use crate::handle::{CLAIM_SIZE, Key};
use crate::{DeliveryError, Timestamp};

const VERSION: u8 = 1;

/// What a ticket is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    /// To recall a delayed message. No receipt handle has this number in the same place.
    Recall = 0x81,
    /// To end a transaction.
    Transaction = 0x82,
}

/// What it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub purpose: Purpose,
    pub topic_id: u32,
    /// Of the hidden message.
    pub id: u64,
    /// When it is due, or when it was stored.
    pub time: Timestamp,
}

impl Ticket {
    /// The text.
    pub fn seal(&self, key: &Key) -> String {
        let mut bytes = [0; CLAIM_SIZE];
        bytes[0] = self.purpose as u8;
        bytes[1] = VERSION;
        bytes[4..8].copy_from_slice(&self.topic_id.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.id.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.time.to_le_bytes());
        key.seal_bytes(bytes)
    }

    /// What a text says that this store sealed for the purpose.
    pub fn open(key: &Key, text: &str, purpose: Purpose) -> Result<Self, DeliveryError> {
        let bytes = key.open_bytes(text).map_err(|what| purpose.invalid(what))?;
        if bytes[0] != purpose as u8 || bytes[1] != VERSION {
            return Err(purpose.invalid("it is for another purpose"));
        }
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        Ok(Self {
            purpose,
            topic_id: u32::from_le_bytes(std::array::from_fn(|n| bytes[4 + n])),
            id: long(12),
            time: long(20),
        })
    }
}

impl Purpose {
    /// What a ticket that is not good is answered with.
    pub fn invalid(self, what: &'static str) -> DeliveryError {
        match self {
            Self::Recall => DeliveryError::InvalidRecall { what },
            Self::Transaction => DeliveryError::InvalidTransaction { what },
        }
    }
}
