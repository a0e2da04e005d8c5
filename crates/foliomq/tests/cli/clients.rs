//! `foliomq client`, `foliomq message` and `foliomq log`.

use std::process::Stdio;

use crate::broker::{Broker, eventually};

#[test]
fn who_is_connected_is_listed_and_described() {
    let broker = Broker::start();
    let mut poller = broker.command();
    poller.args(["receive", "empty", "--group", "g", "--wait", "60s"]);
    let mut poller = poller.stderr(Stdio::null()).spawn().unwrap();
    eventually(|| {
        let list = broker.run(["client", "list", "--group", "g"]).ok();
        list.lines().count() == 2
    });
    let clients = broker.run(["client", "list", "--json"]).json();
    let consumer = &clients[0];
    assert_eq!(consumer["language"], "FOLIOMQ");
    assert_eq!(consumer["group"], "g");
    let address = consumer["address"].as_str().unwrap_or_default();
    assert!(address.starts_with("127.0.0.1:"), "{consumer}");
    let of_group = broker.run(["client", "list", "--group", "g"]).ok();
    assert!(of_group.starts_with("CLIENT "), "{of_group}");

    let id = consumer["client_id"].as_str().unwrap_or_default();
    let described = broker.run(["client", "describe", id]).ok();
    assert!(described.contains("native streams"), "{described}");
    let error = broker.run(["client", "describe", "nobody"]);
    assert!(error.failed(1).contains("no client nobody"), "{error:?}");
    let error = broker.run(["client", "threads", id]);
    assert!(error.failed(1).contains("telemetry"), "{error:?}");
    poller.kill().unwrap();
    poller.wait().unwrap();
}

#[test]
fn a_message_is_tried_by_a_client_that_is_there() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte", "--id", "01"]).ok();
    let verify = [
        "message", "verify", "orders", "01", "--client", "nobody", "--group", "g",
    ];
    let error = broker.run(verify);
    assert!(
        error.failed(1).contains("no client nobody of group g"),
        "{error:?}"
    );
}

#[test]
fn the_log_of_a_broker_is_changed_while_it_runs() {
    let broker = Broker::start();
    assert!(broker.run(["log"]).ok().contains("warn"));
    let changed = broker.run(["log", "warn,foliomq=debug", "--json"]).json();
    let now = changed["now"].as_str().unwrap_or_default();
    assert!(now.contains("foliomq=debug"), "{changed}");
    let shown = broker.run(["log"]).ok();
    assert!(shown.contains("foliomq=debug"), "{shown}");
    let error = broker.run(["log", "foliomq=loud"]);
    assert!(error.failed(1).contains("foliomq=loud"), "{error:?}");
}
