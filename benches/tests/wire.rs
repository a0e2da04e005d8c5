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

/// Of the servers that are installed: each does all that it can, and says which version it is.
#[test]
fn other_servers_do_the_same_work() {
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
        .arg("peers")
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let json = fs::read_to_string(folder.path().join("peers.json")).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    let section = &json["sections"][0];
    let text = section["text"].as_str().unwrap();
    let rows = section["rows"].as_array().unwrap();
    let does = |server: &str, work: &str| {
        rows.iter().any(|row| {
            let (by, what) = (row["server"].as_str(), row["work"].as_str());
            by == Some(server) && what.is_some_and(|what| what.starts_with(work))
        })
    };
    let works = ["publish", "read", "consume", "round trip"];
    for (server, version) in [
        ("FolioMQ async", "in the page cache"),
        ("FolioMQ sync", "fdatasync"),
        ("NATS JetStream", "nats-server: v"),
        ("Redis Streams everysec", "Redis server v="),
        ("Redis Streams always", "Redis server v="),
    ] {
        if text.contains(&format!("Not measured: {server}")) {
            eprintln!("not installed: {server}");
            continue;
        }
        assert!(text.contains(&format!("**{server}**: {version}")), "{text}");
        assert!(works.iter().all(|work| does(server, work)), "{server}");
    }
}
