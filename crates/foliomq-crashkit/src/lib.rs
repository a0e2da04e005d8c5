//! A disk that loses power, fails and forgets, for the tests of the store.
#![forbid(unsafe_code)]

mod campaign;
mod chain;
mod checkpointed;
mod cleared;
mod closed;
mod compaction;
mod consumer;
mod contents;
mod device;
mod directed;
mod emptied;
mod episode;
mod errors;
mod fault;
mod flips;
mod fresh;
mod history;
mod image;
mod log;
mod marks;
mod metadata;
mod mode;
mod page;
mod remade;
mod salvage;
mod state;
mod tail;

pub use campaign::{cut_power, cut_power_apart, leave_out, seed};
pub use chain::Tally;
pub use device::{Behaviour, Cut, Device, without_links};
pub use errors::{Failures, fail};
pub use fault::{Fault, Kind};
pub use flips::{Flips, flip};
pub use image::Image;
pub use mode::{MODES, Mode, SEGMENT};
pub use page::{Effort, Line, lines, page};
