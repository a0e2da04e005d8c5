//! The gRPC frontend of FolioMQ: `apache.rocketmq.v2` for the RocketMQ 5 clients and `foliomq.v1` for administration, on
//! one port, TLS and plaintext told apart by the first byte, with gRPC health and reflection beside them.
//!
//! Handlers know the wire; [`foliomq_store`] and [`foliomq_delivery`] below know nothing of it. One file maps their
//! errors to the protocol's codes. Received messages leave by reference to the mapped pages.
//!
//! ```no_run
//! use foliomq_delivery::Groups;
//! use foliomq_server::{Config, Server};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let store = foliomq_store::Options::new("data").open()?;
//! let groups = Groups::open(store.clone(), foliomq_delivery::Options::default())?;
//! let config = Config::new("127.0.0.1:8081".parse()?, "data/tls".into());
//! let server = Server::bind(config, store.clone(), groups.clone()).await?;
//! server.serve(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
//! groups.close()?;
//! store.close()?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod accumulation;
mod admin;
mod answer;
mod body;
mod broker;
mod caller;
mod catch_up;
mod clients;
mod config;
mod connected;
mod connection;
mod credit;
mod delivered;
mod encode;
mod encoded;
mod forget;
mod frame;
mod framed;
mod hidden;
mod incoming;
mod inquiry;
mod intake;
mod listing;
mod lite;
mod locate;
mod log_control;
mod message;
mod messaging;
mod metrics;
mod name;
mod offsets;
mod outgoing;
mod parts;
#[cfg(test)]
mod passes;
mod pieces;
mod placing;
mod positions;
mod prepared;
mod producers;
mod properties;
mod publish;
mod pull;
mod pulled;
mod rate;
mod receive;
mod renewal;
mod requests;
mod responses;
mod rope;
mod route;
mod route_data;
mod router;
mod rules;
mod scan;
mod send;
mod server;
mod settings;
mod settle;
mod settling;
mod sifted;
mod source;
mod status;
mod stored_properties;
mod subscribe;
mod subscribed;
mod tasks;
mod telemetry;
mod time_span;
mod tls;
mod topic_settings;
mod unsent;
mod v1;
mod v2_admin;
mod validate;
mod watched;
mod wire;

pub use config::{Config, Encoding, ServeError};
pub use log_control::LogControl;
pub use server::Server;
