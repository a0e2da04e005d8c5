//! Looking at a store's folder from outside.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use foliomq_store::{Flush, Message, Options, Part, Store, TopicOptions, inspect, verify};

const MESSAGES: u64 = 1000;

fn open(dir: &Path) -> Store {
    let flush = Flush::Async {
        interval: Duration::from_millis(200),
    };
    let options = Options::new(dir).segment_size(16 << 20).flush(flush);
    options.open().unwrap()
}

/// A closed store with two topics, one of them deleted.
fn filled(dir: &Path) {
    fill(dir, &["kept", "gone"]).delete_topic("gone").unwrap();
}

/// A store with messages in these topics.
fn fill(dir: &Path, topics: &[&str]) -> Store {
    let store = open(dir);
    for name in topics {
        let options = TopicOptions {
            queues: 3,
            ..Default::default()
        };
        store.create_topic(name, options).unwrap();
    }
    for n in 0..MESSAGES {
        let id = format!("id {n}");
        let message = Message::new(id.as_bytes()).tag("t").key("k").id(&id);
        for topic in topics {
            store.append(topic, &message).unwrap();
        }
    }
    store
}

fn parts(dir: &Path) -> Vec<Part> {
    let report = verify(dir).unwrap();
    report.findings.iter().map(|finding| finding.part).collect()
}

#[test]
fn a_sound_store_is_found_sound() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let report = verify(dir.path()).unwrap();
    assert!(report.sound(), "{:?}", report.findings);
    assert_eq!(
        (report.log.messages, report.compared),
        (2 * MESSAGES, MESSAGES)
    );
    assert_eq!((report.indexed, report.log.clean), (report.log.end, true));
    assert_eq!(report.topics.len(), 1);
    assert_eq!(verify(dir.path()).unwrap(), report, "nothing was changed");
    assert!(serde_json::to_string(&report).unwrap().contains("\"kept\""));
}

#[test]
fn a_store_in_use_is_inspected_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.create_topic("t", TopicOptions::default()).unwrap();
    store.append("t", &Message::new(b"x")).unwrap();
    assert_eq!(inspect(dir.path()).unwrap().log.messages, 1);
    let error = verify(dir.path()).unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn a_folder_without_a_store_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    verify(dir.path()).unwrap_err();
    inspect(dir.path()).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn damage_is_found_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // Of a deleted topic bytes would be left that nobody looks at.
    drop(fill(dir.path(), &["kept"]));
    let pool = dir.path().join("consumequeue/pool-000000");
    let whole = fs::read(&pool).unwrap();
    let entry = whole.iter().rposition(|&byte| byte != 0).unwrap();
    let flip = |path: &Path, at: u64| {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    flip(&pool, entry as u64);
    assert!(parts(dir.path()).contains(&Part::Index));
    flip(&pool, entry as u64);
    assert_eq!(parts(dir.path()), []);

    flip(&dir.path().join("commitlog").join("0".repeat(20)), 5000);
    assert!(parts(dir.path()).contains(&Part::Log));
    flip(&dir.path().join("commitlog").join("0".repeat(20)), 5000);

    fs::remove_dir_all(dir.path().join("keys")).unwrap();
    assert_eq!(parts(dir.path()), [Part::Index]);
    fs::remove_dir_all(dir.path().join("meta")).unwrap();
    assert!(parts(dir.path()).contains(&Part::Metadata));
}
