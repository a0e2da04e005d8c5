//! What is known of the producers of Publish streams: how far each has come.
//!
//! The log is the truth: the id of each message tells producer and number, and the key index finds it. What is kept here
//! only spares the look-up for the producers seen last; one that is forgotten, or was never seen since the start, is asked
//! about in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foliomq_proto::v2::Code;
use foliomq_store::{StoreError, StoredMessage};
use parking_lot::Mutex;

use crate::broker::Handles;
use crate::parts::{Part, Parts};
use crate::status::Refusal;

/// Producers that are kept in memory, about 150 bytes each; then those go that were not heard of for longest.
const MOST: usize = 65_536;

/// Producers by id.
#[derive(Debug, Default)]
pub(crate) struct Producers {
    known: Mutex<HashMap<u64, Known>>,
    uses: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    progress: Arc<tokio::sync::Mutex<Progress>>,
    /// When it was asked for last, counted in uses of all.
    used: u64,
}

/// How far a producer is. Its lock is held while a frame is stored, so that two streams of one producer take turns.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Number of its last stored message; 0: not known until one is stored, since nothing says how many the log holds.
    pub(crate) last: u64,
    /// Where the log ended after that.
    pub(crate) end: u64,
}

impl Producers {
    /// The progress of one producer; `dispatched` is how far the log is indexed.
    pub(crate) fn progress(
        &self,
        id: u64,
        dispatched: u64,
    ) -> Result<Arc<tokio::sync::Mutex<Progress>>, Refusal> {
        let mut known = self.known.lock();
        if known.len() >= MOST && !known.contains_key(&id) {
            forget(&mut known, dispatched);
            if known.len() >= MOST {
                let what = format!("{MOST} producers are sending already");
                return Err(Refusal::new(Code::TooManyRequests, what));
            }
        }
        let entry = known.entry(id).or_default();
        entry.used = self.uses.fetch_add(1, Ordering::Relaxed);
        Ok(entry.progress.clone())
    }
}

/// Forgets the older half of those that no stream uses and the index knows all of.
fn forget(known: &mut HashMap<u64, Known>, dispatched: u64) {
    let idle = |known: &Known| {
        let unused = Arc::strong_count(&known.progress) == 1;
        unused
            && known
                .progress
                .try_lock()
                .is_ok_and(|progress| progress.end <= dispatched)
    };
    let mut idle: Vec<(u64, u64)> = known
        .iter()
        .filter(|(_, known)| idle(known))
        .map(|(id, known)| (known.used, *id))
        .collect();
    idle.sort_unstable();
    idle.truncate(idle.len().div_ceil(2));
    for (_, id) in idle {
        known.remove(&id);
    }
}

/// The id of a message: 34 hex digits, as those of the other clients, of a version of its own.
pub(crate) fn message_id(producer: u64, sequence: u64) -> String {
    write_id(producer, sequence, str::to_owned)
}

/// The same, on the stack.
pub(crate) fn write_id<T>(producer: u64, sequence: u64, take: impl FnOnce(&str) -> T) -> T {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut id = *b"02................................";
    let numbers = [producer, sequence];
    let bytes = numbers.iter().flat_map(|number| number.to_be_bytes());
    for (digits, byte) in id[2..].as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
    }
    // Digits are ASCII.
    take(std::str::from_utf8(&id).unwrap_or_default())
}

/// Where a message is that is stored already.
#[derive(Debug)]
pub(crate) enum Found {
    InQueue(StoredMessage),
    /// It was delayed: what recalls it. It may be in its queue since, or recalled.
    Delayed(String),
}

/// Those of the messages of a frame that are stored already: always the first ones.
pub(crate) fn stored(
    handles: &Handles,
    topic: &str,
    parts: &Parts,
    progress: &Progress,
) -> Result<Vec<Found>, Refusal> {
    // What this process has appended is found once it is committed, and indexed.
    handles.store.wait_committed(progress.end)?;
    let mut found = Vec::new();
    for part in &parts.all {
        let number = part.number;
        if progress.last > 0 && number > progress.last {
            break;
        }
        let indexed = handles.store.watermarks().dispatched;
        match find(handles, topic, part, &message_id(parts.producer, number))? {
            Some(message) => found.push(message),
            None if number <= progress.last => return Err(missing(number, progress, indexed)),
            None => break,
        }
    }
    Ok(found)
}

fn find(handles: &Handles, topic: &str, part: &Part, id: &str) -> Result<Option<Found>, Refusal> {
    if part.due.is_some()
        && let Some(handle) = handles.groups.find_delayed(topic, id)?
    {
        return Ok(Some(Found::Delayed(handle)));
    }
    let lite = part.held_by(topic);
    let found = match handles
        .store
        .find_by_id(lite.as_deref().unwrap_or(topic), id, 1)
    {
        // Its topic takes none, so that it was not made.
        Err(StoreError::UnknownTopic { .. }) if lite.is_some() => return Ok(None),
        found => found?.pop(),
    };
    Ok(found.map(Found::InQueue))
}

/// Why a message that was numbered before is not found, in a log that was indexed so far as it was looked for.
fn missing(number: u64, progress: &Progress, indexed: u64) -> Refusal {
    if indexed < progress.end {
        // It may well be there: who is told that it is refused sends it anew, and it is stored twice.
        let what =
            format!("message {number} of the producer may be stored, and is not indexed yet");
        return Refusal::new(Code::TooManyRequests, what);
    }
    let what = format!(
        "message {number} of the producer is behind {}, and not in the log",
        progress.last
    );
    Refusal::new(Code::BadRequest, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_are_forgotten_but_none_in_use_or_not_indexed() {
        let mut known = HashMap::new();
        for id in 1..=8 {
            let progress = Progress {
                last: 1,
                end: if id == 2 { 100 } else { 10 },
            };
            let progress = Arc::new(tokio::sync::Mutex::new(progress));
            known.insert(id, Known { progress, used: id });
        }
        let in_use = known[&1].progress.clone();
        forget(&mut known, 50);
        let mut left: Vec<u64> = known.keys().copied().collect();
        left.sort_unstable();
        assert_eq!(left, [1, 2, 6, 7, 8]);
        drop(in_use);
    }

    #[test]
    fn what_is_not_indexed_yet_is_not_refused_for_good() {
        let progress = Progress { last: 9, end: 100 };
        let code = |indexed| missing(5, &progress, indexed).code;
        assert_eq!(code(99), Code::TooManyRequests);
        assert_eq!(code(100), Code::BadRequest);
    }

    #[test]
    fn ids_have_the_length_of_the_clients_own() {
        let id = message_id(0x12_3456_789A_BCDE, 1);
        assert_eq!(id, "0200123456789ABCDE0000000000000001");
        assert_eq!(id.len(), 34);
    }
}
