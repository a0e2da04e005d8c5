//! Loads of every kind on a broker in the same process: what is reported is what the broker holds. No rate is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foliomq_delivery::Groups;
use foliomq_load::{
    Api, Connection, LoadError, Plan, Report, Target, Topic, Until, Workload, broker_says, run,
};
use foliomq_server::{Config, Encoding, Server};
use foliomq_store::{Flush, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A broker that ends with the test.
struct Broker {
    target: Target,
    _dir: TempDir,
    _end: oneshot::Sender<()>,
}

async fn broker(encoding: Encoding) -> Broker {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(100);
    let mut options = Options::new(dir.path())
        .segment_size(16 << 20)
        .flush(Flush::Async { interval });
    options.retention.disk_refuse = 1.0;
    let store = options.open().unwrap();
    let groups = Groups::open(store.clone(), foliomq_delivery::Options::default()).unwrap();
    let mut config = Config::new(([127, 0, 0, 1], 0).into(), dir.path().join("tls"));
    config.encoding = encoding;
    let server = Server::bind(config, store, groups).await.unwrap();
    let target = Target::plain(server.local_addr().to_string());
    let (end, ended) = oneshot::channel::<()>();
    tokio::spawn(server.serve(async move {
        let _ = ended.await;
    }));
    Broker {
        target,
        _dir: dir,
        _end: end,
    }
}

async fn topic(broker: &Broker, name: &str) -> (Connection, Topic) {
    let connection = Connection::open(&broker.target, "test").await.unwrap();
    let topic = Topic::create(&connection, name, 3).await.unwrap();
    (connection, topic)
}

/// How many messages its queues hold.
async fn held(connection: &Connection, topic: &Topic) -> u64 {
    let queues = topic.queues(connection).await.unwrap();
    queues
        .iter()
        .map(|queue| queue.max_offset - queue.min_offset)
        .sum()
}

fn plan(workload: Workload, api: Api, topic: &str, messages: u64) -> Plan {
    Plan {
        workload,
        api,
        topic: topic.to_owned(),
        body: 100,
        batch: 5,
        connections: 2,
        streams: 2,
        in_flight: 20,
        until: Until::Messages(messages),
        rate: (workload == Workload::Roundtrip).then_some(2000.0),
        ..Plan::default()
    }
}

async fn quiet(broker: &Broker, plan: &Plan) -> Result<Report, LoadError> {
    let load = run(&broker.target, plan, |_| ());
    tokio::time::timeout(Duration::from_secs(120), load)
        .await
        .expect("a load ends")
}

#[tokio::test]
async fn every_message_that_is_reported_is_stored() {
    let broker = broker(Encoding::Own).await;
    for api in [Api::V2, Api::Native] {
        for rate in [None, Some(5000.0)] {
            let name = format!("produce-{api:?}-{}", rate.is_some());
            let (connection, topic) = topic(&broker, &name).await;
            let mut plan = plan(Workload::Produce, api, &name, 400);
            plan.rate = rate;
            let report = quiet(&broker, &plan).await.unwrap();
            assert_eq!(report.messages, 400, "{name}");
            assert_eq!(held(&connection, &topic).await, 400, "{name}");
            assert_eq!(report.latency.count, 400, "{name}");
            assert!(report.latency.p50 <= report.latency.max && report.rate > 0.0);
            topic.delete(&connection).await.unwrap();
        }
    }
}

#[tokio::test]
async fn stored_messages_are_consumed_by_either_encoding() {
    for encoding in [Encoding::Own, Encoding::Tonic] {
        let broker = broker(encoding).await;
        let (connection, _) = topic(&broker, "stored").await;
        let fill = plan(Workload::Produce, Api::Native, "stored", 300);
        quiet(&broker, &fill).await.unwrap();
        for api in [Api::V2, Api::Native] {
            for acknowledge in [false, true] {
                // More than there are: from the start again.
                let mut plan = plan(Workload::Consume, api, "stored", 1500);
                plan.acknowledge = acknowledge;
                let report = quiet(&broker, &plan).await.unwrap();
                assert!(report.messages >= 1500, "{api:?} {acknowledge}: {report:?}");
            }
        }
        let says = broker_says(&connection).await.unwrap();
        let word = if encoding == Encoding::Own {
            "own"
        } else {
            "tonic"
        };
        assert_eq!(
            (says.encoding.as_str(), says.flush.as_str()),
            (word, "async")
        );
        assert!(says.copied > 0);
    }
}

#[tokio::test]
async fn a_round_trip_takes_a_latency_of_each_message() {
    let broker = broker(Encoding::Own).await;
    for api in [Api::V2, Api::Native] {
        let name = format!("roundtrip-{api:?}");
        let _topic = topic(&broker, &name).await;
        // Not of the round trip, and so not of its times.
        let before = plan(Workload::Produce, api, &name, 20_000);
        quiet(&broker, &before).await.unwrap();
        let mut plan = plan(Workload::Roundtrip, api, &name, 0);
        plan.batch = 1;
        plan.warmup = Duration::from_millis(100);
        plan.until = Until::Messages(500);
        let report = quiet(&broker, &plan).await.unwrap();
        assert!(report.messages > 0, "{report:?}");
        let all = report.messages..=report.messages + report.outstanding;
        assert!(all.contains(&report.latency.count), "{report:?}");
        assert!(report.late.count > 0 && report.latency.p50 > 0.0);
    }
}

/// A way to the broker over which nothing goes once it hangs, while connections stay open.
async fn hanging(target: &Target) -> (Target, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let way = Target::plain(listener.local_addr().unwrap().to_string());
    let (broker, flag) = (target.address.clone(), hangs.clone());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let broker = TcpStream::connect(&broker).await.unwrap();
            let (client, broker) = (client.into_split(), broker.into_split());
            tokio::spawn(forward(client.0, broker.1, flag.clone()));
            tokio::spawn(forward(broker.0, client.1, flag.clone()));
        }
    });
    (way, hangs)
}

async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, hangs: Arc<AtomicBool>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        while hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

/// A load of 1,000 a second on a way that hangs once it has run a while; and when it began to hang, and was last looked at.
async fn hung(
    broker: &Broker,
    workload: Workload,
    api: Api,
    name: &str,
) -> (Report, Duration, Duration) {
    let _topic = topic(broker, name).await;
    let (way, hangs) = hanging(&broker.target).await;
    let mut plan = plan(workload, api, name, 0);
    (plan.batch, plan.rate) = (1, Some(1000.0));
    plan.warmup = WARMUP;
    plan.until = Until::Time(Duration::from_secs(3));
    let (mut since, mut last) = (None, Duration::ZERO);
    let report = run(&way, &plan, |glance| {
        last = glance.elapsed;
        if glance.messages > 100 && since.is_none() {
            hangs.store(true, Ordering::Relaxed);
            since = Some(last);
        }
    });
    let report = report.await.unwrap();
    (report, since.unwrap_or(last), last)
}

const WARMUP: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_broker_that_hangs_in_the_end_shows() {
    let broker = broker(Encoding::Own).await;
    for (workload, api) in [
        (Workload::Produce, Api::Native),
        (Workload::Produce, Api::V2),
        (Workload::Roundtrip, Api::Native),
    ] {
        // How long it hangs the machine decides: one that was busy elsewhere shows nothing.
        let mut tries = 0..5;
        let (report, since, last) = loop {
            let name = format!("hangs-{workload:?}-{api:?}-{}", tries.next().unwrap());
            let seen = hung(&broker, workload, api, &name).await;
            if seen.2 - seen.1 > Duration::from_secs(1) {
                break seen;
            }
        };
        let us = (last - since).as_micros() as f64;
        assert!(report.oldest > 0.5 * us, "{us}: {report:?}");
        assert!(
            report.outstanding as f64 > 0.5 * us / 1e3,
            "{us}: {report:?}"
        );
        let (sum, due) = (report.messages + report.outstanding, last - WARMUP);
        assert!(
            sum as f64 > 800.0 * due.as_secs_f64(),
            "all that was due: {report:?}"
        );
        assert!(report.latency.p99 > 0.15 * us, "{us}: {report:?}");
    }
}

#[tokio::test]
async fn encryption_is_a_matter_of_the_target() {
    let mut broker = broker(Encoding::Own).await;
    let _topic = topic(&broker, "secret").await;
    broker.target.tls = true;
    let report = quiet(&broker, &plan(Workload::Produce, Api::V2, "secret", 20))
        .await
        .unwrap();
    assert_eq!(report.messages, 20);
}

#[tokio::test]
async fn what_cannot_be_is_an_error_that_says_why() {
    let broker = broker(Encoding::Own).await;
    let (connection, topic) = topic(&broker, "limits").await;
    let empty = quiet(&broker, &plan(Workload::Consume, Api::V2, "limits", 1)).await;
    assert!(
        matches!(&empty, Err(LoadError::Plan(what)) if what.contains("no messages")),
        "{empty:?}"
    );
    let mut large = plan(Workload::Produce, Api::V2, "limits", 10);
    (large.body, large.batch) = (5 << 20, 1);
    let refused = quiet(&broker, &large).await;
    assert!(
        matches!(refused, Err(LoadError::Refused { .. })),
        "{refused:?}"
    );
    large.api = Api::Native;
    let refused = quiet(&broker, &large).await;
    assert!(
        matches!(refused, Err(LoadError::Refused { .. })),
        "{refused:?}"
    );
    assert_eq!(held(&connection, &topic).await, 0);
    let nobody = run(&Target::plain("127.0.0.1:1"), &large, |_| ()).await;
    assert!(
        matches!(nobody, Err(LoadError::Connect { .. })),
        "{nobody:?}"
    );
}

#[test]
fn plans_have_bounds() {
    let good = plan(Workload::Roundtrip, Api::V2, "t", 1);
    assert!(good.check().is_ok());
    for change in [
        |plan: &mut Plan| plan.body = 0,
        |plan: &mut Plan| plan.body = 7,
        |plan: &mut Plan| plan.batch = 0,
        |plan: &mut Plan| plan.batch = 5000,
        |plan: &mut Plan| plan.in_flight = 0,
        |plan: &mut Plan| plan.rate = None,
        |plan: &mut Plan| plan.rate = Some(f64::NAN),
    ] {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
