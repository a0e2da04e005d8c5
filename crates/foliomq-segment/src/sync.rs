//! The atomics of the ring and of the sleepers. `tests/loom.rs` compiles both with loom's instead.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
