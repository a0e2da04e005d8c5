//! The table of all settings: one row each, from which files, flags, variables and help are read.

use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::Settings;
use super::values::{ColdCache, Value};
use crate::units::{Size, Span};

/// One setting.
pub struct Row {
    /// Its name in files; `--key` as a flag, `FOLIOMQ_KEY` in the environment.
    pub key: &'static str,
    /// What it does.
    pub about: &'static str,
    /// What it may be.
    pub allowed: &'static str,
    /// Sets it from text; `false` if the text is not allowed.
    pub set: fn(&mut Settings, &str) -> bool,
    /// Its value as text.
    pub show: fn(&Settings) -> String,
}

macro_rules! row {
    ($key:literal, $field:ident, $about:literal, $allowed:literal) => {
        row!($key, $field, $about, $allowed, |_| true)
    };
    ($key:literal, $field:ident, $about:literal, $allowed:literal, $fits:expr) => {
        Row {
            key: $key,
            about: $about,
            allowed: $allowed,
            set: |settings, text| {
                let value = Value::parse(text).filter($fits);
                value.map(|value| settings.$field = value).is_some()
            },
            show: |settings| settings.$field.show(),
        }
    };
}

/// Every setting, in the order in which it is shown.
pub const ROWS: &[Row] = &[
    row!("store-dir", store_dir, "folder of the store", "a path"),
    row!(
        "listen",
        listen,
        "address to listen on; port 0 takes a free one",
        "an address such as 127.0.0.1:8081"
    ),
    row!(
        "metrics-listen",
        metrics_listen,
        "address for Prometheus to scrape, http://ADDRESS/metrics; open to whoever reaches it",
        "an address such as 127.0.0.1:9464, or off"
    ),
    row!(
        "advertise",
        advertise,
        "address for clients that do not say which one they dialled",
        "host:port, or off",
        |value: &Option<String>| value.as_ref().is_none_or(|text| is_host_port(text))
    ),
    row!(
        "flush",
        flush,
        "when a message counts as stored: on the disk, or in the page cache",
        "sync or async"
    ),
    row!(
        "flush-interval",
        flush_interval,
        "how often the log is flushed with flush = async",
        "1ms to 1h",
        |span: &Span| (Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&span.0)
    ),
    row!(
        "segment-size",
        segment_size,
        "bytes of one file of the log",
        "a power of two from 16MiB to 4GiB",
        |size: &Size| size.0.is_power_of_two() && (16 << 20..=4 << 30).contains(&size.0)
    ),
    row!(
        "preheat",
        preheat,
        "what is made resident ahead of the appender",
        "window, segment or off"
    ),
    row!(
        "preheat-window",
        preheat_window,
        "how far ahead with preheat = window",
        "64KiB to 4GiB",
        |size: &Size| (64 << 10..=4 << 30).contains(&size.0)
    ),
    row!(
        "lock-memory",
        lock_memory,
        "keep the active segment in memory (mlock)",
        "true or false"
    ),
    row!(
        "read-mode",
        read_mode,
        "read by reference to mapped pages, or into buffers",
        "mapped or buffered"
    ),
    row!(
        "auto-create",
        auto_create,
        "make topics on first use",
        "true or false"
    ),
    row!(
        "default-queues",
        default_queues,
        "queues of a topic that does not say how many",
        "1 to 1024",
        |queues: &u32| (1..=1024).contains(queues)
    ),
    row!(
        "max-body",
        max_body,
        "largest body of a message",
        "1B to 128MiB",
        |size: &Size| (1..=128 << 20).contains(&size.0)
    ),
    row!(
        "cold-reads",
        cold_reads,
        "reads of history that wait for the device at once, each for 256KiB and 1MiB after it",
        "1 to 256",
        |count: &usize| (1..=256).contains(count)
    ),
    row!(
        "cold-cache",
        cold_cache,
        "memory for what reads of history bring in; past it the oldest is given back; auto: a quarter of what there is",
        "auto, or a size of at least 1MiB",
        |cache: &ColdCache| cache.bytes().is_none_or(|bytes| bytes >= 1 << 20)
    ),
    row!(
        "check-on-open",
        check_on_open,
        "how much of the log's end is checked when the store is opened",
        "a size such as 64MiB"
    ),
    row!(
        "max-attempts",
        max_attempts,
        "deliveries before a message is a dead letter",
        "1 to 1000",
        |attempts: &u32| (1..=1000).contains(attempts)
    ),
    row!(
        "max-in-flight",
        max_in_flight,
        "unacknowledged messages per group and queue",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "max-delay",
        max_delay,
        "how far ahead a message may be delivered",
        "1s to 366d",
        |span: &Span| (Duration::from_secs(1)..=Duration::from_secs(366 * 86_400))
            .contains(&span.0)
    ),
    row!(
        "max-delayed",
        max_delayed,
        "delayed messages that may wait",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "transaction-first-check",
        transaction_first_check,
        "after how long a producer is asked about a transaction without an end",
        "1s to 1h",
        |span: &Span| (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&span.0)
    ),
    row!(
        "transaction-check-interval",
        transaction_check_interval,
        "how often it is asked again",
        "1s to 1h",
        |span: &Span| (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&span.0)
    ),
    row!(
        "transaction-checks",
        transaction_checks,
        "how many times, before the transaction is rolled back",
        "1 to 1000",
        |checks: &u32| (1..=1000).contains(checks)
    ),
    row!(
        "max-transaction-age",
        max_transaction_age,
        "rolled back after so long even if there was nobody to ask",
        "1s to 366d",
        |span: &Span| (Duration::from_secs(1)..=Duration::from_secs(366 * 86_400))
            .contains(&span.0)
    ),
    row!(
        "max-transactions",
        max_transactions,
        "transactions that may be open",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "lite-ttl",
        lite_ttl,
        "remove lite topics without a message or subscriber for so long",
        "1s or more, or off",
        |ttl: &Option<Span>| ttl.is_none_or(|ttl| ttl.0 >= Duration::from_secs(1))
    ),
    row!(
        "lite-topics",
        lite_topics,
        "lite topics that one topic may have",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "lite-subscriptions",
        lite_subscriptions,
        "lite topics of one topic that a client may subscribe to",
        "1 to 100000",
        |count: &usize| (1..=100_000).contains(count)
    ),
    row!(
        "retention-age",
        retention_age,
        "drop segments whose newest message is older",
        "a duration such as 72h, or off"
    ),
    row!(
        "retention-size",
        retention_size,
        "drop the oldest while the log takes more",
        "a size such as 100GiB, or off"
    ),
    row!(
        "retention-interval",
        retention_interval,
        "how often retention looks",
        "100ms to 1h",
        |span: &Span| {
            (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&span.0)
        }
    ),
    row!(
        "disk-high",
        disk_high,
        "above this use of the disk the oldest segments go",
        "a share such as 90%, or off"
    ),
    row!(
        "disk-low",
        disk_low,
        "until its use is below this",
        "a share such as 85%"
    ),
    row!(
        "disk-refuse",
        disk_refuse,
        "above this use of the disk messages are refused",
        "a share such as 97%"
    ),
    row!(
        "tls-certificate",
        tls_certificate,
        "certificate chain; off: one is made at first start",
        "a PEM file, or off"
    ),
    row!(
        "tls-key",
        tls_key,
        "the certificate's private key",
        "a PEM file, or off"
    ),
    row!(
        "max-connections",
        max_connections,
        "connections at once",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "max-long-polls",
        max_long_polls,
        "receives that wait at once",
        "at least 1",
        |count: &usize| *count > 0
    ),
    row!(
        "catch-up-looks",
        catch_up_looks,
        "consumers of history that look for messages at once, in turn; those at the head are not among them",
        "1 to 256",
        |count: &usize| (1..=256).contains(count)
    ),
    row!(
        "max-request-bytes",
        max_request_bytes,
        "memory of all requests together",
        "a size such as 1GiB"
    ),
    row!(
        "max-topics",
        max_topics,
        "topics that may be there for one more to be made on first use",
        "a number"
    ),
    row!(
        "unread-bytes",
        unread_bytes,
        "bytes of one answer that may wait for its socket",
        "16KiB to 64MiB",
        |size: &Size| (16 << 10..=64 << 20).contains(&size.0)
    ),
    row!(
        "pin-age",
        pin_age,
        "a reader that takes nothing for so long is left copies, and keeps no pages",
        "10ms to 1h",
        |span: &Span| (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&span.0)
    ),
    row!(
        "unread-age",
        unread_age,
        "after so long its stream is reset, and what it did not get goes to others",
        "10ms to 1h",
        |span: &Span| (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&span.0)
    ),
    row!(
        "by-reference-from",
        by_reference_from,
        "bodies this large leave by reference to the page",
        "a size such as 4KiB"
    ),
    row!(
        "encoding",
        encoding,
        "who encodes delivered messages: the broker, or tonic, for comparison",
        "own or tonic"
    ),
    row!(
        "log",
        log,
        "which log lines are written",
        "a filter such as warn, info or foliomq_server=debug",
        |text: &String| EnvFilter::try_new(text).is_ok()
    ),
    row!(
        "log-format",
        log_format,
        "how log lines look",
        "text or json"
    ),
];

impl Row {
    /// The row of a key.
    pub fn of(key: &str) -> Option<&'static Self> {
        ROWS.iter().find(|row| row.key == key)
    }

    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("FOLIOMQ_{}", self.key.replace('-', "_").to_uppercase())
    }
}

fn is_host_port(text: &str) -> bool {
    let parts = text.rsplit_once(':');
    parts.is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_allowed_and_shows_as_it_is_written() {
        let defaults = Settings::default();
        for row in ROWS {
            let (text, mut settings) = ((row.show)(&defaults), defaults.clone());
            assert!((row.set)(&mut settings, &text), "{} = {text}", row.key);
            assert_eq!(settings, defaults, "{}", row.key);
        }
    }

    #[test]
    fn keys_are_unique() {
        for (index, row) in ROWS.iter().enumerate() {
            assert!(
                ROWS[index + 1..].iter().all(|other| other.key != row.key),
                "{}",
                row.key
            );
        }
    }

    #[test]
    fn bounds_hold() {
        let mut settings = Settings::default();
        for (key, bad) in [
            ("segment-size", "3MiB"),
            ("segment-size", "17MiB"),
            ("segment-size", "8GiB"),
            ("default-queues", "0"),
            ("max-attempts", "0"),
            ("lite-ttl", "10ms"),
            ("lite-subscriptions", "0"),
            ("flush", "Sync"),
            ("advertise", "broker"),
            ("auto-create", "yes"),
            ("disk-high", "200%"),
            ("log", "foo=bar=baz"),
            ("listen", "localhost"),
        ] {
            let row = Row::of(key).unwrap();
            assert!(!(row.set)(&mut settings, bad), "{key} = {bad}");
        }
        assert_eq!(settings, Settings::default());
    }
}
