//! Settings of a server, and why it could not start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::log_control::LogControl;

/// Settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where metrics are read, as `http://ADDRESS/metrics`; `None`: nowhere. Whoever reaches it reads them.
    pub metrics: Option<SocketAddr>,
    /// `host:port` that routes name when a client's request does not carry the address it dialled.
    pub advertise: Option<String>,
    /// Create topics (and groups) on first use.
    pub auto_create: bool,
    /// No topic is created on first use once there are so many; by command one still is.
    pub max_topics: usize,
    /// Deliveries that clients of a group are told which is not there yet: those that it gets once it is, as
    /// [`foliomq_delivery::Options::max_attempts`] has it.
    pub max_attempts: u32,
    /// PEM files of the operator's certificate chain and key; `None`: a self-signed one is made in `tls_dir` at first
    /// start.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Folder of the self-signed certificate.
    pub tls_dir: PathBuf,
    /// At most so many connections at once.
    pub max_connections: usize,
    /// At most so many receives waiting at once.
    pub max_long_polls: usize,
    /// Consumers that read what is not in memory look at it so many at a time, in turn; each may hold a thread meanwhile.
    pub catch_up_looks: usize,
    /// Requests hold at most so many bytes of memory at once, all together; one that does not fit is refused.
    pub max_request_bytes: usize,
    /// Bytes of one answer that may wait for the socket; the rest waits where it can be let go of.
    pub unread_bytes: usize,
    /// A reader that takes nothing for so long keeps no pages of the log: it is left copies.
    pub pin_age: Duration,
    /// After so long its stream is reset (its connection, if that takes nothing), and what it did not get goes to others.
    pub unread_age: Duration,
    /// Bodies of at least so many bytes leave by reference to the mapped page, smaller ones are packed.
    pub by_reference_from: usize,
    /// Who encodes the messages that are delivered.
    pub encoding: Encoding,
    /// Lets an operator change which log lines are written; without it such calls are refused.
    pub log: Option<LogControl>,
}

/// Who encodes the responses of ReceiveMessage, PullMessage and Subscribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// This crate, from the stored bytes; large bodies leave by reference to the mapped page.
    #[default]
    Own,
    /// tonic, which copies every body into a buffer. Kept so that the two can be compared.
    Tonic,
}

impl Config {
    /// No metrics, auto-create on, a self-signed certificate, 10,000 connections and long polls, 32
    /// looks at history at once, 1 GiB of requests, by reference from 4 KiB,
    /// our own encoding.
    pub fn new(listen: SocketAddr, tls_dir: PathBuf) -> Self {
        Self {
            listen,
            metrics: None,
            advertise: None,
            auto_create: true,
            max_topics: 100_000,
            max_attempts: foliomq_delivery::Options::default().max_attempts,
            certificate: None,
            tls_dir,
            max_connections: 10_000,
            max_long_polls: 10_000,
            catch_up_looks: 32,
            max_request_bytes: 1 << 30,
            unread_bytes: 256 << 10,
            pin_age: Duration::from_secs(5),
            unread_age: Duration::from_secs(60),
            by_reference_from: 4096,
            encoding: Encoding::default(),
            log: None,
        }
    }
}

/// Why a server could not start, or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The certificate or key cannot be read or made.
    #[error("{0}")]
    Tls(String),
    /// The advertised address is not `host:port`.
    #[error("cannot advertise {0:?}: it takes host:port")]
    Advertise(String),
}
