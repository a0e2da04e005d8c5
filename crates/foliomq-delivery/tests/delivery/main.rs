//! Delivery over a real store.

mod acks;
mod carried;
mod dead_letters;
mod delayed;
mod durable;
mod filters;
mod fixture;
mod forgotten;
mod groups;
mod lite;
mod lost;
mod ordered;
mod priority;
mod restart;
mod rules;
mod topics;
mod transactions;
