//! The compiled tree, and its value for one message.

use std::cmp::Ordering;

use super::value::{Number, Value};

/// The values of the numbered properties.
pub(super) type Values<'a> = [Option<&'a str>];

/// An operand or a condition. Truth has three values: true, false, unknown (`None`).
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Null,
    Truth(bool),
    Number(Number),
    Text(String),
    /// By its number.
    Property(usize),
    Negated(Box<Self>),
    Not(Box<Self>),
    /// All of them, of which there are at least two.
    And(Vec<Self>),
    /// One of them, of which there are at least two.
    Or(Vec<Self>),
    Same(Box<Self>, Box<Self>),
    Ordered(Order, Box<Self>, Box<Self>),
    Between(Box<Self>, Box<Self>, Box<Self>),
    IsNull(Box<Self>),
    /// The property, and the texts, sorted.
    In(usize, Vec<String>),
    Part(Part, usize, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Less,
    AtMost,
    More,
    AtLeast,
}

/// Where a text is looked for in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Anywhere,
    Start,
    End,
}

impl Expression {
    /// True, false or unknown, as a condition.
    pub fn truth(&self, values: &Values<'_>) -> Option<bool> {
        match self {
            Self::And(parts) => all(parts, values, true),
            Self::Or(parts) => all(parts, values, false),
            Self::Not(condition) => condition.truth(values).map(|truth| !truth),
            Self::Same(left, right) => left.value(values).same(right.value(values)),
            Self::Ordered(order, left, right) => {
                let found = left.value(values).order(right.value(values))?;
                Some(order.allows(found))
            }
            Self::Between(value, low, high) => {
                between(value.value(values), low.value(values), high.value(values))
            }
            Self::IsNull(operand) => Some(operand.value(values) == Value::Unknown),
            Self::In(property, texts) => {
                let text = values[*property]?;
                Some(
                    texts
                        .binary_search_by(|other| other.as_str().cmp(text))
                        .is_ok(),
                )
            }
            Self::Part(part, property, text) => part.is_in(values[*property]?, text),
            Self::Null
            | Self::Truth(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Property(_)
            | Self::Negated(_) => self.value(values).truth(),
        }
    }

    fn value<'a>(&'a self, values: &Values<'a>) -> Value<'a> {
        match self {
            Self::Null => Value::Unknown,
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::Property(number) => values[*number].map_or(Value::Unknown, Value::Text),
            Self::Negated(operand) => match operand.value(values).number() {
                Some(number) => Value::Number(number.negated()),
                None => Value::Unknown,
            },
            Self::Truth(truth) => Value::Truth(*truth),
            condition => condition.truth(values).map_or(Value::Unknown, Value::Truth),
        }
    }

    /// Gives each property another number: that at the place of its old one.
    pub fn renumber(&mut self, places: &[usize]) {
        match self {
            Self::Property(number) | Self::In(number, _) | Self::Part(_, number, _) => {
                *number = places[*number];
            }
            Self::Negated(one) | Self::Not(one) | Self::IsNull(one) => one.renumber(places),
            Self::And(parts) | Self::Or(parts) => {
                parts.iter_mut().for_each(|part| part.renumber(places));
            }
            Self::Same(left, right) | Self::Ordered(_, left, right) => {
                left.renumber(places);
                right.renumber(places);
            }
            Self::Between(value, low, high) => {
                for part in [value, low, high] {
                    part.renumber(places);
                }
            }
            Self::Null | Self::Truth(_) | Self::Number(_) | Self::Text(_) => {}
        }
    }

    /// Whether it says true or false, and not what could only be compared.
    pub fn is_condition(&self) -> bool {
        !matches!(self, Self::Number(_) | Self::Text(_) | Self::Negated(_))
    }

    /// Whether it may stand beside `<` and its like: a number, or a property that may be one.
    pub fn is_numeric(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Property(_) | Self::Negated(_))
    }
}

/// AND (`kind` true) or OR (false): the first part that is the other one decides.
fn all(parts: &[Expression], values: &Values<'_>, kind: bool) -> Option<bool> {
    let mut result = Some(kind);
    for part in parts {
        match part.truth(values) {
            Some(truth) if truth != kind => return Some(truth),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn between(value: Value<'_>, low: Value<'_>, high: Value<'_>) -> Option<bool> {
    let above = value.order(low).map(Ordering::is_ge);
    let below = value.order(high).map(Ordering::is_le);
    match (above, below) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

impl Order {
    fn allows(self, found: Ordering) -> bool {
        match self {
            Self::Less => found.is_lt(),
            Self::AtMost => found.is_le(),
            Self::More => found.is_gt(),
            Self::AtLeast => found.is_ge(),
        }
    }
}

impl Part {
    /// Unknown if nothing is looked for.
    fn is_in(self, text: &str, part: &str) -> Option<bool> {
        if part.is_empty() {
            return None;
        }
        Some(match self {
            Self::Anywhere => text.contains(part),
            Self::Start => text.starts_with(part),
            Self::End => text.ends_with(part),
        })
    }
}
