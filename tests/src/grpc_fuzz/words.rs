//! What requests are made of: names that exist, what answers have brought, and values that have hurt somebody before.

use std::collections::{HashMap, VecDeque};

use rand::{Rng, RngExt};

use super::read::{Seen, walk};
use super::schema::Schema;

/// Words of one kind that are remembered.
const KEPT: usize = 32;
const TOPICS: [&str; 5] = ["t0", "t1", "fifo", "n%t0", "%DLQ%g0"];
const GROUPS: [&str; 4] = ["g0", "g1", "g2", "n%g0"];
const CLIENTS: [&str; 4] = ["c0", "c1", "c2", "c3"];
const FILTERS: [&str; 12] = [
    "*",
    "a",
    "a || b",
    "x > 1",
    "x BETWEEN 1 AND 9 AND NOT y IS NULL",
    "x IN ('a', 'b') OR TAGS = 'a'",
    "x = 9223372036854775808",
    "x = -9223372036854775808 OR x > 1e400",
    "x LIKE",
    "(((((x",
    "'",
    "NOT NOT NOT NOT TRUE",
];
const HOSTILE: [&str; 22] = [
    "",
    " ",
    "\0",
    "\u{7f}\u{1b}[2J",
    "é漢🦀",
    "\u{fffd}\u{202e}abc",
    "%",
    "%DLQ%",
    "%RETRY%g0",
    "%DLQ%%DLQ%g0",
    "..",
    "../../etc/passwd",
    "a|b",
    "||",
    "*",
    "TBW102",
    "rmq_sys_x",
    "CID_RMQ_SYS_x",
    "-1",
    "18446744073709551616",
    "NaN",
    "KEYS",
];

/// What one client knows.
#[derive(Debug, Default)]
pub struct Words(HashMap<&'static str, VecDeque<String>>);

impl Words {
    /// Keeps handles and ids that an answer holds.
    pub fn learn(&mut self, schema: &Schema, message: &str, bytes: &[u8]) {
        let mut found = Vec::new();
        // Malformed answers are the judge's business.
        let _ = walk(schema, message, bytes, &mut |_, field, seen| {
            if let (Some(kind), Seen::Bytes(text)) = (learned(&field.name), seen) {
                found.push((kind, String::from_utf8_lossy(text).into_owned()));
            }
        });
        for (kind, word) in found {
            let words = self.0.entry(kind).or_default();
            words.push_back(word);
            if words.len() > KEPT {
                words.pop_front();
            }
        }
    }

    /// A word that makes sense in a field; `within` is the field that holds its message.
    pub fn sensible(&self, field: &str, within: &str, random: &mut impl Rng) -> String {
        if let Some(words) = learned(field).and_then(|kind| self.0.get(kind)) {
            return words[random.random_range(0..words.len())].clone();
        }
        let choices: &[&str] = match (field, within) {
            ("name", "group") | ("group", _) => &GROUPS,
            ("topic" | "topics", _) | ("name", "topic" | "topics") => &TOPICS,
            ("client_id", _) => &CLIENTS,
            ("expression" | "subscription", _) => &FILTERS,
            ("resource_namespace", _) => &["", "", "", "", "n"],
            ("lite_topic" | "lite_topic_set" | "liteTopic", _) => &["l0", "l1", "l2"],
            ("message_group", _) => &["m0", "m1"],
            ("host", _) => &["127.0.0.1", "::1", "broker.example"],
            _ => &["a", "b", "x", "1"],
        };
        choices[random.random_range(0..choices.len())].to_owned()
    }
}

/// Words of fields whose content the broker makes up.
fn learned(field: &str) -> Option<&'static str> {
    match field {
        "receipt_handle" | "handle" | "handles" => Some("handle"),
        "message_id" => Some("message_id"),
        "transaction_id" => Some("transaction_id"),
        "recall_handle" => Some("recall_handle"),
        "nonce" => Some("nonce"),
        "scroll_id" => Some("scroll_id"),
        _ => None,
    }
}

/// A text that is likely to be refused, of at most `most` bytes.
pub fn hostile_text(most: usize, random: &mut impl Rng) -> String {
    match random.random_range(0..10) {
        0 => {
            let len = [120, 127, 128, 255, 256, 4096, 20_000, 70_000, 300_000];
            "x".repeat(len[random.random_range(0..len.len())].min(most))
        }
        1 => {
            let nest = ["(", "NOT ", "-", "x = 1 OR ", "a || "];
            let nest = nest[random.random_range(0..nest.len())];
            nest.repeat(random.random_range(1..4000).min(most / nest.len()))
        }
        2 => FILTERS[random.random_range(0..FILTERS.len())].to_owned(),
        _ => HOSTILE[random.random_range(0..HOSTILE.len())].to_owned(),
    }
}

/// A number at an edge of its type, or of another.
pub fn hostile_number(random: &mut impl Rng) -> u64 {
    let edge = match random.random_range(0..8) {
        0 => 0,
        1 => u64::MAX,
        2 => i64::MIN.cast_unsigned(),
        3 => i64::MAX.cast_unsigned(),
        4 => i64::from(i32::MIN).cast_unsigned(),
        5 => i32::MAX.cast_unsigned().into(),
        6 => u32::MAX.into(),
        _ => 1 << random.random_range(0..64),
    };
    match random.random_range(0..4) {
        0 => edge.wrapping_add(1),
        1 => edge.wrapping_sub(1),
        _ => edge,
    }
}
