//! Starting and stopping a broker.

use std::fs;
use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::Signal;

use crate::broker::{Broker, eventually, foliomq, serve};

#[test]
fn the_ready_line_says_where_and_how() {
    let broker = Broker::start_with(&["--flush", "async"]);
    assert!(broker.ready.starts_with("foliomq "), "{}", broker.ready);
    assert!(
        broker
            .ready
            .contains(&broker.store_dir().display().to_string()),
        "{}",
        broker.ready
    );
    assert!(
        broker.ready.trim_end().ends_with("flush async)"),
        "{}",
        broker.ready
    );
    assert!(!broker.endpoint.ends_with(":0"));
}

#[test]
fn either_signal_stops_it_well_and_messages_stay() {
    let dir = tempfile::tempdir().unwrap();
    for (round, signal) in [Signal::INT, Signal::TERM].into_iter().enumerate() {
        let broker = Broker::on(dir.path(), &[]);
        broker.run(["send", "kept", &format!("round {round}")]).ok();
        broker.signal(signal);
        assert_eq!(broker.wait(), (0, String::new()));
    }
    let broker = Broker::on(dir.path(), &[]);
    let mut bodies: Vec<String> = broker
        .run(["receive", "kept", "--group", "g", "--raw", "--newline"])
        .ok()
        .lines()
        .map(str::to_owned)
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["round 0", "round 1"]);
}

#[test]
fn a_stop_does_not_wait_for_long_polls() {
    let broker = Broker::start();
    broker.run(["topic", "create", "quiet"]).ok();
    let mut poller = broker.command();
    poller.args(["receive", "quiet", "--group", "g", "--wait", "10m"]);
    let mut poller = poller.stderr(Stdio::null()).spawn().unwrap();
    // The group is made by the poll: once it is there, the poll is.
    eventually(|| broker.run(["group", "describe", "g"]).code == 0);
    broker.stop();
    let status = poller.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 3)), "{status}");
}

#[test]
fn a_port_in_use_is_5_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = foliomq();
    command
        .args([
            "serve",
            "--segment-size",
            "16MiB",
            "--listen",
            &address,
            "--store-dir",
        ])
        .arg(dir.path());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains(&address) && text.contains("--listen"),
        "{text}"
    );
}

#[test]
fn a_store_in_use_is_5_and_says_what_to_do() {
    let broker = Broker::start();
    let dir = broker.store_dir();
    let output = serve(dir.parent().unwrap()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{text}");
    assert!(
        text.contains("in use") && text.contains("--store-dir"),
        "{text}"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("store"), "a file").unwrap();
    let output = serve(dir.path()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains(&dir.path().join("store").display().to_string()),
        "{text}"
    );
}

#[test]
fn a_certificate_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(dir.path());
    command.args([
        "--tls-certificate",
        "/nowhere/chain.pem",
        "--tls-key",
        "/nowhere/key.pem",
    ]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("/nowhere/chain.pem"), "{text}");
}
