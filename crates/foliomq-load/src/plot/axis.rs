//! From a value to a place on an axis, and which places get a label.

/// How values are spread over an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, from zero.
    Linear,
    /// Equal ratios at equal distances; only values above zero.
    Log,
}

/// One axis of a panel.
#[derive(Debug, Clone)]
pub struct Axis {
    /// What it shows, with the unit.
    pub label: String,
    /// How values are spread over it.
    pub scale: Scale,
    /// Writes a value beside a tick.
    pub show: fn(f64) -> String,
}

/// An axis with the range of its values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

/// Most ticks of an axis of values.
const TICKS: f64 = 6.0;

impl Axis {
    /// A linear axis.
    pub fn linear(label: impl Into<String>, show: fn(f64) -> String) -> Self {
        Self {
            label: label.into(),
            scale: Scale::Linear,
            show,
        }
    }

    /// A logarithmic axis.
    pub fn log(label: impl Into<String>, show: fn(f64) -> String) -> Self {
        Self {
            label: label.into(),
            scale: Scale::Log,
            show,
        }
    }

    /// The range that holds all `values`; a linear one begins at zero.
    pub(super) fn range(&self, values: impl Iterator<Item = f64>) -> Range {
        let usable = |v: &f64| v.is_finite() && (self.scale == Scale::Linear || *v > 0.0);
        let (low, high) = values
            .filter(usable)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        let (low, high) = if low <= high { (low, high) } else { (1.0, 1.0) };
        match self.scale {
            Scale::Linear => Range {
                scale: self.scale,
                low: 0.0,
                high: (1.05 * high).max(f64::MIN_POSITIVE),
            },
            Scale::Log => Range {
                scale: self.scale,
                low: low / 1.15,
                high: high * 1.15,
            },
        }
    }
}

impl Range {
    /// 0 at the low end, 1 at the high one; what lies outside is brought to the edge.
    pub(super) fn place(&self, value: f64) -> f64 {
        let place = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value.max(self.low) / self.low).ln() / (self.high / self.low).ln(),
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values for ticks: steps of 1, 2 or 5 if linear; 1, 2 and 5 of each decade if logarithmic, or only 1 where
    /// there are many decades.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let step = round_up((self.high - self.low) / TICKS);
                (0..)
                    .map(|n| f64::from(n) * step)
                    .take_while(|tick| *tick <= self.high)
                    .collect()
            }
            Scale::Log => {
                let (first, last) = (
                    self.low.log10().floor() as i32,
                    self.high.log10().ceil() as i32,
                );
                let within: &[f64] = if last - first > 4 {
                    &[1.0]
                } else {
                    &[1.0, 2.0, 5.0]
                };
                let decades = first..=last;
                decades
                    .flat_map(|decade| within.iter().map(move |n| n * 10f64.powi(decade)))
                    .filter(|tick| (self.low..=self.high).contains(tick))
                    .collect()
            }
        }
    }
}

/// A tick's number, short: `0.5`, `20`, `4 k`, `1.5 M`.
pub fn tick(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e6 => (v / 1e6, " M"),
        v if v >= 1e3 => (v / 1e3, " k"),
        v => (v, ""),
    };
    // Three digits are enough for a round number, and keep 0.1 + 0.2 from showing.
    format!("{}{unit}", (value * 1e3).round() / 1e3)
}

/// The next 1, 2 or 5 times a power of ten.
fn round_up(step: f64) -> f64 {
    let decade = 10f64.powf(step.log10().floor());
    let round = [1.0, 2.0, 5.0].map(|n| n * decade);
    round
        .into_iter()
        .find(|round| *round >= step * 0.999)
        .unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_begin_at_zero() {
        let range = Axis::linear("", |v| v.to_string()).range([3.0, 42.0].into_iter());
        assert_eq!(range.ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!((range.place(0.0), range.place(1e9)), (0.0, 1.0));
    }

    #[test]
    fn a_tick_is_short() {
        assert_eq!(
            [0.0, 0.1 + 0.2, 20.0, 4000.0, 1.5e6].map(tick),
            ["0", "0.3", "20", "4 k", "1.5 M"]
        );
    }

    #[test]
    fn equal_ratios_have_equal_distances_on_a_logarithmic_axis() {
        let range = Axis::log("", |v| v.to_string()).range([1.0, 100.0].into_iter());
        let (a, b) = (
            range.place(10.0) - range.place(1.0),
            range.place(100.0) - range.place(10.0),
        );
        assert!((a - b).abs() < 1e-9);
        assert_eq!(range.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
    }
}
