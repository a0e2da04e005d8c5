//! `inspect` and `verify` on a folder.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::broker::{Broker, Run, foliomq, run, serve};

fn offline(args: &[&str], dir: &Path) -> Run {
    foliomq()
        .args(args)
        .arg(dir.join("store"))
        .output()
        .unwrap()
        .into()
}

/// A closed store with 100 messages of 1 KiB.
fn filled(dir: &Path) {
    let broker = Broker::on(dir, &[]);
    let line = "x".repeat(1024);
    let text: String = (0..100).map(|_| format!("{line}\n")).collect();
    broker
        .run_with(text.as_bytes(), ["send", "orders", "--lines", "-"])
        .ok();
    broker.stop();
}

/// The log with the messages, as `inspect` shows it.
fn messages(report: &serde_json::Value) -> serde_json::Value {
    let logs = report["logs"].as_array().unwrap().iter();
    let count = |log: &&serde_json::Value| {
        log["segments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|segment| segment["messages"].as_u64().unwrap())
            .sum::<u64>()
    };
    logs.max_by_key(count).unwrap().clone()
}

fn flip_a_bit(log: &serde_json::Value, offset: u64) {
    let path = log["segments"][0]["path"].as_str().unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn a_sound_store_is_shown_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let log = messages(&offline(&["inspect", "--json"], dir.path()).json());
    assert_eq!(
        (&log["segments"][0]["messages"], &log["sound"]),
        (&100.into(), &true.into()),
        "{log}"
    );
    assert_eq!(log["checkpoint"]["clean"], true);
    let text = offline(&["inspect"], dir.path()).ok();
    assert!(
        text.contains("closed at position") && text.contains("SEGMENT"),
        "{text}"
    );
    let text = offline(&["verify"], dir.path()).ok();
    assert!(
        text.contains("sound; ") && text.contains("(100 messages)"),
        "{text}"
    );
    assert!(
        offline(&["verify", "--salvage"], dir.path())
            .ok()
            .contains("nothing was changed")
    );
}

#[test]
fn a_running_broker_can_be_looked_at_but_not_salvaged() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let _broker = Broker::on(dir.path(), &[]);
    assert!(
        offline(&["inspect"], dir.path())
            .ok()
            .contains("in use or not closed")
    );
    let verified = offline(&["verify"], dir.path());
    assert!(
        verified.code != 0 && verified.stderr.contains("in use"),
        "{verified:?}"
    );
    let log = messages(&offline(&["inspect", "--json"], dir.path()).json());
    flip_a_bit(&log, 50_000);
    let salvaged = offline(&["verify", "--salvage"], dir.path());
    assert!(salvaged.failed(5).contains("in use"), "{salvaged:?}");
}

#[test]
fn a_damaged_store_is_4_and_serves_again_after_the_salvage() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path());
    let log = messages(&offline(&["inspect", "--json"], dir.path()).json());
    flip_a_bit(&log, 50_000);

    let verified = offline(&["verify"], dir.path());
    assert!(
        verified.failed(4).contains("--salvage") && verified.text().contains("DAMAGED"),
        "{verified:?}"
    );
    let started = Run::from(serve(dir.path()).output().unwrap());
    assert!(
        started.failed(4).contains("foliomq verify --salvage"),
        "{started:?}"
    );

    let salvaged = offline(&["verify", "--salvage"], dir.path()).ok();
    assert!(
        salvaged.contains("salvaged") && salvaged.contains("position"),
        "{salvaged}"
    );
    assert!(offline(&["verify"], dir.path()).ok().contains("sound"));
    let broker = Broker::on(dir.path(), &[]);
    let left = broker
        .run(["receive", "orders", "--group", "g", "--json"])
        .json_lines()
        .len();
    assert_eq!(left, 99);
}

#[test]
fn a_folder_without_a_store_is_1() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for command in ["inspect", "verify"] {
        assert!(run([command, path]).failed(1).contains("holds no store"));
        assert!(run([command, "/nowhere"]).failed(1).contains("/nowhere"));
    }
}
