//! A table that only grows, and is looked into without a lock.

use std::sync::OnceLock;

/// Entries of the first bucket; each further one has twice as many.
const FIRST: usize = 16;
/// Enough for 2^32 entries and more.
const BUCKETS: usize = 29;

/// Entries by their index. An entry keeps its place for as long as the table lives, so that a look-up takes no lock and
/// a reference to it stays good while the table grows.
#[derive(Debug)]
pub(crate) struct Table<T> {
    buckets: [OnceLock<Box<[T]>>; BUCKETS],
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            buckets: [const { OnceLock::new() }; BUCKETS],
        }
    }
}

impl<T: Default> Table<T> {
    /// The entry, if the table has grown that far.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        let (bucket, at) = place(index);
        self.buckets.get(bucket)?.get()?.get(at)
    }

    /// The entry; the table grows to hold it.
    pub(crate) fn grow_to(&self, index: usize) -> &T {
        let (bucket, at) = place(index);
        let make = || (0..FIRST << bucket).map(|_| T::default()).collect();
        &self.buckets[bucket].get_or_init(make)[at]
    }

    /// All entries that there are, with their index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let buckets = self.buckets.iter().enumerate();
        buckets.flat_map(|(bucket, entries)| {
            let start = FIRST * ((1 << bucket) - 1);
            let entries = entries.get().map_or(&[][..], |entries| entries);
            (start..).zip(entries)
        })
    }
}

/// Bucket, and index in it.
fn place(index: usize) -> (usize, usize) {
    let bucket = (index / FIRST + 1).ilog2() as usize;
    (bucket, index - FIRST * ((1 << bucket) - 1))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn entries_keep_their_place() {
        let table = Table::<AtomicUsize>::default();
        assert!(table.get(0).is_none());
        let indexes = [0, 15, 16, 47, 48, 1000, 65_535];
        let first = table.grow_to(0);
        for index in indexes {
            table.grow_to(index).store(index + 1, Ordering::Relaxed);
        }
        assert!(std::ptr::eq(first, table.get(0).unwrap()));
        for index in indexes {
            assert_eq!(table.get(index).unwrap().load(Ordering::Relaxed), index + 1);
        }
        let set = table
            .iter()
            .filter(|(_, entry)| entry.load(Ordering::Relaxed) > 0);
        assert_eq!(set.map(|(index, _)| index).collect::<Vec<_>>(), indexes);
        assert!(table.get(1 << 20).is_none());
    }
}
