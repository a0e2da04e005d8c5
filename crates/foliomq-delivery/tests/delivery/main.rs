//! Delivery over a real store.

mod dead_letters;
mod filters;
mod fixture;
mod groups;
mod lite;
mod lost;
mod model;
mod ordered;
mod priority;
mod restart;
mod rules;
mod world;
