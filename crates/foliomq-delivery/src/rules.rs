//! Where a group begins, and how long its consumers may keep a message.

use std::ops::RangeInclusive;

use crate::wire::{Input, put, put_all};
use crate::{DeliveryError, MAX_PAUSE, Timestamp};

const EARLIEST: u8 = 0;
const LATEST: u8 = 1;
const TIME: u8 = 2;

/// Where a group begins in a topic that it has not read before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the first message that is there.
    #[default]
    Earliest,
    /// With what comes after it.
    Latest,
    /// At the first message stored at or after this time.
    Time(Timestamp),
}

/// Rules of a group beside attempts, pauses and order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where it begins.
    pub start: Start,
    /// Invisible times that a receive may ask for, seconds; between 1 and 43,200. Default 10 s to 12 h.
    pub invisible: RangeInclusive<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            start: Start::Earliest,
            invisible: 10..=MAX_PAUSE,
        }
    }
}

impl Rules {
    /// Refuses bounds that are not between 1 s and 12 h, or in the wrong order.
    pub fn check(&self) -> Result<(), DeliveryError> {
        let (min, max) = (*self.invisible.start(), *self.invisible.end());
        if (1..=max).contains(&min) && max <= MAX_PAUSE {
            return Ok(());
        }
        let what =
            format!("the bounds of the invisible time are 1 to {MAX_PAUSE} s, not {min} to {max}");
        Err(DeliveryError::IllegalSetting { what })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let (form, time) = match self.start {
            Start::Earliest => (EARLIEST, 0),
            Start::Latest => (LATEST, 0),
            Start::Time(time) => (TIME, time),
        };
        out.push(form);
        put(out, time);
        put_all(
            out,
            [*self.invisible.start(), *self.invisible.end()].map(u64::from),
        );
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let (form, time) = (input.byte()?, input.number()?);
        let start = match form {
            EARLIEST => Start::Earliest,
            LATEST => Start::Latest,
            TIME => Start::Time(time),
            _ => return None,
        };
        let invisible = input.small()?..=input.small()?;
        Some(Self { start, invisible })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        let rules = |invisible| Rules {
            invisible,
            ..Rules::default()
        };
        assert!(Rules::default().check().is_ok());
        assert!(rules(1..=1).check().is_ok() && rules(1..=MAX_PAUSE).check().is_ok());
        for bad in [0..=5, 1..=MAX_PAUSE + 1, 0..=0] {
            assert!(rules(bad.clone()).check().is_err(), "{bad:?}");
        }
        let (first, last) = (9, 8);
        assert!(rules(first..=last).check().is_err());
    }
}
