//! Generated expressions against an evaluator that is as plain as it can be; and texts of any kind.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::SqlFilter;
use crate::DeliveryError;

/// A condition as the test knows it.
#[derive(Debug, Clone)]
enum Node {
    Compare(&'static str, String, String),
    Between(bool, String, i32, i32),
    In(bool, String, Vec<String>),
    Part(&'static str, bool, String, String),
    IsNull(bool, String),
    Constant(&'static str),
    Bare(String),
    Not(Box<Node>),
    Join(&'static str, Vec<Node>),
}

const NAMES: [&str; 4] = ["a", "b", "Cé_is_no_name", "TAGS"];
const TEXTS: [&str; 9] = ["", "x", "xy", "true", "FALSE", "7", "-7.5", "1e1", "it's"];

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "missing", "TAGS"]).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// What may stand beside `=`.
fn operand() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        text().prop_map(|text| quoted(&text)),
        (-9..9i32).prop_map(|number| number.to_string()),
        (-90..90i32).prop_map(|number| format!("{:.1}", f64::from(number) / 10.0)),
        prop::sample::select(vec!["TRUE".to_owned(), "false".to_owned()]),
    ]
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![name(), (-9..9i32).prop_map(|number| number.to_string())]
}

fn node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        (prop::sample::select(vec!["=", "<>"]), operand(), operand())
            .prop_map(|(op, left, right)| Node::Compare(op, left, right)),
        (
            prop::sample::select(vec!["<", "<=", ">", ">="]),
            number(),
            number()
        )
            .prop_map(|(op, left, right)| Node::Compare(op, left, right)),
        (any::<bool>(), name(), -9..9i32, 0..9i32)
            .prop_map(|(not, name, low, more)| Node::Between(not, name, low, low + more)),
        (any::<bool>(), name(), prop::collection::vec(text(), 1..7))
            .prop_map(|(not, name, texts)| Node::In(not, name, texts)),
        (
            prop::sample::select(vec!["CONTAINS", "STARTSWITH", "ENDSWITH"]),
            any::<bool>(),
            name(),
            text()
        )
            .prop_map(|(op, not, name, text)| Node::Part(op, not, name, text)),
        (any::<bool>(), name()).prop_map(|(not, name)| Node::IsNull(not, name)),
        prop::sample::select(vec!["TRUE", "FALSE", "NULL"]).prop_map(Node::Constant),
        name().prop_map(Node::Bare),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let joined = prop::collection::vec(inner.clone(), 2..5);
        prop_oneof![
            inner.prop_map(|node| Node::Not(Box::new(node))),
            (prop::sample::select(vec!["AND", "OR"]), joined)
                .prop_map(|(word, parts)| Node::Join(word, parts)),
        ]
    })
}

impl Node {
    /// Without more parentheses than precedence asks for.
    fn print(&self) -> String {
        let not = |not: bool| if not { "NOT " } else { "" };
        match self {
            Self::Compare(op, left, right) => format!("{left} {op} {right}"),
            Self::Between(n, name, low, high) => {
                format!("{name} {}BETWEEN {low} AND {high}", not(*n))
            }
            Self::In(n, name, texts) => {
                let list: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("{name} {}IN ({})", not(*n), list.join(","))
            }
            Self::Part(op, n, name, text) => format!("{name} {}{op} {}", not(*n), quoted(text)),
            Self::IsNull(n, name) => format!("{name} IS {}NULL", not(*n)),
            Self::Constant(word) => (*word).to_owned(),
            Self::Bare(name) => name.clone(),
            Self::Not(inner) => match &**inner {
                Self::Join(..) => format!("NOT ({})", inner.print()),
                _ => format!("NOT {}", inner.print()),
            },
            Self::Join(word, parts) => {
                let inside = |part: &Self| match part {
                    Self::Join("OR", _) if *word == "AND" => format!("({})", part.print()),
                    _ => part.print(),
                };
                let parts: Vec<String> = parts.iter().map(inside).collect();
                parts.join(&format!(" {word} "))
            }
        }
    }

    fn truth(&self, message: &BTreeMap<String, String>) -> Option<bool> {
        let property = |name: &String| message.get(name).cloned();
        match self {
            Self::Compare(op, left, right) => compare(op, left, right, message),
            Self::Between(not, name, low, high) => {
                let value: f64 = property(name)?.parse().ok()?;
                Some((value >= f64::from(*low) && value <= f64::from(*high)) != *not)
            }
            Self::In(not, name, texts) => Some(texts.contains(&property(name)?) != *not),
            Self::Part(op, not, name, part) => {
                let value = property(name)?;
                let found = match *op {
                    "CONTAINS" => value.contains(part.as_str()),
                    "STARTSWITH" => value.starts_with(part.as_str()),
                    _ => value.ends_with(part.as_str()),
                };
                (!part.is_empty()).then_some(found != *not)
            }
            Self::IsNull(not, name) => Some(property(name).is_none() != *not),
            Self::Constant(word) => word.to_lowercase().parse().ok(),
            Self::Bare(name) => Some(property(name)?.eq_ignore_ascii_case("true")),
            Self::Not(inner) => inner.truth(message).map(|truth| !truth),
            Self::Join(word, parts) => join(word, parts.iter().map(|part| part.truth(message))),
        }
    }
}

fn join(word: &str, parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let parts: Vec<Option<bool>> = parts.collect();
    let decisive = Some(word == "OR");
    if parts.contains(&decisive) {
        decisive
    } else if parts.contains(&None) {
        None
    } else {
        Some(word == "AND")
    }
}

/// Left and right are as they are printed.
fn compare(op: &str, left: &str, right: &str, message: &BTreeMap<String, String>) -> Option<bool> {
    let is_truth = |side: &str| side == "TRUE" || side == "false";
    let is_number = |side: &str| side.parse::<f64>().is_ok();
    let value = |side: &str| -> Option<String> {
        if is_truth(side) || is_number(side) {
            return Some(side.to_owned());
        }
        match side.strip_prefix('\'') {
            Some(text) => Some(text[..text.len() - 1].replace("''", "'")),
            None => message.get(side).cloned(),
        }
    };
    let (l, r) = (value(left)?, value(right)?);
    let same = if is_truth(left) || is_truth(right) {
        // A number is neither true nor false.
        if is_number(left) || is_number(right) {
            return None;
        }
        l.eq_ignore_ascii_case("true") == r.eq_ignore_ascii_case("true")
    } else if op.contains('=') && op.len() == 1 || op == "<>" {
        if is_number(left) || is_number(right) {
            l.parse::<f64>().ok()? == r.parse::<f64>().ok()?
        } else {
            l == r
        }
    } else {
        let (l, r): (f64, f64) = (l.parse().ok()?, r.parse().ok()?);
        return Some(match op {
            "<" => l < r,
            "<=" => l <= r,
            ">" => l > r,
            _ => l >= r,
        });
    };
    Some(same == (op == "="))
}

fn message() -> impl Strategy<Value = BTreeMap<String, String>> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len());
    let texts = prop::collection::vec(text(), NAMES.len());
    (names, texts).prop_map(|(names, texts)| {
        let pairs = names.into_iter().map(str::to_owned).zip(texts);
        pairs.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn agrees_with_the_plain_evaluator(node in node(), messages in prop::collection::vec(message(), 1..8)) {
        let expression = node.print();
        let filter = SqlFilter::compile(&expression).unwrap();
        for message in messages {
            let tag = message.get("TAGS").map(String::as_str);
            let rest = message.iter().filter(|(name, _)| *name != "TAGS");
            let matches = filter.matches(tag, rest.map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(matches, node.truth(&message) == Some(true), "{} of {:?}", expression, message);
        }
    }

    #[test]
    fn any_text_compiles_or_says_where_it_does_not(text in any_text()) {
        match SqlFilter::compile(&text) {
            Ok(filter) => _ = filter.matches(None, [("a", "1")].into_iter()),
            Err(DeliveryError::IllegalFilter { at, .. }) => prop_assert!(at <= text.len()),
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}

fn any_text() -> impl Strategy<Value = String> {
    let words = vec![
        "a",
        "TAGS",
        "'x'",
        "''",
        "'",
        "1",
        "1.5e",
        "9e999",
        "99999999999999999999",
        "0",
        ".",
        "-",
        "+",
        "(",
        ")",
        ",",
        "=",
        "<>",
        "<",
        ">=",
        "NOT",
        "AND",
        "OR",
        "IS",
        "NULL",
        "IN",
        "BETWEEN",
        "CONTAINS",
        "TRUE",
        "--",
        "/*",
        "*/",
        "\n",
        "é",
        "\u{0}",
    ];
    let words = prop::collection::vec(prop::sample::select(words), 0..30);
    prop_oneof![words.prop_map(|words| words.join(" ")), ".{0,60}"]
}
