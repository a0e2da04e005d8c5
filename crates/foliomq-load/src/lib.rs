//! The load generator behind `foliomq bench` and the benchmarks of the wire.
//!
//! It speaks HTTP/2 frames itself: requests are encoded once, and what comes back is counted without being decoded where
//! that is enough, so that what is measured is the broker. What the generator itself takes is measured and reported.
//!
//! An *open loop* sends at a rate whatever the broker does, and counts each latency from the moment at which the message
//! was *meant* to leave: a broker that stalls is charged for all that had to wait meanwhile. A *closed loop* keeps so many
//! messages in flight and sends the next when one is acknowledged: it shows the most that the broker takes.
//!
//! ```no_run
//! use std::time::Duration;
//! use foliomq_load::{Api, Plan, Target, Until, Workload, run};
//!
//! # async fn example() -> Result<(), foliomq_load::LoadError> {
//! let plan = Plan {
//!     workload: Workload::Produce,
//!     api: Api::Native,
//!     until: Until::Time(Duration::from_secs(5)),
//!     ..Plan::default()
//! };
//! let report = run(&Target::plain("127.0.0.1:8081"), &plan, |_| ()).await?;
//! println!("{:.0} messages per second, p99 {:.0} us", report.rate, report.latency.p99);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod call;
mod connection;
mod consume;
mod encoded;
mod error;
mod handed;
mod light;
mod meter;
mod native;
mod pace;
mod plan;
pub mod plot;
pub mod process;
mod produce;
mod receive;
mod report;
mod run;
pub mod spread;
pub mod tls;
mod topic;
mod walk;

pub use call::Call;
pub use connection::{Connection, Held, Target};
pub use encoded::frame;
pub use error::LoadError;
pub use meter::Glance;
pub use pace::Pace;
pub use plan::{Api, Delivery, Plan, Until, Workload};
pub use report::{Latency, Report};
pub use run::run;
pub use topic::{BrokerSays, Topic, broker_says};
pub use walk::Walk;
