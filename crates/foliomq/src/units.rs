//! Sizes, durations and shares as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const SIZE_UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
const SPAN_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A number of bytes: `4096`, `64KiB`, `1.5GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A duration: `500ms`, `5s`, `10m`, `72h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A share of a whole, 0 to 1: `0.9` or `90%`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// The text is none of the forms that the type takes; the value is what to say about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {0}")]
pub struct Malformed(&'static str);

impl FromStr for Size {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed("a size such as 64KiB, 16MiB or 1GiB");
        let (number, unit) = split(text).ok_or(Malformed(malformed.0))?;
        let known = SIZE_UNITS
            .iter()
            .find(|(name, _)| unit.eq_ignore_ascii_case(name) || short(unit, name));
        match (known, unit.is_empty()) {
            (Some((_, factor)), _) => scale(number, *factor).map(Self).ok_or(malformed),
            (None, true) => number.parse().map(Self).map_err(|_| malformed),
            (None, false) => Err(malformed),
        }
    }
}

impl FromStr for Span {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed("a duration such as 500ms, 5s, 10m, 72h or 7d");
        let (number, unit) = split(text).ok_or(Malformed(malformed.0))?;
        let factor = SPAN_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor);
        match factor {
            Some(factor) => scale(number, factor)
                .map(|ms| Self(Duration::from_millis(ms)))
                .ok_or(malformed),
            None if text == "0" => Ok(Self(Duration::ZERO)),
            None => Err(malformed),
        }
    }
}

impl FromStr for Share {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (number, divisor) = text
            .strip_suffix('%')
            .map_or((text, 1.0), |number| (number, 100.0));
        let share = number.parse::<f64>().ok().map(|value| value / divisor);
        share
            .filter(|share| (0.0..=1.0).contains(share))
            .map(Self)
            .ok_or(Malformed("a share such as 0.9 or 90%"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = SIZE_UNITS
            .iter()
            .find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = whole.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        // Hours rather than days: 72h reads better than 3d in a list of settings.
        let mut units = SPAN_UNITS.iter().skip(1);
        let whole = units.find(|(_, factor)| ms >= *factor && ms.is_multiple_of(*factor));
        let (unit, factor) = whole.copied().unwrap_or(("s", 1000));
        write!(f, "{}{unit}", ms / factor)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", (self.0 * 10_000.0).round() / 100.0)
    }
}

/// Bytes for the eye: three significant digits, not for parsing back.
pub fn about(bytes: u64) -> String {
    let (unit, factor) = SIZE_UNITS
        .into_iter()
        .find(|(_, factor)| bytes >= *factor)
        .unwrap_or(("B", 1));
    if factor == 1 {
        format!("{bytes} B")
    } else {
        format!("{:.1} {unit}", bytes as f64 / factor as f64)
    }
}

fn split(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (!number.is_empty()).then(|| (number, unit.trim_start()))
}

/// `M` for `MiB`.
fn short(unit: &str, name: &str) -> bool {
    name.len() == 3 && unit.eq_ignore_ascii_case(&name[..1])
}

/// Exact for whole numbers; `None` where the product is out of range.
fn scale(number: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let scaled = number.parse::<f64>().ok()? * factor as f64;
    (scaled < u64::MAX as f64).then_some(scaled as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_show() {
        for (text, bytes) in [
            ("4096", 4096),
            ("64KiB", 65536),
            ("16mib", 16 << 20),
            ("1G", 1 << 30),
            ("1.5 GiB", 3 << 29),
            ("7B", 7),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for bad in ["", "MiB", "1 MB", "-1", "99999999999TiB", "1..5MiB", "0x10"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
        assert_eq!(Size(1 << 30).to_string(), "1GiB");
        assert_eq!(Size(1025).to_string(), "1025B");
        assert_eq!(Size(0).to_string(), "0B");
    }

    #[test]
    fn spans_parse_and_show() {
        for (text, ms) in [
            ("500ms", 500),
            ("5s", 5000),
            ("1.5s", 1500),
            ("10m", 600_000),
            ("72h", 259_200_000),
            ("7d", 604_800_000),
            ("0", 0),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_millis(ms))), "{text}");
        }
        for bad in ["", "5", "s", "5 weeks", "-5s"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        assert_eq!(Span(Duration::from_secs(72 * 3600)).to_string(), "72h");
        assert_eq!(Span(Duration::from_millis(1500)).to_string(), "1500ms");
        assert_eq!(Span(Duration::ZERO).to_string(), "0s");
    }

    #[test]
    fn what_is_shown_parses_back() {
        for bytes in [0, 1, 1023, 1024, 3 << 20, u64::MAX] {
            assert_eq!(Size(bytes).to_string().parse(), Ok(Size(bytes)));
        }
        for ms in [0, 1, 999, 1000, 90_000, 86_400_000] {
            let span = Span(Duration::from_millis(ms));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
        assert_eq!(Share(0.975).to_string().parse(), Ok(Share(0.975)));
    }

    #[test]
    fn shares_lie_between_nothing_and_all() {
        assert_eq!("0.9".parse(), Ok(Share(0.9)));
        assert_eq!("90%".parse(), Ok(Share(0.9)));
        for bad in ["1.1", "101%", "-1", "NaN", "most"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }
}
