//! `foliomq group`.

use crate::broker::Broker;

#[test]
fn groups_are_updated_listed_and_described() {
    let broker = Broker::start();
    assert_eq!(
        broker
            .run(["group", "update", "g", "--max-attempts", "3", "--json"])
            .json()["max_attempts"],
        3
    );
    broker
        .run(["topic", "create", "orders", "--queues", "1"])
        .ok();
    broker.run(["send", "orders", "one"]).ok();
    broker.run(["send", "orders", "two"]).ok();
    broker.holds("orders", 2);
    broker
        .run(["receive", "orders", "--group", "g", "--max", "1"])
        .ok();

    let group = broker.run(["group", "describe", "g", "--json"]).json();
    let queue = &group["queues"][0];
    assert_eq!(
        (&queue["topic"], &queue["lag"]),
        (&"orders".into(), &1.into()),
        "{group}"
    );
    let text = broker.run(["group", "describe", "g"]).ok();
    assert!(
        text.starts_with("group g, max attempts 3, order auto\npauses 1,5,10,"),
        "{text}"
    );
    assert_eq!(
        broker.run(["group", "list", "--json"]).json()[0]["group"],
        "g"
    );
    assert!(broker.run(["group", "list"]).ok().starts_with("GROUP "));
}

#[test]
fn a_reset_group_reads_again() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    let receive = [
        "receive", "orders", "--group", "g", "--raw", "--wait", "30s",
    ];
    assert_eq!(broker.run(receive).ok(), "latte");
    for to in ["earliest", "0", "1h"] {
        broker
            .run(["group", "reset", "g", "orders", "--to", to])
            .ok();
        assert_eq!(broker.run(receive).ok(), "latte", "{to}");
    }
    broker
        .run(["group", "reset", "g", "orders", "--to", "earliest"])
        .ok();
    broker
        .run(["group", "reset", "g", "orders", "--to", "latest"])
        .ok();
    assert_eq!(
        broker
            .run(["receive", "orders", "--group", "g", "--raw", "--wait", "0s"])
            .ok(),
        ""
    );
}

#[test]
fn an_unknown_group_is_1() {
    let broker = Broker::start();
    assert!(
        broker
            .run(["group", "describe", "nobody"])
            .failed(1)
            .contains("nobody")
    );
}

#[test]
fn pauses_between_deliveries_are_set_and_stay() {
    let broker = Broker::start();
    let update = ["group", "update", "g", "--backoff", "2..600x3", "--json"];
    assert_eq!(broker.run(update).json()["backoff"], "2..600x3");
    let update = ["group", "update", "g", "--max-attempts", "4", "--json"];
    assert_eq!(broker.run(update).json()["backoff"], "2..600x3");
    let refused = broker.run(["group", "update", "g", "--backoff", "0"]);
    assert!(refused.failed(1).contains("1 to 43200 s"));
}

#[test]
fn dead_letters_are_redriven() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    let redrive = ["group", "redrive", "g", "--json"];
    assert!(broker.run(redrive).failed(1).contains("does not exist"));
    broker
        .run(["group", "update", "g", "--max-attempts", "1"])
        .ok();
    let redriven = broker.run(redrive).json();
    assert_eq!(
        (&redriven["back"], &redriven["kept"]),
        (&0.into(), &0.into())
    );
    let text = broker.run(["group", "redrive", "g", "--max", "5"]).ok();
    assert!(text.starts_with("group g: 0 back, 0 kept"), "{text}");
}

#[test]
fn a_group_is_deleted_and_reads_anew() {
    let broker = Broker::start();
    broker.run(["send", "orders", "latte"]).ok();
    broker.holds("orders", 1);
    let receive = || {
        let args = [
            "receive", "orders", "--group", "g", "--wait", "30s", "--raw",
        ];
        broker.run(args).ok()
    };
    assert_eq!(receive(), "latte");
    let of_topic = broker.run(["group", "delete", "g", "--topic", "orders"]);
    assert_eq!(
        of_topic.ok(),
        "group g has nothing of topic orders any more\n"
    );
    assert_eq!(receive(), "latte");
    assert_eq!(
        broker.run(["group", "delete", "g"]).ok(),
        "deleted group g\n"
    );
    let gone = broker.run(["group", "describe", "g"]);
    assert!(gone.failed(1).contains('g'), "{gone:?}");
    assert_eq!(receive(), "latte");
    let unknown = broker.run(["group", "delete", "nobody"]);
    assert!(unknown.failed(1).contains("nobody"), "{unknown:?}");
}
