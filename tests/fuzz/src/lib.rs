//! Hostile bytes for everything that a store reads from its folder, and for what is appended to it.
//!
//! Each target is a function of bytes. It makes a small store's folder, damages it as the bytes say (see [`mutation`]), and
//! looks at what comes of it: no panic on any thread, no message that was never sent, none lost in silence. The same
//! functions are run by libFuzzer (`make fuzz`) and by a plain test (`tests/corpus.rs`), which replays `corpus/` and then
//! goes on at random.
//!
//! ```
//! // The first byte says which folder; no mutation follows.
//! let outcome = foliomq_fuzz::segment(&[0]);
//! assert_eq!(outcome.to_string(), "opened: all messages, 48");
//! ```
#![forbid(unsafe_code)]

mod checkpoint;
mod control;
mod forged;
mod image;
mod indexes;
mod judge;
mod layout;
mod message;
mod metadata;
pub mod mutation;
mod outcome;
mod panics;
pub mod random;
mod segment;
mod template;

pub use checkpoint::checkpoint;
pub use control::control;
pub use indexes::indexes;
pub use message::message;
pub use metadata::metadata;
pub use outcome::Outcome;
pub use segment::segment;

/// A function of bytes that panics if the store does not stand them.
pub type Target = fn(&[u8]) -> Outcome;

/// All targets, by the name of their folder in `corpus/`.
pub const TARGETS: [(&str, Target); 6] = [
    ("segment", segment),
    ("checkpoint", checkpoint),
    ("indexes", indexes),
    ("control", control),
    ("metadata", metadata),
    ("message", message),
];
