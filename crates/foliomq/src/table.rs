//! Columns that line up.

use std::io::{self, Write};

const GAP: &str = "  ";

/// A heading and rows of text. Columns of numbers are set to the right.
#[derive(Debug)]
pub struct Table<const N: usize> {
    heading: [&'static str; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    pub fn new(heading: [&'static str; N]) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    /// Writes it without a trailing blank in any line.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let widths: [usize; N] = std::array::from_fn(|column| self.width(column));
        let right: [bool; N] = std::array::from_fn(|column| self.is_numeric(column));
        let heading = self.heading.map(str::to_owned);
        for row in std::iter::once(&heading).chain(&self.rows) {
            let cells = row
                .iter()
                .enumerate()
                .map(|(column, cell)| pad(cell, widths[column], right[column]));
            writeln!(out, "{}", cells.collect::<Vec<_>>().join(GAP).trim_end())?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([self.heading[column].chars().count()])
            .max()
            .unwrap_or(0)
    }

    fn is_numeric(&self, column: usize) -> bool {
        !self.rows.is_empty()
            && self
                .rows
                .iter()
                .all(|row| row[column].bytes().all(|byte| byte.is_ascii_digit()))
    }
}

fn pad(cell: &str, width: usize, right: bool) -> String {
    let blanks = " ".repeat(width.saturating_sub(cell.chars().count()));
    if right {
        format!("{blanks}{cell}")
    } else {
        format!("{cell}{blanks}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["NAME", "MESSAGES", "TYPE"]);
        table.row(["orders".to_owned(), "1200".to_owned(), "any".to_owned()]);
        table.row(["é".to_owned(), "7".to_owned(), String::new()]);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let expected = "NAME    MESSAGES  TYPE\norders      1200  any\né              7\n";
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
