//! The stream API against a broker in the same process, through a network that breaks.

mod broker;
mod consuming;
mod kinds;
mod leaving;
mod mapped;
mod meddler;
mod proxy;
mod publishing;
mod tls;
mod topics;
