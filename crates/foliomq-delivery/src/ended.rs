//! How the transactions ended that ended lately: a client that lost the answer says it again.

use std::collections::{HashMap, VecDeque};

use foliomq_store::{LedgerEntry, LedgerEvent};

/// Ends that are remembered.
pub(crate) const REMEMBERED: usize = 1 << 16;

/// What becomes of a half message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// It is delivered.
    Commit,
    /// It never is.
    Rollback,
}

/// The last ends, by the message's id.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    ends: HashMap<u64, Resolution>,
    order: VecDeque<u64>,
}

impl Ended {
    pub fn add(&mut self, id: u64, resolution: Resolution) {
        if self.ends.insert(id, resolution).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ends.remove(&oldest);
        }
    }

    pub fn find(&self, id: u64) -> Option<Resolution> {
        self.ends.get(&id).copied()
    }

    /// Takes an end from the ledger.
    pub fn take(&mut self, line: &LedgerEntry) {
        match line.event {
            LedgerEvent::Revealed { id } => self.add(id, Resolution::Commit),
            LedgerEvent::Cancelled { id } => self.add(id, Resolution::Rollback),
            LedgerEvent::Hidden(_) | LedgerEvent::Carried => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ends_are_remembered() {
        let mut ended = Ended::default();
        for id in 0..REMEMBERED as u64 + 10 {
            ended.add(id, Resolution::Commit);
            ended.add(id, Resolution::Rollback);
        }
        assert_eq!(ended.find(9), None);
        assert_eq!(ended.find(10), Some(Resolution::Rollback));
        assert_eq!(
            (ended.ends.len(), ended.order.len()),
            (REMEMBERED, REMEMBERED)
        );
    }
}
