//! End-to-end tests of FolioMQ: the real binary, driven by the official clients of three languages
//! and by calls made by hand.
//!
//! A [`driver::Driver`] stands for one client library. The scenarios in [`scenario`] are written
//! once against [`session::Session`] and run with every driver; the `conformance` program prints
//! which client passes which scenario. The tests beside it (`tests/tests/`) use the same parts for
//! what happens to the store: kill -9, a full disk, corruption.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use foliomq_tests::broker::{Broker, Settings};
//! use foliomq_tests::driver::Kind;
//! use foliomq_tests::session::Session;
//!
//! let store = tempfile::tempdir()?;
//! let broker = Broker::start(Settings::new(store.path())?).await?;
//! let session = Session::open(Kind::Raw, broker.address(), &[]).await?;
//! let producer = session.producer(&["greetings"]).await?;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

pub mod admin;
pub mod binary;
pub mod broker;
pub mod driver;
pub mod grpc_fuzz;
pub mod lite_load;
pub mod load;
pub mod report;
pub mod scenario;
pub mod session;
