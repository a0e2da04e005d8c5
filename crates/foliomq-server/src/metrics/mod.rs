//! What an operator's monitoring scrapes: the counters of the broker as Prometheus reads them.
//!
//! `docs/metrics.md` has every family; a test compares the two.

mod backlog;
mod calls;
mod count;
mod endpoint;
mod families;
mod page;

pub(crate) use calls::Calls;
pub(crate) use count::Count;
pub(crate) use endpoint::Endpoint;
