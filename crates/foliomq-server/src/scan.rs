//! The messages of one queue that a filter lets through, read without a group.

use foliomq_delivery::Filter;
use foliomq_store::{Entry, Store, StoreError, StoredMessage};

/// Most messages that one look goes over, for a filter that matches few.
const MAX_SCANNED: u64 = 4096;
/// Index entries read at a time.
const CHUNK: usize = 256;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub(crate) topic: &'a str,
    pub(crate) queue: u32,
    pub(crate) filter: &'a Filter,
    /// Messages that are wanted at most, at least 1.
    pub(crate) most: usize,
}

/// What a look at the queue found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) messages: Vec<StoredMessage>,
    /// Where to go on.
    pub(crate) next: u64,
}

impl Scan<'_> {
    /// What there is from `from` on. What retention has taken is passed over, and what was given up for lost.
    pub(crate) fn look(&self, store: &Store, from: u64) -> Result<Found, StoreError> {
        let mut found = Found {
            messages: Vec::new(),
            // Retention may have taken what was there when the reader began.
            next: from.max(store.offsets(self.topic, self.queue)?.start),
        };
        let end = found.next.saturating_add(MAX_SCANNED);
        let mut entries = Vec::new();
        while found.next < end {
            entries.clear();
            // They begin later where retention has moved the queue's start up meanwhile.
            found.next = store
                .entries(self.topic, self.queue, found.next, CHUNK, &mut entries)?
                .start;
            if entries.is_empty() || !self.take(store, &entries, &mut found)? {
                break;
            }
        }
        Ok(found)
    }

    /// Adds those of these entries that match; `false`: no more can be had in this look.
    fn take(
        &self,
        store: &Store,
        entries: &[Entry],
        found: &mut Found,
    ) -> Result<bool, StoreError> {
        for entry in entries {
            if found.messages.len() == self.most {
                return Ok(false);
            }
            if self.filter.may_match(entry.tag_hash) {
                match store.message(entry) {
                    Ok(message) if self.filter.matches(&message) => found.messages.push(message),
                    Ok(_) => {}
                    Err(error) if self.is_gone(store, found.next, &error)? => {}
                    // The next look begins with it, and says why.
                    Err(_) if !found.messages.is_empty() => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            found.next += 1;
        }
        Ok(true)
    }

    /// Whether the message is lost for good, or retention took it meanwhile.
    fn is_gone(&self, store: &Store, offset: u64, error: &StoreError) -> Result<bool, StoreError> {
        let lost = matches!(error, StoreError::Lost { .. });
        Ok(lost || offset < store.offsets(self.topic, self.queue)?.start)
    }
}
