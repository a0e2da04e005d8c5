//! The server as its clients see it: over real connections, with generated stubs or raw bytes.
#![forbid(unsafe_code)]

mod broker;
mod departures;
mod garbage;
mod hidden;
mod limits;
mod lite;
mod operator;
mod port;
mod publishing;
mod pull;
mod quirks;
mod settings;
mod shutdown;
mod stalled;
mod subscriptions;
mod topic_settings;
mod v2_admin;
