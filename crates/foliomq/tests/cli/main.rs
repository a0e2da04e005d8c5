//! The program as its users meet it: what it prints, and how it exits.

mod bench;
mod broker;
mod clients;
mod delayed;
mod failures;
mod groups;
mod messages;
mod metrics;
mod offline;
mod serving;
mod settings;
mod topics;
