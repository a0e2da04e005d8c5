//! `serve --print-config`.

use std::io;

use serde_json::json;

use super::rows::ROWS;
use super::{Layers, Settings};
use crate::output::Output;
use crate::table::Table;

/// So many wrong letters may be a slip even in a short word: two that changed places count as two.
const SLIPS: usize = 2;

/// Every setting with its value, its source and what it may be.
pub fn print(settings: &Settings, layers: &Layers, out: &mut Output) -> io::Result<()> {
    let rows = ROWS
        .iter()
        .map(|row| (row, (row.show)(settings), layers.source(row).to_string()));
    if out.is_json() {
        let rows = rows.map(|(row, value, source)| {
            json!({
                "key": row.key, "value": value, "source": source, "about": row.about, "allowed": row.allowed,
                "variable": row.variable(),
            })
        });
        return out.json(&rows.collect::<Vec<_>>());
    }
    let mut table = Table::new(["SETTING", "VALUE", "SOURCE", "ALLOWED", "WHAT IT IS"]);
    for (row, value, source) in rows {
        table.row([
            row.key.to_owned(),
            value,
            source,
            row.allowed.to_owned(),
            row.about.to_owned(),
        ]);
    }
    out.table(&table)
}

/// The key that a misspelt one most likely means.
pub fn closest(key: &str) -> Option<&'static str> {
    let distances = ROWS.iter().map(|row| (distance(key, row.key), row.key));
    distances
        .min()
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(SLIPS))
        .map(|(_, known)| known)
}

/// Edits of one character between two short words (Levenshtein), row by row.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_key_is_close() {
        assert_eq!(closest("segment_size"), Some("segment-size"));
        assert_eq!(closest("flsh"), Some("flush"));
        assert_eq!(closest("completely-different"), None);
    }

    #[test]
    fn distances_count_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
    }
}
