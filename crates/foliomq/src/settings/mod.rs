//! The settings of `foliomq serve`: what they are, where they come from, what they turn into.

mod layers;
mod print;
mod rows;
mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use layers::{Flag, Invalid, Layers};
pub use print::print;
pub use rows::Row;
pub use values::{ColdCache, FlushMode, LogFormat, PreheatMode, Value};

use crate::units::{Share, Size, Span};

/// Every setting with its value. Durations and sizes are in the units of their types; `None` switches a thing off.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub store_dir: PathBuf,
    pub listen: SocketAddr,
    pub metrics_listen: Option<SocketAddr>,
    pub advertise: Option<String>,
    pub flush: FlushMode,
    pub flush_interval: Span,
    pub segment_size: Size,
    pub preheat: PreheatMode,
    pub preheat_window: Size,
    pub lock_memory: bool,
    pub read_mode: foliomq_store::ReadMode,
    pub auto_create: bool,
    pub default_queues: u32,
    pub max_body: Size,
    pub cold_reads: usize,
    pub cold_cache: ColdCache,
    pub check_on_open: Size,
    pub max_attempts: u32,
    pub max_in_flight: usize,
    pub lite_ttl: Option<Span>,
    pub lite_topics: usize,
    pub lite_subscriptions: usize,
    pub max_delay: Span,
    pub max_delayed: usize,
    pub transaction_first_check: Span,
    pub transaction_check_interval: Span,
    pub transaction_checks: u32,
    pub max_transaction_age: Span,
    pub max_transactions: usize,
    pub retention_age: Option<Span>,
    pub retention_size: Option<Size>,
    pub retention_interval: Span,
    pub disk_high: Option<Share>,
    pub disk_low: Share,
    pub disk_refuse: Share,
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub max_connections: usize,
    pub max_long_polls: usize,
    pub catch_up_looks: usize,
    pub max_request_bytes: Size,
    pub max_topics: usize,
    pub unread_bytes: Size,
    pub pin_age: Span,
    pub unread_age: Span,
    pub by_reference_from: Size,
    pub encoding: foliomq_server::Encoding,
    pub log: String,
    pub log_format: LogFormat,
}

impl Default for Settings {
    /// The library's defaults where it has them, so that there is one place for each.
    fn default() -> Self {
        let store = foliomq_store::Options::new("foliomq-data");
        let groups = foliomq_delivery::Options::default();
        let listen = SocketAddr::from(([127, 0, 0, 1], 8081));
        let server = foliomq_server::Config::new(listen, PathBuf::new());
        Self {
            store_dir: store.dir,
            listen,
            metrics_listen: server.metrics,
            advertise: None,
            flush: FlushMode::Sync,
            flush_interval: Span(Duration::from_millis(500)),
            segment_size: Size(store.segment_size),
            preheat: PreheatMode::Window,
            preheat_window: Size(32 << 20),
            lock_memory: store.lock_memory,
            read_mode: store.read_mode,
            auto_create: server.auto_create,
            default_queues: store.default_queues,
            max_body: Size(store.max_body as u64),
            cold_reads: store.cold_reads,
            cold_cache: ColdCache::Auto,
            check_on_open: Size(store.check_on_open),
            max_attempts: groups.max_attempts,
            max_in_flight: groups.max_in_flight,
            lite_ttl: Some(Span(groups.lite.ttl)),
            lite_topics: groups.lite.topics,
            lite_subscriptions: groups.lite.subscriptions,
            max_delay: Span(groups.max_delay),
            max_delayed: groups.max_delayed,
            transaction_first_check: Span(groups.first_check),
            transaction_check_interval: Span(groups.check_interval),
            transaction_checks: groups.max_checks,
            max_transaction_age: Span(groups.max_transaction_age),
            max_transactions: groups.max_transactions,
            retention_age: store.retention.age.map(Span),
            retention_size: store.retention.size.map(Size),
            retention_interval: Span(store.retention.interval),
            disk_high: store.retention.disk.map(|(high, _)| Share(high)),
            disk_low: Share(store.retention.disk.map_or(0.85, |(_, low)| low)),
            disk_refuse: Share(store.retention.disk_refuse),
            tls_certificate: None,
            tls_key: None,
            max_connections: server.max_connections,
            max_long_polls: server.max_long_polls,
            catch_up_looks: server.catch_up_looks,
            max_request_bytes: Size(server.max_request_bytes as u64),
            max_topics: server.max_topics,
            unread_bytes: Size(server.unread_bytes as u64),
            pin_age: Span(server.pin_age),
            unread_age: Span(server.unread_age),
            by_reference_from: Size(server.by_reference_from as u64),
            encoding: server.encoding,
            log: crate::logging::DEFAULT.to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

impl Settings {
    /// How to open the store.
    pub fn store(&self) -> foliomq_store::Options {
        let mut options = foliomq_store::Options::new(&self.store_dir)
            .segment_size(self.segment_size.0)
            .flush(self.flush())
            .preheat(self.preheat())
            .read_mode(self.read_mode)
            .retention(self.retention());
        options.lock_memory = self.lock_memory;
        options.cold_reads = self.cold_reads;
        options.cold_cache = self.cold_cache.bytes();
        options.check_on_open = self.check_on_open.0;
        options.default_queues = self.default_queues;
        options.max_body = usize::try_from(self.max_body.0).unwrap_or(usize::MAX);
        options
    }

    /// How groups consume.
    pub fn groups(&self) -> foliomq_delivery::Options {
        let (max_attempts, max_in_flight) = (self.max_attempts, self.max_in_flight);
        foliomq_delivery::Options {
            max_attempts,
            max_in_flight,
            lite: foliomq_delivery::LiteOptions {
                ttl: self.lite_ttl.map_or(Duration::ZERO, |ttl| ttl.0),
                topics: self.lite_topics,
                subscriptions: self.lite_subscriptions,
            },
            max_delay: self.max_delay.0,
            max_delayed: self.max_delayed,
            first_check: self.transaction_first_check.0,
            check_interval: self.transaction_check_interval.0,
            max_checks: self.transaction_checks,
            max_transaction_age: self.max_transaction_age.0,
            max_transactions: self.max_transactions,
            ..foliomq_delivery::Options::default()
        }
    }

    /// How to serve.
    pub fn server(&self) -> foliomq_server::Config {
        let mut config = foliomq_server::Config::new(self.listen, self.store_dir.join("tls"));
        config.metrics = self.metrics_listen;
        config.advertise = self.advertise.clone();
        config.auto_create = self.auto_create;
        config.certificate = self.tls_certificate.clone().zip(self.tls_key.clone());
        config.max_connections = self.max_connections;
        config.max_long_polls = self.max_long_polls;
        config.max_request_bytes = usize::try_from(self.max_request_bytes.0).unwrap_or(usize::MAX);
        config.max_topics = self.max_topics;
        config.catch_up_looks = self.catch_up_looks;
        config.max_attempts = self.max_attempts;
        config.unread_bytes = usize::try_from(self.unread_bytes.0).unwrap_or(usize::MAX);
        config.pin_age = self.pin_age.0;
        config.unread_age = self.unread_age.0;
        config.by_reference_from = usize::try_from(self.by_reference_from.0).unwrap_or(usize::MAX);
        config.encoding = self.encoding;
        config
    }

    fn flush(&self) -> foliomq_store::Flush {
        match self.flush {
            FlushMode::Sync => foliomq_store::Flush::Sync,
            FlushMode::Async => foliomq_store::Flush::Async {
                interval: self.flush_interval.0,
            },
        }
    }

    fn preheat(&self) -> foliomq_store::Preheat {
        match self.preheat {
            PreheatMode::Window => foliomq_store::Preheat::Window {
                bytes: self.preheat_window.0,
            },
            PreheatMode::Segment => foliomq_store::Preheat::Segment,
            PreheatMode::Off => foliomq_store::Preheat::Off,
        }
    }

    fn retention(&self) -> foliomq_store::Retention {
        foliomq_store::Retention {
            age: self.retention_age.map(|age| age.0),
            size: self.retention_size.map(|size| size.0),
            disk: self.disk_high.map(|high| (high.0, self.disk_low.0)),
            disk_refuse: self.disk_refuse.0,
            interval: self.retention_interval.0,
        }
    }

    /// What no single setting can tell by itself: the two that contradict each other, and why.
    fn contradiction(&self) -> Option<(&'static str, &'static str, &'static str)> {
        let high = self.disk_high.unwrap_or(self.disk_refuse);
        if self.disk_high.is_some() && self.disk_low >= high {
            return Some((
                "disk-low",
                "disk-high",
                "disk-low must be less than disk-high",
            ));
        }
        if high > self.disk_refuse {
            return Some((
                "disk-high",
                "disk-refuse",
                "disk-high must not be more than disk-refuse",
            ));
        }
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            return Some((
                "tls-certificate",
                "tls-key",
                "tls-certificate and tls-key go together",
            ));
        }
        None
    }
}
