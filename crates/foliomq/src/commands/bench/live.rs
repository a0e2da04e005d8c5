//! The line that tells how it goes, on a terminal.

use std::cell::Cell;
use std::time::Duration;

use foliomq_load::Glance;
use indicatif::{ProgressBar, ProgressStyle};

use super::print::{count, time};

/// A line on standard error, gone at the end; nothing where that is no terminal.
pub struct Live {
    bar: ProgressBar,
    last: Cell<(Duration, u64)>,
}

impl Live {
    pub fn new(side: &str, what: &'static str) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg}") {
            bar.set_style(style);
        }
        bar.set_prefix(format!("{side} {what}:"));
        Self {
            bar,
            last: Cell::default(),
        }
    }

    pub fn show(&self, glance: &Glance) {
        let (then, before) = self.last.replace((glance.elapsed, glance.messages));
        let span = glance.elapsed.saturating_sub(then).as_secs_f64();
        let rate = glance.messages.saturating_sub(before) as f64 / span.max(1e-3);
        let (p50, p99) = glance.latency;
        let latency = match p99 > 0.0 {
            true => format!(", p50 {}, p99 {} so far", time(p50), time(p99)),
            false => String::new(),
        };
        let seconds = glance.elapsed.as_secs();
        let text = match glance.measuring {
            true => format!("{seconds} s, {} messages/s now{latency}", count(rate)),
            false => "warming up".to_owned(),
        };
        self.bar.set_message(text);
        self.bar.tick();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
