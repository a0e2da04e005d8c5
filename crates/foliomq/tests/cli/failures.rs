//! Each class of error has its exit code and says what to do.

use std::net::TcpListener;

use crate::broker::{Broker, foliomq, run};

#[test]
fn nobody_there_is_3() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    drop(listener);
    for command in [
        &["topic", "list"][..],
        &["group", "list"],
        &["send", "orders", "latte"],
        &["receive", "orders", "--group", "g"],
        &["tail", "orders"],
        &["query", "orders", "--key", "k"],
        &["status"],
    ] {
        let failed = run(command.iter().copied().chain(["--endpoint", &endpoint]));
        let text = failed.failed(3);
        assert!(
            text.contains(&endpoint) && text.contains("foliomq serve"),
            "{command:?}: {text}"
        );
        assert!(failed.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_is_2() {
    for command in [
        &["send", "orders"][..],
        &["receive", "orders"],
        &["tail", "orders", "--from", "sometime"],
        &["group", "reset", "g", "orders", "--to", "middle"],
        &["status", "--endpoint", "nowhere"],
        &["status", "--log", "foo=bar=baz"],
        &["no-such-command"],
    ] {
        let failed = run(command);
        assert!(
            !failed.failed(2).is_empty() && failed.stdout.is_empty(),
            "{command:?}: {failed:?}"
        );
    }
}

#[test]
fn unreadable_input_is_1_and_named() {
    let broker = Broker::start();
    for flag in ["--lines", "--file"] {
        assert!(
            broker
                .run(["send", "orders", flag, "/nowhere"])
                .failed(1)
                .contains("/nowhere")
        );
        assert!(
            broker
                .run(["send", "orders", flag, "/"])
                .failed(1)
                .contains('/')
        );
    }
}

#[test]
fn what_the_broker_refuses_is_1() {
    let broker = Broker::start_with(&["--set", "max-body=10B"]);
    assert!(
        broker
            .run(["send", "orders", "twelve bytes"])
            .failed(1)
            .contains("max-body")
    );
    assert!(
        broker
            .run(["send", "not a topic", "latte"])
            .failed(1)
            .contains("ILLEGAL_TOPIC")
    );
    assert!(
        broker
            .run(["send", "orders", ""])
            .failed(1)
            .contains("MESSAGE_BODY_EMPTY")
    );
    assert!(
        broker
            .run(["send", "orders", "latte", "--tag", "a|b"])
            .failed(1)
            .contains("ILLEGAL_MESSAGE_TAG")
    );
    let group = broker.run(["receive", "orders", "--group", "not a group"]);
    assert!(
        group.failed(1).contains("ILLEGAL_CONSUMER_GROUP"),
        "{group:?}"
    );
    let invisible = broker.run(["receive", "orders", "--group", "g", "--invisible", "1ms"]);
    assert!(
        invisible.failed(1).contains("ILLEGAL_INVISIBLE_TIME"),
        "{invisible:?}"
    );
}

#[test]
fn help_names_the_exit_codes() {
    let help = run(["--help"]).ok();
    assert!(
        help.contains("Exit codes:") && help.contains("3    the broker cannot be reached"),
        "{help}"
    );
    assert!(run(["--version"]).ok().starts_with("foliomq "));
}

#[test]
fn the_log_is_quiet_unless_asked_and_can_be_json() {
    let broker = Broker::start();
    let quiet = broker.run(["status"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
    let mut loud = foliomq();
    let loud = loud
        .args(["status", "--log", "trace", "--log-format", "json"])
        .env("FOLIOMQ_ENDPOINT", &broker.endpoint);
    let stderr = String::from_utf8(loud.output().unwrap().stderr).unwrap();
    let first = stderr.lines().next().expect("log lines");
    assert!(serde_json::from_str::<serde_json::Value>(first).unwrap()["level"].is_string());
}
