//! Which queues have something to free once the log's start has moved.

use std::collections::BTreeMap;

use crate::entry::QueueNumber;

/// Log bytes that share a list.
const STRETCH: u64 = 64 << 20;

/// Every queue that holds entries, listed by a log position at which there may be something to free of it. So retention
/// looks at queues that have lost something, and passes over all others.
#[derive(Debug, Default)]
pub(crate) struct Expiry {
    lists: BTreeMap<u64, Vec<QueueNumber>>,
}

impl Expiry {
    /// Lists a queue. Its position may be lower than that of what can be freed first: then it is looked at too early,
    /// and listed again.
    pub(crate) fn add(&mut self, queue: QueueNumber, position: u64) {
        let list = self.lists.entry(position / STRETCH).or_default();
        list.push(queue);
    }

    /// The queues that [`take_due`](Self::take_due) would take out.
    pub(crate) fn due(&self, start: u64) -> Vec<QueueNumber> {
        let due = self.lists.range(..start.div_ceil(STRETCH));
        let mut queues: Vec<QueueNumber> = due.flat_map(|(_, list)| list).copied().collect();
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    /// Takes out the queues of which something may lie below `start`; each once in a list, though it was removed and came
    /// back meanwhile.
    pub(crate) fn take_due(&mut self, start: u64) -> Vec<Vec<QueueNumber>> {
        // The stretch that holds the start is only partly gone.
        let later = self.lists.split_off(&(start.div_ceil(STRETCH)));
        let due = std::mem::replace(&mut self.lists, later);
        let each_once = |mut list: Vec<QueueNumber>| {
            list.sort_unstable();
            list.dedup();
            list
        };
        due.into_values().map(each_once).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_gone_is_due_and_nothing_else() {
        let mut expiry = Expiry::default();
        expiry.add(1, 0);
        expiry.add(2, STRETCH - 1);
        expiry.add(3, STRETCH);
        assert!(expiry.take_due(0).is_empty());
        assert!(expiry.due(0).is_empty());
        assert_eq!(expiry.due(1), [1, 2]);
        assert_eq!(expiry.due(STRETCH + 1), [1, 2, 3]);
        assert_eq!(expiry.take_due(1), [[1, 2]]);
        assert!(expiry.take_due(STRETCH).is_empty());
        assert_eq!(expiry.take_due(STRETCH + 1), [[3]]);
    }

    #[test]
    fn what_is_listed_twice_is_due_once() {
        let mut expiry = Expiry::default();
        [1, 2, 1].into_iter().for_each(|queue| expiry.add(queue, 0));
        assert_eq!(expiry.take_due(1), [[1, 2]]);
    }
}
