//! Every family of metrics, in the order of the page.

use std::sync::atomic::Ordering;

use foliomq_delivery::Groups;
use foliomq_store::Store;

use super::backlog::Backlog;
use super::calls::{BOUNDS, Method};
use super::page::{Kind, Page};
use crate::admin::bytes_written;
use crate::broker::Broker;

/// The whole page. Looks at every group and topic: not on a thread of the runtime.
pub(crate) fn page(broker: &Broker) -> String {
    let mut page = Page::default();
    process(&mut page, broker);
    traffic(&mut page, broker);
    bodies_out(&mut page, broker);
    callers(&mut page, broker);
    calls(&mut page, broker);
    durations(&mut page, broker);
    positions(&mut page, &broker.store);
    segments(&mut page, &broker.store);
    flushes(&mut page, &broker.store);
    cold_reads(&mut page, &broker.store);
    preheat(&mut page, &broker.store);
    waiting(&mut page, &broker.groups);
    backlog(&mut page, broker);
    page.into_text()
}

fn process(page: &mut Page, broker: &Broker) {
    page.family("foliomq_build_info", Kind::Gauge, "1, with the version.")
        .sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.gauge(
        "foliomq_start_time_seconds",
        "When the broker started, Unix seconds.",
        broker.started as f64 / 1000.0,
    );
    if let Some(bytes) = bytes_written() {
        page.counter(
            "foliomq_disk_written_bytes_total",
            "Bytes that the process has dirtied in the page cache for its disk.",
            bytes,
        );
    }
}

fn traffic(page: &mut Page, broker: &Broker) {
    page.counter(
        "foliomq_messages_in_total",
        "Messages stored for producers.",
        broker.sent.total(),
    );
    page.counter(
        "foliomq_body_bytes_in_total",
        "Bytes of the bodies of these.",
        broker.sent_bytes.load(Ordering::Relaxed),
    );
    page.counter(
        "foliomq_messages_out_total",
        "Messages leased, pulled or located for subscribers, each time again.",
        broker.delivered.total(),
    );
}

fn bodies_out(page: &mut Page, broker: &Broker) {
    let what = "Bytes of bodies that left, by the way they took.";
    let mut family = page.family("foliomq_body_bytes_out_total", Kind::Counter, what);
    for (path, counter) in [
        ("reference", &broker.body_bytes_by_reference),
        ("packed", &broker.body_bytes_packed),
        ("copied", &broker.body_bytes_copied),
    ] {
        family.sample("", &[("path", path)], counter.load(Ordering::Relaxed));
    }
    page.gauge(
        "foliomq_unread_bytes",
        "Bytes of answers that no socket has taken yet.",
        broker.wire.unread(),
    );
    page.gauge(
        "foliomq_pinned_bytes",
        "Those of them that keep mapped pages of the log.",
        broker.wire.pinned(),
    );
}

fn callers(page: &mut Page, broker: &Broker) {
    page.gauge(
        "foliomq_connections",
        "Open connections.",
        broker.connections.now(),
    );
    page.counter(
        "foliomq_connections_total",
        "Connections that were accepted.",
        broker.connections.ever(),
    );
    page.gauge(
        "foliomq_clients",
        "Clients that gave a sign of life within a minute, or hold a stream open.",
        broker.clients.count(),
    );
}

fn labels(method: &Method) -> [(&str, &str); 2] {
    [("service", &method.service), ("method", &method.name)]
}

fn calls(page: &mut Page, broker: &Broker) {
    let what = "Calls that began, by method.";
    let mut family = page.family("foliomq_calls_total", Kind::Counter, what);
    for method in broker.calls.called() {
        family.sample("", &labels(method), method.begun());
    }
    let what = "Calls under way: of the methods that stream, the open streams.";
    let mut family = page.family("foliomq_calls_in_flight", Kind::Gauge, what);
    for method in broker.calls.called() {
        family.sample("", &labels(method), method.running());
    }
}

fn durations(page: &mut Page, broker: &Broker) {
    let what =
        "From a request's headers to the beginning of its answer; a long poll waits in between.";
    let mut family = page.family("foliomq_call_duration_seconds", Kind::Histogram, what);
    for method in broker.calls.called() {
        let [service, name] = labels(method);
        let mut sum = 0;
        let bounds = BOUNDS.map(|bound| bound.to_string());
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        for (bound, count) in bounds.zip(method.answered()) {
            sum += count;
            family.sample("_bucket", &[service, name, ("le", bound)], sum);
        }
        family
            .sample("_sum", &[service, name], method.time().as_secs_f64())
            .sample("_count", &[service, name], sum);
    }
}

fn positions(page: &mut Page, store: &Store) {
    let marks = store.watermarks();
    let what = "Positions in the commit log, byte offsets.";
    let mut family = page.family("foliomq_log_position_bytes", Kind::Gauge, what);
    for (mark, position) in [
        ("start", marks.start),
        ("appended", marks.appended),
        ("durable", marks.durable),
        ("committed", marks.committed),
        ("dispatched", marks.dispatched),
    ] {
        family.sample("", &[("mark", mark)], position);
    }
}

fn segments(page: &mut Page, store: &Store) {
    let appended = store.watermarks().appended;
    page.counter(
        "foliomq_log_appended_bytes_total",
        "Bytes appended to the log.",
        appended.saturating_sub(store.recovery().end),
    );
    page.gauge(
        "foliomq_log_segments",
        "Segments of the log.",
        store.segments().len(),
    );
    page.gauge(
        "foliomq_log_refusing",
        "1 while appends are refused (the disk is full, a flush has failed), otherwise 0.",
        u8::from(store.refusing().is_some()),
    );
}

fn flushes(page: &mut Page, store: &Store) {
    let bill = store.flush_bill();
    page.counter(
        "foliomq_log_flushes_total",
        "Flushes of the log.",
        bill.flushes,
    );
    page.counter(
        "foliomq_log_flushed_bytes_total",
        "Bytes of the log that these made durable.",
        bill.bytes,
    );
    page.counter(
        "foliomq_log_flush_seconds_total",
        "Time that they took.",
        bill.time.as_secs_f64(),
    );
}

fn cold_reads(page: &mut Page, store: &Store) {
    let bill = store.cold_reads();
    page.counter(
        "foliomq_cold_reads_total",
        "Reads of what was not in memory.",
        bill.reads,
    );
    page.gauge(
        "foliomq_cold_reads_running",
        "Those that wait for the device now, no more than cold-reads allows.",
        bill.running,
    );
    page.gauge(
        "foliomq_cold_reads_waiting",
        "Those that wait for their turn.",
        bill.waiting,
    );
}

fn preheat(page: &mut Page, store: &Store) {
    let bill = store.preheat_bill();
    page.counter(
        "foliomq_preheat_seconds_total",
        "Time of the threads that make pages ready for the appender.",
        bill.time.as_secs_f64(),
    );
    page.counter(
        "foliomq_preheat_pages_total",
        "Pages of 4 KiB that they made ready.",
        bill.pages,
    );
    page.counter(
        "foliomq_preheat_faults_avoided_total",
        "Pages that the append head found ready.",
        bill.avoided,
    );
    page.counter(
        "foliomq_preheat_faults_taken_total",
        "Pages that the head reached before they were ready.",
        bill.missed,
    );
}

fn waiting(page: &mut Page, groups: &Groups) {
    page.gauge(
        "foliomq_delayed_messages",
        "Messages that wait for their time.",
        groups.waiting(),
    );
    page.gauge(
        "foliomq_open_transactions",
        "Half messages whose transaction has no end yet.",
        groups.transactions(),
    );
}

fn backlog(page: &mut Page, broker: &Broker) {
    page.gauge(
        "foliomq_topics",
        "Topics, without lite topics.",
        broker.store.topics().len(),
    );
    let groups = broker.groups.groups();
    page.gauge("foliomq_groups", "Consumer groups.", groups.len());
    let backlog = Backlog::of(groups);
    page.gauge(
        "foliomq_ready_messages",
        "Messages that groups have never been delivered, all together; without lite topics.",
        backlog.ready,
    );
    page.gauge(
        "foliomq_in_flight_messages",
        "Messages that are delivered and not done, of all groups; without lite topics.",
        backlog.in_flight,
    );
    pairs(page, &backlog);
}

fn pairs(page: &mut Page, backlog: &Backlog) {
    let what = "Messages that a group has never been delivered, by group and topic.";
    let mut family = page.family("foliomq_group_ready_messages", Kind::Gauge, what);
    for lag in &backlog.pairs {
        let labels = [("group", lag.group.as_str()), ("topic", &lag.topic)];
        family.sample("", &labels, lag.ready);
    }
    let what = "Messages that are delivered to a group and not done, by group and topic.";
    let mut family = page.family("foliomq_group_in_flight_messages", Kind::Gauge, what);
    for lag in &backlog.pairs {
        let labels = [("group", lag.group.as_str()), ("topic", &lag.topic)];
        family.sample("", &labels, lag.in_flight);
    }
    page.gauge(
        "foliomq_group_pairs_left_out",
        "Pairs of group and topic beyond the 1,000 with the most to do, which these two do not show.",
        backlog.left_out,
    );
}
