//! `foliomq bench`: what it prints and writes is looked at, no figure is judged.

use std::fs;

use serde_json::Value;

use crate::broker::{Broker, run};

/// Small and few: it is the program that is tested.
const SMALL: [&str; 4] = ["--size", "100B", "--messages", "2000"];
const ASYNC: [&str; 4] = ["--set", "flush=async", "--set", "segment-size=16MiB"];

#[test]
fn a_broker_of_its_own_is_started_and_measured() {
    let dir = tempfile::tempdir().unwrap();
    let (json, plot) = (dir.path().join("a.json"), dir.path().join("a.svg"));
    for (what, api) in [
        ("produce", "native"),
        ("produce", "v2"),
        ("consume", "native"),
        ("roundtrip", "v2"),
    ] {
        let mut line = vec!["bench", what, "--api", api];
        line.extend(SMALL.iter().chain(&ASYNC));
        line.extend([
            "--json",
            json.to_str().unwrap(),
            "--plot",
            plot.to_str().unwrap(),
        ]);
        let text = run(line).ok();
        for word in ["flush async", "rate", "messages/s", "processor", "per GB"] {
            assert!(text.contains(word), "{what} {api}: {text}");
        }
        assert_eq!(text.contains("p99.9"), what != "consume", "{text}");
        assert_eq!(text.contains("departures"), what == "roundtrip", "{text}");
        let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        let report = &document["sides"][0]["runs"][0]["report"];
        assert!(report["messages"].as_u64().unwrap() > 0, "{document}");
        assert_eq!(report["plan"]["workload"], what);
        assert!(fs::read_to_string(&plot).unwrap().starts_with("<svg"));
    }
}

#[test]
fn stored_messages_are_consumed_from_the_brokers_own_pages() {
    for ack in [&["--no-ack"][..], &[]] {
        let mut line = vec!["bench", "consume", "--delivery", "mapped"];
        line.extend(SMALL.iter().chain(&ASYNC).chain(ack));
        let text = run(line).ok();
        assert!(text.contains("mapped by the client"), "{text}");
    }
    let produced = run(["bench", "produce", "--delivery", "mapped"]);
    assert!(produced.failed(2).contains("stored messages"));
}

#[test]
fn two_settings_are_measured_in_turn_and_their_ratio_is_printed() {
    let mut line = vec!["bench", "produce", "--compare", "encoding=tonic"];
    line.extend(SMALL.iter().chain(&ASYNC));
    let text = run(line).ok();
    let sides: Vec<&str> = text
        .lines()
        .filter(|line| line.contains(": broker"))
        .collect();
    assert_eq!(sides.len(), 4, "{text}");
    for (side, (name, encoding)) in sides
        .iter()
        .zip([("A", "own"), ("B", "tonic")].iter().cycle())
    {
        assert!(
            side.starts_with(name) && side.contains(&format!("encoding {encoding}")),
            "{text}"
        );
    }
    assert!(text.contains("B / A, with B = encoding=tonic"), "{text}");
}

#[test]
fn a_broker_that_runs_keeps_what_it_had_and_nothing_more() {
    let broker = Broker::start();
    let mut line = vec!["bench", "produce", "--endpoint", &broker.endpoint];
    line.extend(SMALL);
    let text = run(line).ok();
    assert!(
        text.contains("which ran already") && text.contains("flush sync"),
        "{text}"
    );
    let topics = run(["topic", "list", "--endpoint", &broker.endpoint]).ok();
    assert!(!topics.contains("bench-"), "{topics}");
}

#[test]
fn what_cannot_be_measured_is_said() {
    let nobody = run(["bench", "produce", "--endpoint", "127.0.0.1:1"]);
    assert!(nobody.failed(3).contains("broker of its own"));
    let batch = run(["bench", "produce", "--batch", "5000"]);
    assert!(batch.failed(2).contains("1 to 4096"));
    let change = run(["bench", "produce", "--compare", "colour=red"]);
    assert!(change.failed(2).contains("colour"));
    let setting = run(["bench", "produce", "--set", "flush=sometimes"]);
    assert!(setting.failed(1).contains("did not"), "{setting:?}");
    let large = run(["bench", "produce", "--size", "5MiB", "--set", "flush=async"]);
    assert!(large.failed(1).contains("refused"), "{large:?}");
}
