//! The atomics of the ring. `tests/loom.rs` compiles the ring with loom's instead.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};
