//! Values, and how two of them compare.

use std::cmp::Ordering;

/// What an operand is for one message. A property is a text until it is compared with something else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Unknown,
    Truth(bool),
    Number(Number),
    Text(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Fraction(f64),
}

impl<'a> Value<'a> {
    /// As a condition: a text is true if it says so, in any case.
    pub fn truth(self) -> Option<bool> {
        match self {
            Self::Truth(truth) => Some(truth),
            Self::Text(text) => Some(text.eq_ignore_ascii_case("true")),
            Self::Unknown | Self::Number(_) => None,
        }
    }

    pub fn number(self) -> Option<Number> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => Number::parse(text),
            Self::Unknown | Self::Truth(_) => None,
        }
    }

    /// Whether both are the same: as truths if one is a truth, as numbers if one is a number, else as texts. `None`: one
    /// is unknown, or cannot be compared with the other.
    pub fn same(self, other: Self) -> Option<bool> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left == right),
            (Self::Truth(_), _) | (_, Self::Truth(_)) => Some(self.truth()? == other.truth()?),
            _ => Some(self.order(other)? == Ordering::Equal),
        }
    }

    /// Which is larger, as numbers.
    pub fn order(self, other: Self) -> Option<Ordering> {
        self.number()?.order(other.number()?)
    }
}

impl Number {
    /// A decimal number, and nothing before or after it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        // No infinities, nor what is not a number.
        if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
            return None;
        }
        match text.parse() {
            Ok(whole) => Some(Self::Whole(whole)),
            Err(_) => text.parse().ok().map(Self::Fraction),
        }
    }

    pub fn negated(self) -> Self {
        match self {
            Self::Whole(whole) => match whole.checked_neg() {
                Some(whole) => Self::Whole(whole),
                None => Self::Fraction(-(whole as f64)),
            },
            Self::Fraction(fraction) => Self::Fraction(-fraction),
        }
    }

    fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Whole(left), Self::Whole(right)) => Some(left.cmp(&right)),
            _ => self.float().partial_cmp(&other.float()),
        }
    }

    fn float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Fraction(fraction) => fraction,
        }
    }
}
