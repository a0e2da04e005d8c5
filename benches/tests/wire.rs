//! `bench-wire` at tiny sizes: every figure has its rows and its goals. No figure is judged.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// The broker beside this test's own programs, built for the same profile.
fn broker() -> Option<PathBuf> {
    let own = PathBuf::from(env!("CARGO_BIN_EXE_wire"));
    let broker = own.with_file_name("foliomq");
    broker.exists().then_some(broker)
}

#[test]
fn every_figure_is_on_the_page_and_in_the_json() {
    let Some(broker) = broker() else {
        eprintln!("skipped: the broker's program is not built");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_wire"))
        .arg("--smoke")
        .args(["--binary".as_ref(), broker.as_os_str()])
        .args(["--dir".as_ref(), folder.path().as_os_str()])
        .args(["--out".as_ref(), folder.path().as_os_str()])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let page = fs::read_to_string(folder.path().join("wire.md")).unwrap();
    let json = fs::read_to_string(folder.path().join("wire.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let sections = json["sections"].as_array().unwrap();
    let numbers: Vec<u64> = sections
        .iter()
        .map(|section| section["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    for section in sections {
        for goal in section["goals"].as_array().unwrap() {
            let what = goal["what"].as_str().unwrap();
            assert!(page.contains(&format!("| {what} |")), "{goal}");
            assert!(goal["measured"].as_f64().is_some(), "{goal}");
        }
        for sample in section["samples"].as_array().unwrap() {
            assert!(
                sample["report"]["messages"].as_u64().unwrap() > 0,
                "{sample}"
            );
        }
    }
    let woken = sections[5]["goals"][1]["measured"].as_f64();
    assert_eq!(
        woken,
        Some(1.0),
        "exactly those with a message: {}",
        sections[5]
    );
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "the stores were not removed");
}
