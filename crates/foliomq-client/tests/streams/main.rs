//! The stream API against a broker in the same process, through a network that breaks.

mod broker;
mod consuming;
mod proxy;
mod publishing;
