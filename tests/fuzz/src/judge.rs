//! Opens a damaged store, reads all of it, and compares with what was sent.

use std::path::Path;

use foliomq_store::{Message, Store, StoreError, StoredMessage, inspect, verify};

use crate::outcome::Outcome;
use crate::template::{QUEUES, Sent, TOPIC, options};

/// Offsets that are read of a queue, at most: damage may say that there are more.
const MOST: u64 = 100;

/// What a damaged store must hold to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// What was sent to it.
    pub(crate) sent: &'a [Sent],
    /// No checksum was made to fit: what is served was sent.
    pub(crate) honest: bool,
    /// If the store opens, messages below this position are served, or an error says why not.
    pub(crate) kept_below: u64,
    /// It is enough if `verify` finds what is not served, or served in another's place: pool files have no checksums.
    pub(crate) verify_tells: bool,
}

/// Looks at the folder with every tool, then opens it.
pub(crate) fn judge(dir: &Path, claim: &Claim<'_>) -> Outcome {
    // Whatever they say: they must not panic, nor change anything.
    let _ = inspect(dir);
    let told = verify(dir).is_ok_and(|report| !report.sound());
    let verify_tells = told && claim.verify_tells;
    let kept_below = if verify_tells { 0 } else { claim.kept_below };
    let claim = &Claim {
        kept_below,
        verify_tells,
        ..*claim
    };
    match options(dir).open() {
        Ok(store) => judge_open(dir, store, claim),
        Err(error) => Outcome::refused(error),
    }
}

fn judge_open(dir: &Path, store: Store, claim: &Claim<'_>) -> Outcome {
    let recovery = store.recovery();
    let how = match (recovery.clean, &recovery.cut) {
        (true, _) => "opened".to_owned(),
        (false, None) => "recovered".to_owned(),
        (false, Some(cut)) => format!("cut because {}", cut.reason),
    };
    let (count, failed) = read_all(&store, claim);
    let went_on = go_on(&store);
    let closed = store.close();
    drop(store);
    if went_on && closed.is_ok() {
        // What a store has written itself it opens again.
        let again = options(dir)
            .open()
            .unwrap_or_else(|error| panic!("opened once, and not again: {error}"));
        let (later, _) = read_all(&again, claim);
        assert!(
            later >= count,
            "{count} messages at the first opening, {later} at the second"
        );
    }
    let failed = failed.map_or(String::new(), |error| format!("; {error}"));
    let share = match count {
        0 => "no",
        count if count < claim.sent.len() => "fewer",
        count if count > claim.sent.len() => "more",
        _ => "all",
    };
    Outcome::new(format!("{how}: {share} messages, {count}{failed}"))
}

/// Reads every queue; returns how many messages there were, and the first error.
fn read_all(store: &Store, claim: &Claim<'_>) -> (usize, Option<StoreError>) {
    let mut count = 0;
    let mut first = None;
    // Without its first segments a log looks like one that retention has shortened.
    let kept = store.watermarks().start..claim.kept_below;
    for queue in 0..QUEUES {
        let Ok(offsets) = store.offsets(TOPIC, queue) else {
            continue;
        };
        let sent_here = claim
            .sent
            .iter()
            .filter(|sent| sent.queue == queue && kept.contains(&sent.position));
        for sent in sent_here {
            let read = store.read(TOPIC, queue, sent.offset);
            assert!(
                !matches!(read, Ok(None)),
                "queue {queue}, offset {}: lost, and nobody says so",
                sent.offset
            );
        }
        for offset in offsets.take(MOST as usize) {
            match store.read(TOPIC, queue, offset) {
                Ok(Some(message)) => {
                    count += 1;
                    compare(&message, queue, offset, claim);
                }
                Ok(None) => {}
                Err(error) => first = first.or(Some(error)),
            }
        }
        read_otherwise(store, queue, claim);
    }
    (count, first)
}

/// Every other way to a message.
fn read_otherwise(store: &Store, queue: u32, claim: &Claim<'_>) {
    let same = |message: &StoredMessage| {
        compare(message, message.queue_id(), message.queue_offset(), claim)
    };
    let many = store
        .read_many(TOPIC, queue, 0, MOST as usize)
        .unwrap_or_default();
    many.iter().for_each(same);
    if let Ok(mut cursor) = store.cursor(TOPIC, queue, 0) {
        for _ in 0..MOST {
            let Ok(Some(message)) = cursor.next() else {
                break;
            };
            let _ = (message.tag(), message.topic(), message.body().len());
        }
    }
    for sent in claim.sent.iter().take(usize::from(queue == 0)) {
        let _ = store.offset_at(TOPIC, queue, sent.position);
        store
            .find_by_key(TOPIC, &sent.key, 3)
            .unwrap_or_default()
            .iter()
            .for_each(same);
        store
            .find_by_id(TOPIC, &sent.id, 3)
            .unwrap_or_default()
            .iter()
            .for_each(same);
    }
}

/// A message that is served is the one that was sent there.
pub(crate) fn compare(message: &StoredMessage, queue: u32, offset: u64, claim: &Claim<'_>) {
    let parts = (
        message.tag(),
        message.keys().count(),
        message.id().len(),
        message.properties().count(),
    );
    std::hint::black_box((
        parts,
        message.body().len(),
        message.topic().len(),
        message.store_time(),
    ));
    if !claim.honest || message.body() == NEW {
        return;
    }
    let (queue, offset) = match claim.verify_tells {
        true => (message.queue_id(), message.queue_offset()),
        false => (queue, offset),
    };
    let sent = claim
        .sent
        .iter()
        .find(|sent| (sent.queue, sent.offset) == (queue, offset));
    let sent =
        sent.unwrap_or_else(|| panic!("queue {queue}, offset {offset}: nothing was sent there"));
    assert_eq!(
        (
            message.queue_id(),
            message.queue_offset(),
            message.position()
        ),
        (queue, offset, sent.position)
    );
    assert!(
        message.body() == sent.body,
        "queue {queue}, offset {offset}: another body"
    );
    assert_eq!((message.topic(), &*message.id()), (TOPIC, sent.id.as_str()));
    assert_eq!(message.keys().collect::<Vec<_>>(), [sent.key.as_str()]);
}

/// Body of the message that is sent after the damage.
const NEW: &[u8] = b"one more";

/// Sends one more message; whether it was taken. One that was is served.
fn go_on(store: &Store) -> bool {
    match store.append_to(TOPIC, 0, &Message::new(NEW)) {
        Ok(appended) => {
            let read = store.read(TOPIC, 0, appended.queue_offset);
            let body = read.map(|message| message.map(|message| message.body().to_vec()));
            assert_eq!(body, Ok(Some(NEW.to_vec())), "a new message, at once");
            true
        }
        Err(_) => false,
    }
}
