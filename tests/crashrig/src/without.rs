//! A store without one of its flushes: the call says that it was done, and is not.

use std::sync::Arc;

use anyhow::{Context, Result};
use foliomq_segment::disk::{self, Flush, Operation, Verdict, Watch, Watcher};

/// Finds a flush by its name, as `Records`.
pub fn find(name: &str) -> Result<Flush> {
    let known = Flush::ALL.iter().find(|flush| format!("{flush:?}") == name);
    known
        .copied()
        .with_context(|| format!("no flush is called {name}; there are {:?}", Flush::ALL))
}

/// Leaves the flush out for as long as the result lives.
pub fn leave_out(flush: Flush) -> Watch {
    disk::watch(Arc::new(Without(flush)))
}

struct Without(Flush);

impl Watcher for Without {
    fn before(&self, operation: &Operation<'_>) -> Verdict {
        match operation {
            Operation::Flush(flush, ..) | Operation::FlushFolder(flush, ..) if *flush == self.0 => {
                Verdict::Skip
            }
            _ => Verdict::Go,
        }
    }

    fn after(&self, _: &Operation<'_>) {}
}
