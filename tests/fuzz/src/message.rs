//! Messages whose encoded parts come from a hostile sender.

use std::cell::RefCell;

use foliomq_store::{Message, Store, StoreError, TopicOptions, verify};
use tempfile::TempDir;

use crate::image::folder;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::{TOPIC, options};

/// Messages that a store takes before it is checked and another begun.
const STORE_TAKES: usize = 500;

/// A store that takes messages of many cases.
struct Taker {
    store: Store,
    dir: TempDir,
    taken: usize,
}

/// Appends a message: two bytes are the lengths of its user and system properties, which follow; the rest is the body. What is
/// taken is read back as it was.
pub fn message(data: &[u8]) -> Outcome {
    // Of the thread, so that its folder goes when the thread ends.
    thread_local!(static TAKER: RefCell<Option<Taker>> = const { RefCell::new(None) });
    let [user, system, rest @ ..] = data else {
        return Outcome::new("too short");
    };
    let (user, rest) = rest.split_at(usize::from(*user).min(rest.len()));
    let (system, body) = rest.split_at(usize::from(*system).min(rest.len()));
    watch(|| {
        let message = match Message::encoded(user.to_vec(), system.to_vec(), body) {
            Ok(message) => message,
            Err(error) => return Outcome::refused(error),
        };
        TAKER.with_borrow_mut(|taker| {
            let store = &taker.get_or_insert_with(Taker::begin).store;
            let outcome = send(store, &message, user, system);
            if let Some(full) = taker.take_if(|taker| taker.is_full()) {
                full.end();
            }
            outcome
        })
    })
}

fn send(store: &Store, message: &Message<'_>, user: &[u8], system: &[u8]) -> Outcome {
    let appended = match store.append(TOPIC, message) {
        Ok(appended) => appended,
        Err(error @ StoreError::BodyTooLarge { .. }) => return Outcome::refused(error),
        Err(error) => panic!("a message that is well-formed was not taken: {error}"),
    };
    let read = store
        .read(TOPIC, 0, appended.queue_offset)
        .expect("it was taken")
        .expect("it was taken");
    assert_eq!(read.body(), message.body());
    assert_eq!(read.encoded_user_properties(), user);
    assert_eq!(read.encoded_system_properties(), system);
    for key in read.keys() {
        let found = store
            .find_by_key(TOPIC, key, 1)
            .expect("the index is sound");
        assert_eq!(
            found.first().map(|newest| newest.position()),
            Some(appended.position),
            "key {key:?}"
        );
    }
    let found = store
        .find_by_id(TOPIC, &read.id(), 1)
        .expect("the index is sound");
    assert_eq!(
        found.first().map(|newest| newest.position()),
        Some(appended.position),
        "id {:?}",
        read.id()
    );
    let (tag, keys, properties) = (
        read.tag().is_some(),
        read.keys().count().min(2),
        read.properties().count().min(2),
    );
    Outcome::new(format!(
        "taken; tag {tag}, keys {}, properties {}",
        ["none", "one", "more"][keys],
        ["none", "one", "more"][properties]
    ))
}

impl Taker {
    fn begin() -> Self {
        let dir = folder().expect("there is room");
        let store = options(dir.path()).open().expect("the folder is empty");
        store
            .create_topic(
                TOPIC,
                TopicOptions {
                    queues: 1,
                    ..Default::default()
                },
            )
            .expect("it is new");
        Self {
            dir,
            store,
            taken: 0,
        }
    }

    fn is_full(&mut self) -> bool {
        self.taken += 1;
        self.taken >= STORE_TAKES
    }

    /// Closes the store: nothing is wrong with it.
    fn end(self) {
        self.store.close().expect("nothing failed before");
        drop(self.store);
        let report = verify(self.dir.path()).expect("it is closed");
        assert!(report.sound(), "{:?}", report.findings);
    }
}
