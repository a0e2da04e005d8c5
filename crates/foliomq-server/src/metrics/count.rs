//! How many of a thing there are, and have been.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    now: AtomicU64,
    ever: AtomicU64,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct One(Arc<Numbers>);

impl Count {
    pub(crate) fn one(&self) -> One {
        self.0.now.fetch_add(1, Ordering::Relaxed);
        self.0.ever.fetch_add(1, Ordering::Relaxed);
        One(self.0.clone())
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.now.load(Ordering::Relaxed)
    }

    pub(crate) fn ever(&self) -> u64 {
        self.0.ever.load(Ordering::Relaxed)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
