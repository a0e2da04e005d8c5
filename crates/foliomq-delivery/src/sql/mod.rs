//! SQL92 conditions over a message's properties and tag: `price BETWEEN 10 AND 20 AND (TAGS = 'a' OR region IS NULL)`.
//!
//! An expression is compiled once, to a tree of bounded depth whose properties are numbered. A message is tested on its
//! encoded properties: one pass finds the values that the expression names, then the tree is walked; nothing is decoded
//! or allocated, and the body is not looked at. `docs/filters.md` has the grammar and what unknown means.

mod condition;
mod parse;
#[cfg(test)]
mod property_tests;
mod token;
mod value;

use crate::DeliveryError;
use condition::Expression;

/// Most different properties that one expression names.
pub const MAX_PROPERTIES: usize = 32;
/// Deepest nesting of parentheses, `NOT` and signs.
pub const MAX_DEPTH: usize = 64;

/// What stands for a message's tag in an expression.
const TAGS: &str = "TAGS";

/// A compiled SQL92 expression.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlFilter {
    condition: Expression,
    /// Sorted; a property's number is its place here.
    names: Vec<String>,
    /// The number of `TAGS`, if the expression names it.
    tag: Option<usize>,
}

impl SqlFilter {
    /// Compiles an expression of at most [`MAX_EXPRESSION`](crate::MAX_EXPRESSION) bytes.
    ///
    /// # Errors
    /// [`DeliveryError::IllegalFilter`] with the byte at which it goes wrong.
    pub fn compile(expression: &str) -> Result<Self, DeliveryError> {
        let (mut condition, names) = parse::parse(expression)?;
        let mut sorted = names.clone();
        sorted.sort_unstable();
        // As many as there are names, each in the list.
        let places: Vec<usize> = names
            .iter()
            .map(|name| sorted.partition_point(|other| other < name))
            .collect();
        condition.renumber(&places);
        let tag = sorted.iter().position(|name| name == TAGS);
        Ok(Self {
            condition,
            names: sorted,
            tag,
        })
    }

    /// Whether a message with this tag and these properties matches: the condition is true, and neither false nor
    /// unknown. Of a property that comes twice the last counts.
    pub fn matches<'a>(
        &self,
        tag: Option<&'a str>,
        properties: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> bool {
        let mut values = [None; MAX_PROPERTIES];
        for (name, value) in properties {
            if let Ok(number) = self
                .names
                .binary_search_by(|other| other.as_str().cmp(name))
            {
                values[number] = Some(value);
            }
        }
        if let Some(number) = self.tag {
            values[number] = tag;
        }
        self.condition.truth(&values) == Some(true)
    }
}

fn illegal(what: impl Into<String>, at: usize) -> DeliveryError {
    DeliveryError::IllegalFilter {
        what: what.into(),
        at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, properties: &[(&str, &str)]) -> bool {
        let filter = SqlFilter::compile(expression).unwrap();
        filter.matches(Some("t1"), properties.iter().copied())
    }

    #[test]
    fn numbers() {
        let price = |value| [("price", value)];
        assert!(matches("price > 20", &price("21")));
        assert!(!matches("price > 20", &price("20")));
        assert!(
            matches("price > 20", &price("20.5")),
            "a whole number and a fraction compare"
        );
        assert!(matches("price = 1E1", &price("10")));
        assert!(matches("price >= -1.5 AND price < .5", &price("-1.5")));
        assert!(matches("-price < +3", &price("-2")));
        assert!(matches(
            "price = 9223372036854775807",
            &price("9223372036854775807")
        ));
        assert!(!matches(
            "price = 9223372036854775806",
            &price("9223372036854775807")
        ));
        assert!(matches(
            "price >= -9223372036854775808",
            &price("-9223372036854775808")
        ));
        assert!(matches("price BETWEEN 1 AND 3", &price("3")));
        assert!(matches("price NOT BETWEEN 1 AND 3", &price("3.1")));
        for not_a_number in ["", "abc", "NaN", "inf", "1 ", "0x10"] {
            assert!(!matches("price > 0 OR price <= 0", &price(not_a_number)));
        }
    }

    #[test]
    fn texts() {
        let name = [("name", "O'Hara 标")];
        assert!(matches("name = 'O''Hara 标'", &name));
        assert!(!matches("name = 'o''hara 标'", &name));
        assert!(matches("name IN ('x', 'O''Hara 标')", &name));
        assert!(matches("name NOT IN ('x')", &name));
        assert!(matches("name CONTAINS 'Hara'", &name));
        assert!(matches("name startswith 'O'''", &name));
        assert!(matches("name EndsWith '标'", &name));
        assert!(matches("name NOT CONTAINS 'xyz'", &name));
        assert!(matches(
            "name NOT STARTSWITH 'H' AND name NOT ENDSWITH 'H'",
            &name
        ));
        assert!(!matches("name CONTAINS '' OR name NOT CONTAINS ''", &name));
        assert!(matches("TAGS IN ('t1', 't2')", &[]));
        assert!(matches("TAGS <> 'T1'", &[]));
    }

    #[test]
    fn what_is_missing_is_unknown() {
        for expression in [
            "a > 1",
            "NOT a > 1",
            "a <> 'x'",
            "a NOT IN ('x')",
            "a = b",
            "a",
        ] {
            assert!(!matches(expression, &[]), "{expression}");
        }
        assert!(matches("a IS NULL AND TAGS IS NOT NULL", &[]));
        assert!(matches("a > 1 OR TAGS = 't1'", &[]));
        assert!(!matches("a > 1 AND TAGS = 't1'", &[]));
        assert!(!matches("NULL OR a", &[]));
    }

    #[test]
    fn booleans() {
        let on = [("on", "True"), ("off", "no")];
        assert!(matches("on AND NOT off", &on));
        assert!(matches("on = TRUE AND off = false AND on <> off", &on));
        assert!(matches("(on = TRUE) = TRUE", &on));
        assert!(matches("TRUE", &on) && !matches("false", &on));
        assert!(
            matches("NOT on = FALSE", &on),
            "NOT is of the whole comparison"
        );
    }

    #[test]
    fn precedence_comments_and_case() {
        let a = [("a", "1"), ("b", "2")];
        assert!(matches("a = 1 or b = 9 and b = 8", &a));
        assert!(!matches("(a = 1 OR b = 9) AND b = 8", &a));
        assert!(matches("a /* one */ = -- and\n 1", &a));
        assert!(!matches("A = 1", &a), "names are told apart by case");
        assert!(matches("$a_1 = 'x'", &[("$a_1", "x")]));
    }

    #[test]
    fn the_last_of_two_counts() {
        assert!(matches("a = 2", &[("a", "1"), ("a", "2")]));
    }

    fn error(expression: &str) -> (String, usize) {
        match SqlFilter::compile(expression) {
            Err(DeliveryError::IllegalFilter { what, at }) => (what, at),
            other => panic!("{expression}: {other:?}"),
        }
    }

    #[test]
    fn errors_say_where() {
        for (expression, at) in [
            ("", 0),
            ("   ", 3),
            ("price >", 7),
            ("price > 'a'", 8),
            ("price > TRUE", 8),
            ("a = NULL", 4),
            ("a = 1 b", 6),
            ("(a = 1", 6),
            ("a = 1)", 5),
            ("a IN ()", 6),
            ("a IN (1)", 6),
            ("a IN ('x' 'y')", 10),
            ("1 IN ('x')", 2),
            ("a IS 1", 5),
            ("a NOT 1", 6),
            ("a BETWEEN 3 AND 1", 16),
            ("a BETWEEN 1 OR 2", 12),
            ("'text'", 0),
            ("a AND 5", 6),
            ("a = 'x", 4),
            ("a == 1", 3),
            ("a ! 1", 2),
            ("é = 1", 0),
            ("a = 007", 4),
            ("a = 1x", 4),
            ("a /* x", 2),
            ("a > 1 > 0", 6),
        ] {
            assert_eq!(
                error(expression).1,
                at,
                "{expression}: {}",
                error(expression).0
            );
        }
    }

    #[test]
    fn what_would_cost_too_much_is_refused() {
        let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert!(SqlFilter::compile(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(error(&nested(MAX_DEPTH + 1)).1, MAX_DEPTH);
        for deep in ["NOT ", "-", "+", "("] {
            error(&format!("{}a", deep.repeat(5000)));
        }
        error(&format!("a{}", " = a".repeat(4000)));
        let wide = vec!["a = 1"; 1500].join(" OR ");
        assert!(SqlFilter::compile(&wide).is_ok(), "width is no depth");
        error(&format!("a = '{}'", "x".repeat(crate::MAX_EXPRESSION)));
        let names = |count| -> Vec<String> { (0..count).map(|n| format!("p{n}")).collect() };
        assert!(SqlFilter::compile(&names(MAX_PROPERTIES).join(" AND ")).is_ok());
        error(&names(MAX_PROPERTIES + 1).join(" AND "));
    }
}
