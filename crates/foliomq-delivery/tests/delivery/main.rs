//! Delivery over a real store.

mod dead_letters;
mod filters;
mod fixture;
mod groups;
mod lost;
mod model;
mod ordered;
mod restart;
mod rules;
mod world;
