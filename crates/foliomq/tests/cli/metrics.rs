//! The page that a monitoring system scrapes, of the real binary.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::broker::Broker;

const PAGE: &str = include_str!("../../../../docs/metrics.md");

fn request(broker: &Broker, line: &str) -> String {
    let (_, rest) = broker.ready.split_once("metrics http://").unwrap();
    let address = rest.split('/').next().unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{line} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Every sample by name and labels, and the families' kinds. Panics where a line is not as Prometheus wants it.
fn scrape(broker: &Broker) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let answer = request(broker, "GET /metrics");
    let (head, text) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(kinds.insert(name.to_owned(), kind.to_owned()), None);
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let before = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{name} comes twice");
        }
    }
    (samples, kinds)
}

#[test]
fn a_scrape_has_what_passed_and_what_is_left() {
    let broker = Broker::start_with(&["--metrics-listen", "127.0.0.1:0"]);
    for n in 0..5 {
        broker.run(["send", "orders", &format!("order {n}")]).ok();
    }
    let receive = ["receive", "orders", "--group", "g", "--max", "2"];
    broker.run(receive).ok();
    let (samples, _) = scrape(&broker);
    let is = |name: &str, value: f64| assert_eq!(samples.get(name), Some(&value), "{name}");
    let positive = |name: &str| assert!(samples[name] > 0.0, "{name} is {}", samples[name]);
    is("foliomq_messages_in_total", 5.0);
    is("foliomq_body_bytes_in_total", 35.0);
    is("foliomq_log_refusing", 0.0);
    is("foliomq_pinned_bytes", 0.0);
    is("foliomq_group_pairs_left_out", 0.0);
    is("foliomq_topics", 1.0);
    is("foliomq_groups", 1.0);
    let pair = r#"{group="g",topic="orders"}"#;
    let ready = samples[&format!("foliomq_group_ready_messages{pair}")];
    let in_flight = samples[&format!("foliomq_group_in_flight_messages{pair}")];
    is("foliomq_ready_messages", ready);
    is("foliomq_in_flight_messages", in_flight);
    let out = samples["foliomq_messages_out_total"];
    assert!(out >= 2.0 && ready <= 3.0, "{out} out, {ready} ready");
    positive(r#"foliomq_body_bytes_out_total{path="packed"}"#);
    is(r#"foliomq_body_bytes_out_total{path="copied"}"#, 0.0);
    positive("foliomq_log_flushes_total");
    positive("foliomq_log_flush_seconds_total");
    positive("foliomq_connections_total");
    let send = r#"{service="apache.rocketmq.v2.MessagingService",method="SendMessage"}"#;
    is(&format!("foliomq_calls_total{send}"), 5.0);
    is(&format!("foliomq_calls_in_flight{send}"), 0.0);
    is(&format!("foliomq_call_duration_seconds_count{send}"), 5.0);
    let all = send.replace('}', r#",le="+Inf"}"#);
    is(&format!("foliomq_call_duration_seconds_bucket{all}"), 5.0);
    // All that was sent is acknowledged, and so durable.
    let mark = |mark| samples[&format!("foliomq_log_position_bytes{{mark=\"{mark}\"}}")];
    assert!(mark("committed") > 0.0 && mark("durable") >= mark("committed"));
    assert!(mark("appended") >= mark("durable"));
    broker.stop();
}

#[test]
fn every_family_is_on_its_page_with_its_kind() {
    let broker = Broker::start_with(&["--metrics-listen", "127.0.0.1:0"]);
    let (_, kinds) = scrape(&broker);
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        let name = cells.next()?.trim_end_matches('`').to_owned();
        Some((name, cells.next()?.to_owned()))
    };
    let told: BTreeMap<String, String> = PAGE.lines().filter_map(row).collect();
    assert_eq!(told, kinds);
    let ours: BTreeSet<_> = kinds
        .keys()
        .filter(|name| name.starts_with("foliomq_"))
        .collect();
    assert_eq!(ours.len(), kinds.len());
    for (name, kind) in &kinds {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
    }
    broker.stop();
}

#[test]
fn anything_else_is_refused_and_without_the_flag_there_is_nothing() {
    let broker = Broker::start_with(&["--metrics-listen", "127.0.0.1:0"]);
    let first_line = |answer: String| answer.lines().next().unwrap().to_owned();
    let none = first_line(request(&broker, "GET /"));
    assert!(none.contains(" 404 "), "{none}");
    let wrong = first_line(request(&broker, "DELETE /metrics"));
    assert!(wrong.contains(" 405 "), "{wrong}");
    let garbage = first_line(request(&broker, "GET"));
    assert!(garbage.contains(" 400 "), "{garbage}");
    // One that says nothing keeps the broker from nothing.
    let (_, rest) = broker.ready.split_once("metrics http://").unwrap();
    let silent = TcpStream::connect(rest.split('/').next().unwrap()).unwrap();
    scrape(&broker);
    broker.stop();
    drop(silent);
    let broker = Broker::start();
    assert!(!broker.ready.contains("metrics"), "{}", broker.ready);
    broker.stop();
}
