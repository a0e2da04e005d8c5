//! Messages in and out.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::broker::{Broker, Run, run, send_signal};

#[test]
fn a_message_keeps_all_that_goes_with_it() {
    let broker = Broker::start();
    let id = "01AABBCCDDEEFF00112233445566778899";
    let sent = broker.run([
        "send",
        "orders",
        "latte",
        "--tag",
        "hot",
        "--key",
        "k1",
        "--key",
        "k2",
        "--property",
        "size=big",
        "--id",
        id,
        "--json",
    ]);
    assert_eq!(sent.json()["message_id"], id);
    let received = broker
        .run(["receive", "orders", "--group", "g", "--json"])
        .json_lines();
    assert_eq!(received.len(), 1);
    let message = &received[0];
    assert_eq!(
        (&message["body"], &message["tag"]),
        (&"latte".into(), &"hot".into()),
        "{message}"
    );
    assert_eq!(message["keys"], serde_json::json!(["k1", "k2"]));
    assert_eq!(message["properties"]["size"], "big");
    assert_eq!(
        (&message["message_id"], &message["attempt"]),
        (&id.into(), &1.into())
    );
}

#[test]
fn an_acknowledged_message_does_not_come_again() {
    let broker = Broker::start();
    let sent = broker.run(["send", "orders", "latte"]).ok();
    assert!(
        sent.starts_with("sent 01") && sent.ends_with("(queue offset 0)\n"),
        "{sent}"
    );
    assert!(
        broker
            .run(["receive", "orders", "--group", "g"])
            .ok()
            .ends_with("  latte\n")
    );
    assert_eq!(
        broker
            .run(["receive", "orders", "--group", "g", "--wait", "0s"])
            .ok(),
        ""
    );
    assert!(
        broker
            .run(["receive", "orders", "--group", "other"])
            .ok()
            .ends_with("  latte\n")
    );
}

#[test]
fn bodies_come_out_byte_for_byte() {
    let broker = Broker::start();
    let body: Vec<u8> = (0..100_000u32).map(|i| (i * 7 % 256) as u8).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("body");
    fs::write(&file, &body).unwrap();
    broker
        .run([
            "send".as_ref(),
            "bytes".as_ref(),
            "--file".as_ref(),
            file.as_os_str(),
        ])
        .ok();
    let raw = broker.run(["receive", "bytes", "--group", "g", "--raw"]);
    assert!(raw.code == 0 && raw.stdout == body);
    broker.run_with(&body, ["send", "piped", "-"]).ok();
    broker.holds("piped", 1);
    let raw = broker.run([
        "tail",
        "piped",
        "--from",
        "earliest",
        "--no-follow",
        "--raw",
    ]);
    assert!(raw.code == 0 && raw.stdout == body);
    let json = broker
        .run([
            "tail",
            "piped",
            "--from",
            "earliest",
            "--no-follow",
            "--json",
        ])
        .json();
    assert!(
        json["body_base64"]
            .as_str()
            .unwrap()
            .starts_with("AAcOFRwj"),
        "{json}"
    );
}

#[test]
fn a_file_goes_in_line_by_line_and_comes_out_in_order() {
    let broker = Broker::start();
    broker
        .run(["topic", "create", "lines", "--queues", "1"])
        .ok();
    let text: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lines.txt");
    fs::write(&file, &text).unwrap();
    let sent = broker
        .run([
            "send".as_ref(),
            "lines".as_ref(),
            "--lines".as_ref(),
            file.as_os_str(),
        ])
        .ok();
    assert!(
        sent.starts_with("sent 3000 messages (") && sent.contains("/s"),
        "{sent}"
    );
    broker.holds("lines", 3000);
    assert_eq!(
        broker
            .run(["receive", "lines", "--group", "g", "--raw", "--newline"])
            .ok(),
        text
    );
}

#[test]
fn blank_lines_are_left_out_and_counted() {
    let broker = Broker::start();
    let sent = broker
        .run_with(
            b"a\n\nb\n\n",
            ["send", "lines", "--lines", "-", "--tag", "t", "--json"],
        )
        .json();
    assert_eq!(
        (&sent["messages"], &sent["blank_lines"]),
        (&2.into(), &2.into()),
        "{sent}"
    );
    broker.holds("lines", 2);
    let received = broker
        .run(["receive", "lines", "--group", "g", "--json"])
        .json_lines();
    assert!(
        received.len() == 2 && received.iter().all(|message| message["tag"] == "t"),
        "{received:?}"
    );
}

#[test]
fn a_line_that_is_refused_is_named_and_those_before_it_are_stored() {
    let broker = Broker::start_with(&["--set", "max-body=10B"]);
    let refused = broker.run_with(
        b"one\ntwo\nthis one is too long\nfour\n",
        ["send", "lines", "--lines", "-"],
    );
    let text = refused.failed(1);
    assert!(
        text.contains("stopped after 2 messages") && text.contains("line 3"),
        "{text}"
    );
    broker.holds("lines", 2);
    let mut bodies = broker
        .run(["receive", "lines", "--group", "g", "--raw", "--newline"])
        .ok();
    bodies = {
        let mut lines: Vec<_> = bodies.lines().collect();
        lines.sort_unstable();
        lines.join(" ")
    };
    assert_eq!(bodies, "one two");
}

#[test]
fn a_slow_input_is_sent_as_it_comes() {
    let broker = Broker::start();
    let mut sender = broker.command();
    sender
        .args(["send", "slow", "--lines", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut sender = sender.spawn().unwrap();
    let mut input = sender.stdin.take().unwrap();
    for body in ["first", "second"] {
        writeln!(input, "{body}").unwrap();
        assert_eq!(
            broker
                .run([
                    "receive", "slow", "--group", "g", "--raw", "--max", "1", "--wait", "1m"
                ])
                .ok(),
            body
        );
    }
    drop(input);
    assert!(sender.wait().unwrap().success());
}

#[test]
fn max_and_tag_choose_messages() {
    let broker = Broker::start();
    for (body, tag) in [("1", "a"), ("2", "b"), ("3", "a"), ("4", "c")] {
        broker.run(["send", "orders", body, "--tag", tag]).ok();
    }
    broker.holds("orders", 4);
    let count = |run: Run| run.ok().lines().count();
    assert_eq!(
        count(broker.run([
            "receive", "orders", "--group", "two", "--max", "2", "--no-ack"
        ])),
        2
    );
    let tagged = broker
        .run([
            "receive", "orders", "--group", "ab", "--tag", "a || b", "--json",
        ])
        .json_lines();
    let mut tags: Vec<_> = tagged
        .iter()
        .map(|message| message["tag"].as_str().unwrap())
        .collect();
    tags.sort_unstable();
    assert_eq!(tags, ["a", "a", "b"]);
}

#[test]
fn without_an_ack_it_comes_again_with_its_attempt_counted() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    let first = [
        "receive",
        "orders",
        "--group",
        "g",
        "--no-ack",
        "--invisible",
        "10s",
        "--json",
    ];
    assert_eq!(broker.run(first).json()["attempt"], 1);
    let second = [
        "receive", "orders", "--group", "g", "--wait", "40s", "--json",
    ];
    assert_eq!(broker.run(second).json()["attempt"], 2);
}

#[test]
fn a_follower_prints_what_comes_until_it_is_interrupted() {
    let broker = Broker::start();
    broker.run(["topic", "create", "orders"]).ok();
    for args in [
        &[
            "receive",
            "orders",
            "--group",
            "g",
            "--raw",
            "--newline",
            "--follow",
        ][..],
        &["tail", "orders", "--from", "earliest", "--raw", "--newline"][..],
    ] {
        let mut follower = broker
            .command()
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        broker.run(["send", "orders", "latte"]).ok();
        assert_eq!(lines.next().unwrap().unwrap(), "latte");
        send_signal(&follower, Signal::INT);
        assert_eq!(follower.wait().unwrap().code(), Some(0), "{args:?}");
    }
}

#[test]
fn tail_begins_where_it_is_told() {
    let broker = Broker::start();
    broker
        .run(["topic", "create", "orders", "--queues", "1"])
        .ok();
    for body in ["one", "two", "three"] {
        broker.run(["send", "orders", body]).ok();
    }
    broker.holds("orders", 3);
    let tail = |from: &str| {
        broker
            .run([
                "tail",
                "orders",
                "--from",
                from,
                "--no-follow",
                "--raw",
                "--newline",
            ])
            .ok()
    };
    assert_eq!(tail("earliest"), "one\ntwo\nthree\n");
    assert_eq!(tail("-2"), "two\nthree\n");
    assert_eq!(tail("1h"), "one\ntwo\nthree\n");
    assert_eq!(tail("latest"), "");
    let default = ["tail", "orders", "--no-follow", "--raw", "--newline"];
    assert_eq!(broker.run(default).ok(), "one\ntwo\nthree\n");
    assert_eq!(
        broker
            .run([
                "tail", "orders", "--from", "earliest", "--max", "2", "--json"
            ])
            .json_lines()
            .len(),
        2
    );
}

#[test]
fn messages_are_found_by_id_and_by_key() {
    let broker = Broker::start();
    let sent = broker
        .run(["send", "orders", "latte", "--key", "table 7", "--json"])
        .json();
    broker.holds("orders", 1);
    let id = sent["message_id"].as_str().unwrap();
    let by_id = broker.run(["query", "orders", "--id", id]).ok();
    assert!(
        by_id.starts_with(id) && by_id.ends_with("key=table 7  latte\n"),
        "{by_id}"
    );
    assert_eq!(
        broker
            .run(["query", "orders", "--key", "table 7", "--json"])
            .json()["message_id"],
        id
    );
    assert!(
        broker
            .run(["query", "orders", "--key", "table 8"])
            .failed(1)
            .contains("no such message")
    );
    assert!(
        broker
            .run(["query", "nowhere", "--key", "k"])
            .failed(1)
            .contains("nowhere")
    );
}

#[test]
fn messages_are_found_by_time_page_by_page() {
    let broker = Broker::start();
    broker
        .run(["topic", "create", "orders", "--queues", "2"])
        .ok();
    let text: String = (0..150).map(|n| format!("{n}\n")).collect();
    for _ in 0..2 {
        let lines = ["send", "orders", "--lines", "-", "--key", "k"];
        broker.run_with(text.as_bytes(), lines).ok();
    }
    broker.holds("orders", 300);
    let query = |more: &[&str]| {
        let args = [&["query", "orders", "--from", "1h", "--json"], more].concat();
        broker.run(args)
    };
    // More than the broker hands out at once, and a place where to go on.
    let mut lines = query(&["--max", "200"]).json_lines();
    let last = lines.pop().unwrap();
    let page = last["next_page"].as_str().unwrap().to_owned();
    assert_eq!(lines.len(), 200);
    lines.extend(query(&["--max", "200", "--page", &page]).json_lines());
    let mut places: Vec<_> = lines
        .iter()
        .map(|line| (line["queue_id"].as_u64(), line["queue_offset"].as_u64()))
        .collect();
    assert!(places.is_sorted(), "queue by queue, in the order of each");
    places.dedup();
    assert_eq!(places.len(), 300, "each once, and all of them");
    assert_eq!(
        query(&["--max", "300", "--queue", "1"]).json_lines().len(),
        places.iter().filter(|(queue, _)| *queue == Some(1)).count()
    );
    let first = broker.run(["query", "orders", "--to", "0s", "--max", "1"]);
    assert_eq!(first.ok().lines().count(), 1);
    assert!(first.stderr.contains("--page 0.1"), "{first:?}");
    for none in [["--to", "1h"], ["--from", "2099-01-01T00:00:00Z"]] {
        let run = broker.run([&["query", "orders"], &none[..]].concat());
        assert!(run.failed(1).contains("no such message"), "{run:?}");
        let key = broker.run([&["query", "orders", "--key", "k"], &none[..]].concat());
        assert!(key.failed(1).contains("no such message"), "{key:?}");
    }
    let bad = query(&["--page", "made-up"]);
    assert!(bad.failed(1).contains("next one"), "{bad:?}");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let broker = Broker::start();
    let body = "x".repeat(100_000);
    let text: String = (0..20).map(|_| format!("{body}\n")).collect();
    broker
        .run_with(text.as_bytes(), ["send", "orders", "--lines", "-"])
        .ok();
    let mut tail = broker.command();
    tail.args(["tail", "orders", "--from", "earliest"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut tail = tail.spawn().unwrap();
    let mut byte = [0];
    tail.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let ended: Run = tail.wait_with_output().unwrap().into();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let broker = Broker::start();
    broker.run(["send", "orders", "a\x1b[31mb"]).ok();
    let line = broker.run(["receive", "orders", "--group", "g"]).ok();
    assert!(line.ends_with("a\\u{1b}[31mb\n"), "{line}");
}

#[test]
fn the_status_counts_what_went_out() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    broker.run(["receive", "orders", "--group", "g"]).ok();
    let status = broker.run(["status", "--json"]).json();
    assert!(
        status["appended"].as_u64().unwrap() > 0 && status["refusing"].is_null(),
        "{status}"
    );
    let bytes = |name: &str| status[name].as_u64().unwrap();
    assert_eq!(
        bytes("body_bytes_by_reference") + bytes("body_bytes_packed"),
        5,
        "{status}"
    );
    assert!(broker.run(["status"]).ok().contains("accepts messages"));
}

#[test]
fn the_broker_says_what_it_has_mapped() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    let asked = broker.run(["inspect", "--residency", "--json"]).json();
    let segment = &asked["segments"][0];
    let bytes = |name: &str| segment[name].as_u64().unwrap();
    assert_eq!(bytes("mapped"), bytes("size"), "{asked}");
    assert_eq!(bytes("locked"), 0, "{asked}");
    let pinned = if bytes("pins") > 0 { bytes("size") } else { 0 };
    assert_eq!(bytes("pinned"), pinned, "{asked}");
    assert!(bytes("resident") > 0, "{asked}");
    let drawn = broker.run(["inspect", "--residency"]).ok();
    assert!(drawn.contains("PINNED"), "{drawn}");
    // From outside nobody knows.
    let dir = broker.store_dir();
    let looked = broker.run(["inspect", dir.to_str().unwrap(), "--residency", "--json"]);
    assert!(looked.json()["segments"][0]["mapped"].is_null());
}

#[test]
fn tail_reads_a_folder_beside_its_broker() {
    let broker = Broker::start();
    broker
        .run(["topic", "create", "orders", "--queues", "1"])
        .ok();
    for body in ["one", "two", "three"] {
        broker.run(["send", "orders", body, "--tag", "hot"]).ok();
    }
    let dir = broker.store_dir();
    let tail = |from: &str| {
        let dir = dir.to_str().unwrap();
        let args = [
            "tail",
            "orders",
            "--dir",
            dir,
            "--no-follow",
            "--from",
            from,
        ];
        run(args)
    };
    let bodies = |run: Run| -> Vec<String> {
        let lines = run.ok();
        let body = |line: &str| line.rsplit("  ").next().unwrap().to_owned();
        lines.lines().map(body).collect()
    };
    assert_eq!(bodies(tail("earliest")), ["one", "two", "three"]);
    assert_eq!(bodies(tail("-2")), ["two", "three"]);
    assert_eq!(bodies(tail("1h")), ["one", "two", "three"]);
    assert!(bodies(tail("latest")).is_empty());
    assert!(tail("-1").ok().contains("tag=hot"));
    broker.stop();
    assert!(tail("earliest").failed(1).contains("no process has"));
}

#[test]
fn the_highest_priority_comes_first() {
    let broker = Broker::start();
    let create = "topic create orders --type priority --queues 3";
    broker.run(create.split(' ')).ok();
    for (body, priority) in [("low", "0"), ("high", "9"), ("middle", "1")] {
        broker
            .run(["send", "orders", body, "--priority", priority])
            .ok();
    }
    broker.holds("orders", 3);
    let received = broker.run(["receive", "orders", "--group", "g", "--json"]);
    let received = received.json_lines();
    let bodies: Vec<_> = received.iter().map(|one| &one["body"]).collect();
    assert_eq!(bodies, ["high", "middle", "low"]);
    assert_eq!(received[0]["priority"], 9);
    let none = broker.run(["send", "orders", "none"]);
    let code = "MESSAGE_PROPERTY_CONFLICT_WITH_TYPE";
    assert!(none.failed(1).contains(code), "{none:?}");
}

#[test]
fn a_message_goes_to_a_lite_topic() {
    let broker = Broker::start();
    let lines = ["send", "orders", "--lines", "-", "--lite-topic", "room 1"];
    broker.run_with(b"one\ntwo\n", lines).ok();
    let described = || broker.run(["topic", "describe", "orders", "--json"]).json();
    assert_eq!(described()["lite_topics"], 1);
    let query = ["query", "orders$room 1", "--from", "1h", "--json"];
    let found = broker.run(query).json_lines();
    assert_eq!(
        (found.len(), &found[1]["body"], &found[1]["lite_topic"]),
        (2, &"two".into(), &"room 1".into())
    );
    let blank = broker.run(["send", "orders", "x", "--lite-topic", " "]);
    assert!(blank.failed(1).contains("ILLEGAL_LITE_TOPIC"), "{blank:?}");
}

#[test]
fn a_group_receives_the_lite_topics_that_it_names() {
    let broker = Broker::start();
    let create = "topic create orders --type lite --queues 1";
    broker.run(create.split(' ')).ok();
    for (lite, body) in [("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")] {
        broker
            .run(["send", "orders", body, "--lite-topic", lite])
            .ok();
    }
    // A query waits for the index.
    broker.run(["query", "orders$c", "--from", "1h"]).ok();
    let receive = |lite: &[&str]| {
        let flags = lite.iter().flat_map(|name| ["--lite-topic", *name]);
        let args = [
            "receive", "orders", "--group", "g", "--wait", "30s", "--json",
        ];
        let received = broker.run(args.into_iter().chain(flags)).json_lines();
        let bodies = received.iter().map(|one| one["body"].as_str().unwrap());
        let mut bodies: Vec<_> = bodies.map(str::to_owned).collect();
        bodies.sort_unstable();
        bodies
    };
    assert_eq!(receive(&["a", "b"]), ["1", "2", "3"]);
    assert_eq!(receive(&["c", "a", "new"]), ["4"]);
}

#[test]
fn a_group_receives_what_a_condition_is_true_of() {
    let broker = Broker::start();
    for price in ["10", "30"] {
        let property = format!("price={price}");
        broker
            .run(["send", "orders", price, "--property", &property])
            .ok();
    }
    broker.holds("orders", 2);
    let args = ["receive", "orders", "--group", "g", "--sql", "price > 20"];
    let received = broker.run(args.into_iter().chain(["--raw"]));
    assert_eq!(received.ok(), "30");
    let args = ["receive", "orders", "--group", "g", "--sql", "price >"];
    let bad = broker.run(args);
    let code = "ILLEGAL_FILTER_EXPRESSION";
    assert!(bad.failed(1).contains(code), "{bad:?}");
}
