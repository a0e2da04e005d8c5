//! Messages that are to come later.

use std::time::{Duration, Instant};

use crate::broker::{Broker, eventually};

fn waiting(broker: &Broker) -> u64 {
    let status = broker.run(["status", "--json"]).json();
    status["delayed_messages"].as_u64().expect("a number")
}

#[test]
fn a_delayed_message_comes_at_its_time() {
    let broker = Broker::start();
    let begin = Instant::now();
    let sent = broker.run(["send", "orders", "later", "--delay", "2s", "--json"]);
    let sent = sent.json();
    assert!(sent["recall_handle"].is_string(), "{sent}");
    assert!(sent["queue_offset"].is_null(), "{sent}");
    let args = ["receive", "orders", "--group", "g", "--wait", "30s"];
    assert!(broker.run(args).ok().ends_with("  later\n"));
    assert!(begin.elapsed() >= Duration::from_secs(2));
}

#[test]
fn the_status_counts_what_waits() {
    let broker = Broker::start();
    let sent = broker
        .run(["send", "orders", "later", "--delay", "1h"])
        .ok();
    assert!(
        sent.starts_with("sent 01") && sent.contains(" (recall handle "),
        "{sent}"
    );
    eventually(|| waiting(&broker) == 1);
    assert!(
        broker
            .run(["status"])
            .ok()
            .contains("waiting for their time")
    );
    let args = ["receive", "orders", "--group", "g", "--wait", "1s"];
    assert_eq!(broker.run(args).ok(), "");
}

#[test]
fn a_time_that_is_past_is_now() {
    let broker = Broker::start();
    let past = "2020-01-01T00:00:00Z";
    broker
        .run(["send", "orders", "past", "--deliver-at", past])
        .ok();
    let args = ["receive", "orders", "--group", "g", "--wait", "30s"];
    assert!(broker.run(args).ok().ends_with("  past\n"));
}

#[test]
fn every_line_of_a_file_waits() {
    let broker = Broker::start();
    let args = ["send", "orders", "--lines", "-", "--delay", "1h"];
    broker.run_with(b"one\ntwo\n", args).ok();
    eventually(|| waiting(&broker) == 2);
}

#[test]
fn what_is_no_time_is_refused() {
    let broker = Broker::start();
    let send = |args: &[&str]| broker.run([&["send", "orders", "x"], args].concat());
    let text = send(&["--delay", "41d"]);
    assert!(text.failed(1).contains("ILLEGAL_DELIVERY_TIME"), "{text:?}");
    // A time ahead is no duration: this would be one that is past.
    let text = send(&["--deliver-at", "15m"]);
    assert!(text.failed(2).contains("expected a time"), "{text:?}");
    let both = ["--delay", "1s", "--deliver-at", "2030-01-01T00:00:00Z"];
    assert!(send(&both).failed(2).contains("cannot be used with"));
    // What waits keeps no order.
    let grouped = ["--delay", "1s", "--message-group", "g"];
    assert!(send(&grouped).failed(2).contains("cannot be used with"));
    assert_eq!(waiting(&broker), 0);
}

#[test]
fn a_delayed_message_is_recalled_before_its_time() {
    let broker = Broker::start();
    let sent = broker.run(["send", "orders", "no", "--delay", "1h", "--json"]);
    let sent = sent.json();
    let handle = sent["recall_handle"].as_str().expect("a handle");
    let other = broker.run(["message", "recall", "elsewhere", handle]);
    assert!(other.failed(1).contains("elsewhere"), "{other:?}");
    let recalled = broker.run(["message", "recall", "orders", handle]).ok();
    let id = sent["message_id"].as_str().expect("an id");
    assert_eq!(recalled, format!("recalled {id}\n"));
    let again = broker.run(["message", "recall", "orders", handle]);
    assert!(again.failed(1).contains("recalled already"), "{again:?}");
    let made_up = broker.run(["message", "recall", "orders", "x"]);
    assert!(made_up.failed(1).contains("BAD_REQUEST"), "{made_up:?}");
    eventually(|| waiting(&broker) == 0);
}
