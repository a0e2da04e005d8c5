//! What a receive asks for and gets.

use std::time::Duration;

use foliomq_store::StoredMessage;

use crate::{Filter, Timestamp};

/// What one receive asks for.
#[derive(Debug, Clone)]
pub struct Receive<'a> {
    /// Created if it is not there.
    pub group: &'a str,
    /// Must be there.
    pub topic: &'a str,
    /// Messages that it refuses are done for the group.
    pub filter: &'a Filter,
    /// Most messages to lease; at least 1, and more than [`MAX_SCANNED`](crate::MAX_SCANNED) means that many.
    pub most: usize,
    /// How long the leases last; at least 1 ms.
    pub invisible: Duration,
    /// The server renews the lease while the client lives; it is written into the handle.
    pub auto_renew: bool,
}

/// One delivery of one message.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message, by reference.
    pub message: StoredMessage,
    /// Opaque to clients; self-contained, checked by a keyed hash, good across restarts. 48 URL-safe characters.
    pub handle: String,
    /// 1 for the first delivery.
    pub attempt: u32,
    /// When the lease ends.
    pub visible_at: Timestamp,
}

/// What a receive got.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Empty: nothing to deliver now.
    pub messages: Vec<Delivery>,
    /// When the next leased message of this group and topic becomes visible, if nothing else happens. Not later than now:
    /// look again at once, there was more than one call looks at.
    pub next_visible: Option<Timestamp>,
}
