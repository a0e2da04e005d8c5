//! What came to pass in programs, so that a run that tries nothing does not count.

use std::collections::BTreeMap;
use std::fmt;

/// All of it must come to pass in a whole run.
const ALL: [&str; 24] = [
    "acked",
    "acked late",
    "acked together",
    "asked",
    "committed",
    "dead letter",
    "dead letter of an ordered group",
    "delayed",
    "delivered",
    "delivered again",
    "delivered in order",
    "delivered in order again",
    "emptied",
    "extended",
    "grown",
    "invisible time changed",
    "kill",
    "recalled",
    "recalled late",
    "released",
    "reset",
    "revealed",
    "rolled back",
    "stop",
];

/// How often each came to pass.
#[derive(Debug, Default)]
pub struct Seen(BTreeMap<&'static str, u64>);

impl Seen {
    pub fn note(&mut self, what: &'static str) {
        debug_assert!(ALL.contains(&what), "{what}");
        *self.0.entry(what).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }

    pub fn assert_all(&self) {
        let missing: Vec<_> = ALL
            .iter()
            .filter(|what| !self.0.contains_key(*what))
            .collect();
        assert!(missing.is_empty(), "it never came to this: {missing:?}");
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, count) in &self.0 {
            writeln!(f, "{count:>8} {what}")?;
        }
        Ok(())
    }
}
