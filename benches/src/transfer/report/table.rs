//! Tables in Markdown.

/// Rows under a heading.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With the names of its columns.
    pub fn new<T: Into<String>>(columns: impl IntoIterator<Item = T>) -> Self {
        Self {
            rows: vec![columns.into_iter().map(Into::into).collect()],
        }
    }

    /// Adds a row, as long as the heading.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The table, and an empty line.
    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            text += &line(row);
            if index == 0 {
                text += &format!("|{}\n", "---|".repeat(row.len()));
            }
        }
        text + "\n"
    }
}

/// Marks the best of a row, unless there is nothing to choose from.
pub fn bold(text: String, best: bool) -> String {
    if best { format!("**{text}**") } else { text }
}
