//! The systems, one file each.

pub mod commitlog;
pub mod fjall;
pub mod foliomq;
pub mod okaywal;
pub mod raft_engine;
pub mod redb;
pub mod walrus;
