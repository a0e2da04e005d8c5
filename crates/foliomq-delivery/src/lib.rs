//! Consumption semantics without a network: consumer groups over a [`Store`](foliomq_store::Store), with leases, acks,
//! redelivery and dead letters. Time is an argument.
//!
//! A receive leases messages for an invisible time; an ack ends the lease; one that ends by itself makes its message
//! visible again with `attempt + 1`, and the attempt after the group's last makes it a dead letter in `%DLQ%group`.
//! State is in memory and in a journal (see `docs/format-delivery.md`): a killed process forgets nothing, a power cut
//! takes back at most the acks of the last [`FLUSH_INTERVAL`], whose messages come again.
//!
//! ```
//! use std::time::Duration;
//! use event_listener::Listener as _;
//! use foliomq_delivery::{Filter, Groups, Options, Receive};
//! use foliomq_store::{Message, Options as StoreOptions, TopicOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let store_options = StoreOptions::new(dir.path()).segment_size(16 << 20);
//! let store = store_options.open()?;
//! store.create_topic("orders", TopicOptions::default())?;
//! let groups = Groups::open(store.clone(), Options::default())?;
//! store.append("orders", &Message::new(b"two books"))?;
//!
//! let request = Receive {
//!     group: "billing",
//!     topic: "orders",
//!     filter: &Filter::All,
//!     most: 32,
//!     invisible: Duration::from_secs(30),
//!     auto_renew: false,
//! };
//! let now = 1_790_000_000_000;
//! let arrival = store.listen("orders")?;
//! let mut received = groups.receive(&request, now)?;
//! if received.messages.is_empty() {
//!     arrival.wait();
//!     received = groups.receive(&request, now)?;
//! }
//! for delivery in received.messages {
//!     assert_eq!(delivery.message.body(), b"two books");
//!     groups.ack("billing", "orders", &delivery.handle, now + 5)?;
//! }
//! assert!(groups.receive(&request, now + 60_000)?.messages.is_empty());
//! # groups.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

// The model calls this crate as others do.
#[cfg(test)]
extern crate self as foliomq_delivery;

mod acks;
mod backoff;
mod carry;
mod dead_letter;
mod delayed;
mod delivery;
mod ended;
mod error;
mod filter;
mod filters;
mod forgotten;
mod group;
mod groups;
mod handle;
mod housekeeping;
mod join;
mod journal;
mod lease;
#[cfg(test)]
mod lease_model;
mod lite;
#[cfg(test)]
mod model;
mod name;
mod open;
mod options;
mod order;
mod ordered;
mod pending;
#[cfg(test)]
mod planted;
mod receive;
mod record;
mod redrive;
mod registry;
mod rules;
mod settle;
mod shared;
mod sql;
mod subscription;
mod ticket;
mod transaction;
mod waiting;
mod wire;

pub use backoff::{Backoff, MAX_PAUSE, MAX_STEPS};
pub use dead_letter::DEAD_LETTER_RETRY;
pub use delayed::{Delayed, Due};
pub use delivery::{Delivery, Receive, Received};
pub use ended::Resolution;
pub use error::DeliveryError;
pub use filter::{Filter, MAX_EXPRESSION, MAX_TAGS, TagFilter};
pub use filters::Filters;
pub use group::{Group, GroupQueue, ResetTo};
pub use groups::Groups;
pub use journal::FLUSH_INTERVAL;
pub use lease::{Change, Claim, Lease, Leases, Standing, Taken};
pub use lite::{LiteAction, LiteOptions, LiteProgress, LiteStart, LiteSync, Unsubscribed};
pub use name::{MAX_GROUP_NAME, check_group};
pub use options::Options;
pub use order::{Order, queue_of, queue_of_priority};
pub use receive::MAX_SCANNED;
pub use redrive::Redriven;
pub use registry::{MAX_GROUPS, MAX_QUEUES};
pub use rules::{Rules, Start};
pub use sql::{MAX_DEPTH, MAX_PROPERTIES, SqlFilter};
pub use transaction::{HalfMessage, Question};

/// Unix milliseconds; always an argument, so that a test owns the clock.
pub type Timestamp = u64;
