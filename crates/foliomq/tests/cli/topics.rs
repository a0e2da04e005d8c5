//! `foliomq topic`.

use rustix::process::Signal;

use crate::broker::{Broker, eventually};

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let broker = Broker::start();
    let created = broker
        .run([
            "topic", "create", "orders", "--queues", "3", "--type", "normal",
        ])
        .ok();
    assert_eq!(created, "topic orders: 3 queues, type normal\n");
    broker
        .run([
            "topic", "create", "orders", "--queues", "3", "--type", "normal",
        ])
        .ok();
    broker.run(["topic", "create", "other"]).ok();
    broker.run(["send", "orders", "latte"]).ok();
    broker.holds("orders", 1);

    let all = broker.run(["topic", "list", "--json"]).json();
    let mut names: Vec<_> = all
        .as_array()
        .unwrap()
        .iter()
        .map(|topic| topic["topic"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["orders", "other"]);
    let table = broker.run(["topic", "list"]).ok();
    assert!(table.starts_with("TOPIC "), "{table}");
    assert!(
        table
            .lines()
            .any(|line| line.starts_with("orders") && line.contains("normal")),
        "{table}"
    );

    let orders = broker.run(["topic", "describe", "orders", "--json"]).json();
    let queues = orders["queues"].as_array().unwrap();
    assert_eq!((queues.len(), &orders["type"]), (3, &"normal".into()));
    assert_eq!(
        queues
            .iter()
            .map(|queue| queue["max_offset"].as_u64().unwrap())
            .sum::<u64>(),
        1
    );
    assert!(queues.iter().any(|queue| {
        queue["last_stored_at"]
            .as_str()
            .is_some_and(|time| time.ends_with('Z'))
    }));
    let shown = broker.run(["topic", "describe", "orders"]).ok();
    assert_eq!(shown.lines().nth(1), Some("  permission: read-write"));
    assert_eq!(shown.lines().count(), 6);

    assert_eq!(
        broker.run(["topic", "delete", "other"]).ok(),
        "deleted topic other\n"
    );
    assert!(
        broker
            .run(["topic", "describe", "other"])
            .failed(1)
            .contains("other")
    );
}

#[test]
fn what_cannot_be_is_refused_with_1() {
    let broker = Broker::start();
    broker
        .run(["topic", "create", "orders", "--queues", "2"])
        .ok();
    assert!(
        broker
            .run(["topic", "create", "orders", "--queues", "3"])
            .failed(1)
            .contains("orders")
    );
    assert!(
        broker
            .run(["topic", "create", "not a name"])
            .failed(1)
            .contains("not a name")
    );
    assert!(
        broker
            .run(["topic", "delete", "nowhere"])
            .failed(1)
            .contains("nowhere")
    );
}

#[test]
fn without_auto_create_a_topic_must_be_made_first() {
    let broker = Broker::start_with(&["--auto-create", "false"]);
    let refused = broker.run(["send", "orders", "latte"]);
    assert!(refused.failed(1).contains("topic create"), "{refused:?}");
    broker.run(["topic", "create", "orders"]).ok();
    broker.run(["send", "orders", "latte"]).ok();
}

#[test]
fn lite_and_priority_topics_are_made_and_shown() {
    let broker = Broker::start();
    for kind in ["lite", "priority"] {
        let made = ["topic", "create", kind, "--queues", "2", "--type", kind];
        assert_eq!(
            broker.run(made).ok(),
            format!("topic {kind}: 2 queues, type {kind}\n")
        );
    }
    let lite = broker.run(["topic", "describe", "lite", "--json"]).json();
    assert_eq!(
        (&lite["type"], &lite["lite_topics"]),
        (&"lite".into(), &0.into())
    );
    let shown = broker.run(["topic", "describe", "priority"]).ok();
    assert!(
        shown.starts_with("topic priority, type priority\n"),
        "{shown}"
    );
}

#[test]
fn a_topic_is_changed_while_it_is_used_and_stays_so_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::on(dir.path(), &[]);
    broker
        .run(["topic", "create", "orders", "--queues", "1"])
        .ok();
    broker.run(["send", "orders", "old"]).ok();
    broker.holds("orders", 1);
    let changed = "topic update orders --queues 3 --type normal --permission read --keep-for 7d --lite-topics 5";
    let shown = broker.run(changed.split(' ')).ok();
    assert!(
        shown.starts_with("topic orders: 3 queues, type normal\n"),
        "{shown}"
    );
    for line in [
        "  permission: read\n",
        "  keep for: 168h\n",
        "  lite topics: 5\n",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let refused = broker.run(["send", "orders", "no"]);
    assert!(refused.failed(1).contains("permission"), "{refused:?}");
    for (bad, why) in [
        (["--queues", "2"], "keeps its 3 queues"),
        (["--type", "lite"], "lite"),
        (["--keep-for", "10ms"], "1 s to 100 years"),
    ] {
        let run = broker.run([&["topic", "update", "orders"], &bad[..]].concat());
        assert!(run.failed(1).contains(why), "{run:?}");
    }
    assert_eq!(broker.run(["topic", "update", "orders"]).code, 2);
    broker.signal(Signal::KILL);
    broker.wait();

    let broker = Broker::on(dir.path(), &["--set", "retention-interval=100ms"]);
    let orders = broker.run(["topic", "describe", "orders", "--json"]).json();
    assert_eq!(orders["queues"].as_array().unwrap().len(), 3);
    assert_eq!(orders["settings"]["permission"], "read");
    assert_eq!(orders["settings"]["keep_for_ms"], 7 * 86_400_000);
    assert_eq!(orders["settings"]["lite_topics"], 5);
    let receive = ["receive", "orders", "--group", "g", "--max", "1"];
    assert!(broker.run(receive).ok().contains("old"));
    let reset = "topic update orders --permission read-write --keep-for default --keep-bytes 1 --lite-topics default --json";
    let reset = broker.run(reset.split(' ')).json();
    assert_eq!(reset["settings"]["keep_for_ms"], serde_json::Value::Null);
    assert_eq!(reset["settings"]["lite_topics"], serde_json::Value::Null);
    eventually(|| {
        let orders = broker.run(["topic", "describe", "orders", "--json"]).json();
        orders["queues"][0]["min_offset"] == 1
    });
}

#[test]
fn a_topic_has_its_settings_from_the_first_moment_on() {
    let broker = Broker::start();
    let create = "topic create orders --queues 2 --permission read --keep-for 7d --lite-topics 5";
    let made = broker.run(create.split(' ')).ok();
    assert!(
        made.starts_with("topic orders: 2 queues, type any\n")
            && made.contains("  keep for: 168h\n"),
        "{made}"
    );
    let refused = broker.run(["send", "orders", "no"]);
    assert!(refused.failed(1).contains("permission"), "{refused:?}");
    let orders = broker.run(["topic", "describe", "orders", "--json"]).json();
    assert_eq!(orders["settings"]["permission"], "read");
    assert_eq!(orders["settings"]["lite_topics"], 5);
    // Once more, whole or in part, is fine; otherwise is not.
    broker.run(create.split(' ')).ok();
    broker
        .run(["topic", "create", "orders", "--lite-topics", "5"])
        .ok();
    for other in [["--lite-topics", "6"], ["--permission", "read-write"]] {
        let run = broker.run([&["topic", "create", "orders"], &other[..]].concat());
        assert!(run.failed(1).contains("other settings"), "{run:?}");
    }
    let senseless = broker.run(["topic", "create", "new", "--keep-for", "10ms"]);
    assert!(senseless.failed(1).contains("1 s to 100 years"));
    assert!(
        broker
            .run(["topic", "describe", "new"])
            .failed(1)
            .contains("new")
    );
}
