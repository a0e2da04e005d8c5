//! The benchmarks of FolioMQ's store.
//!
//! Two things are measured side by side in one run, in turn, over several rounds; what counts is the median of the
//! per-round ratio and its spread. A figure that stands alone says more about the machine than about the store.
//!
//! An [experiment](experiments) asks one question, carries the prediction that was written down before it was first
//! run, and yields a [`Section`](section::Section); [`report`] turns the sections into `docs/benchmarks.md`.
//!
//! ```no_run
//! use foliomq_benches::{bench::Bench, experiments, scale::Scale};
//!
//! let bench = Bench::new(std::path::Path::new("target/benches"), Scale::quick())?;
//! let section = experiments::ALL[0].run(&bench)?;
//! println!("{}", section.finding);
//! # Ok::<(), anyhow::Error>(())
//! ```
#![forbid(unsafe_code)]

pub mod bare;
pub mod bare_tonic;
pub mod bench;
pub mod child;
pub mod experiments;
pub mod figures;
pub mod floor;
pub mod floors;
pub mod goal;
pub mod machine;
pub mod memory_limit;
pub mod payload;
pub mod plainfile;
pub mod procfs;
pub mod quiet;
pub mod report;
pub mod scale;
pub mod section;
pub mod victim;
pub mod written;

pub use foliomq_load::plot;
