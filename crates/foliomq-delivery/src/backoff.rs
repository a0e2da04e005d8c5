//! How long a message that failed waits for its next delivery. Clients learn it by their settings, and ask for the pause
//! themselves when they give a message back.

use crate::DeliveryError;
use crate::wire::{Input, put, put_all};

/// Most steps of a policy.
pub const MAX_STEPS: usize = 64;
/// Longest pause: the longest invisible time that a client may ask for. Seconds.
pub const MAX_PAUSE: u32 = 12 * 3600;
/// Factors of an exponential back-off, in thousandths.
const FACTORS: std::ops::RangeInclusive<u32> = 1_000..=100_000;

const STEPS: u8 = 0;
const EXPONENTIAL: u8 = 1;

/// Pauses between the deliveries of a message, in whole seconds: some clients read nothing finer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backoff {
    /// One after the other; the last one repeats.
    Steps(Vec<u32>),
    /// Each pause is `thousandths` / 1000 times the one before.
    Exponential {
        /// The first, seconds.
        initial: u32,
        /// The longest, seconds.
        max: u32,
        /// The factor in thousandths, 1,000 to 100,000.
        thousandths: u32,
    },
}

impl Default for Backoff {
    /// From 1 s to 2 h in 18 steps.
    fn default() -> Self {
        Self::Steps(vec![
            1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200,
        ])
    }
}

impl Backoff {
    /// Refuses pauses below 1 s or above [`MAX_PAUSE`], no or more than [`MAX_STEPS`] steps, and a factor out of range.
    pub fn check(&self) -> Result<(), DeliveryError> {
        let is_pause = |pause: &u32| (1..=MAX_PAUSE).contains(pause);
        let what = match self {
            Self::Steps(steps) if steps.is_empty() || steps.len() > MAX_STEPS => {
                format!("a back-off has 1 to {MAX_STEPS} steps, not {}", steps.len())
            }
            Self::Steps(steps) if !steps.iter().all(is_pause) => {
                format!("a pause is 1 to {MAX_PAUSE} s")
            }
            Self::Exponential { initial, max, .. }
                if !is_pause(initial) || !is_pause(max) || initial > max =>
            {
                format!("the first and the longest pause are 1 to {MAX_PAUSE} s, in this order")
            }
            Self::Exponential { thousandths, .. } if !FACTORS.contains(thousandths) => {
                "the factor is 1 to 100".to_owned()
            }
            _ => return Ok(()),
        };
        Err(DeliveryError::IllegalSetting { what })
    }

    /// The pauses one by one, at most [`MAX_STEPS`]: for clients that know steps alone.
    pub fn steps(&self) -> Vec<u32> {
        match self {
            Self::Steps(steps) => steps.clone(),
            Self::Exponential {
                initial,
                max,
                thousandths,
            } => {
                let next = |pause: &u64| {
                    Some(
                        (pause * u64::from(*thousandths) / 1000)
                            .max(pause + 1)
                            .min(u64::from(*max)),
                    )
                };
                let grow = |pause: &u64| (*pause < u64::from(*max)).then(|| next(pause)).flatten();
                let all = std::iter::successors(Some(u64::from(*initial)), grow);
                all.take(MAX_STEPS).map(|pause| pause as u32).collect()
            }
        }
    }

    /// First and longest pause and factor, nearest to it: for clients that know nothing else.
    pub fn exponential(&self) -> (u32, u32, f32) {
        match self {
            Self::Steps(steps) => {
                let first = steps.first().copied().unwrap_or(1);
                (first, steps.iter().copied().max().unwrap_or(first), 2.0)
            }
            Self::Exponential {
                initial,
                max,
                thousandths,
            } => (*initial, *max, *thousandths as f32 / 1000.0),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Steps(steps) => {
                out.push(STEPS);
                put(out, steps.len() as u64);
                put_all(out, steps.iter().copied().map(u64::from));
            }
            Self::Exponential {
                initial,
                max,
                thousandths,
            } => {
                out.push(EXPONENTIAL);
                put_all(out, [*initial, *max, *thousandths].map(u64::from));
            }
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.byte()? {
            STEPS => {
                let count = input.count()?;
                Self::Steps((0..count).map(|_| input.small()).collect::<Option<_>>()?)
            }
            EXPONENTIAL => Self::Exponential {
                initial: input.small()?,
                max: input.small()?,
                thousandths: input.small()?,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOUBLING: Backoff = Backoff::Exponential {
        initial: 5,
        max: 60,
        thousandths: 2000,
    };

    #[test]
    fn each_form_stands_in_for_the_other() {
        assert_eq!(DOUBLING.steps(), [5, 10, 20, 40, 60]);
        assert_eq!(Backoff::Steps(vec![3, 9, 4]).exponential(), (3, 9, 2.0));
        let flat = Backoff::Exponential {
            initial: 1,
            max: 3,
            thousandths: 1000,
        };
        assert_eq!(flat.steps(), [1, 2, 3], "it always comes to its end");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let exponential = |initial, max, thousandths| Backoff::Exponential {
            initial,
            max,
            thousandths,
        };
        for bad in [
            Backoff::Steps(vec![]),
            Backoff::Steps(vec![0]),
            Backoff::Steps(vec![1, MAX_PAUSE + 1]),
            Backoff::Steps(vec![1; MAX_STEPS + 1]),
            exponential(0, 1, 2000),
            exponential(9, 8, 2000),
            exponential(1, MAX_PAUSE + 1, 2000),
            exponential(1, 2, 999),
            exponential(1, 2, 100_001),
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
        assert!(Backoff::default().check().is_ok() && DOUBLING.check().is_ok());
    }
}
