//! The page that says what runs on a real kernel have found.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::report::Line;

/// What the page says before its table.
const INTRODUCTION: &str = include_str!("page.md");

/// The tables that other commands wrote.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Where the page goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Files of `--json`.
    #[arg(required = true, value_name = "FILE")]
    tables: Vec<PathBuf>,
}

/// Writes the page. Tables in which something is not as it must be make no page.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut page = INTRODUCTION.to_owned();
    for table in &arguments.tables {
        for line in lines(table)? {
            ensure!(line.good(), "not as it must be: {line:?}");
            write_line(&mut page, &line)?;
        }
    }
    let out = &arguments.out;
    fs::write(out, page).with_context(|| format!("writing {}", out.display()))
}

fn lines(table: &Path) -> Result<Vec<Line>> {
    let failed = || format!("reading {}", table.display());
    let text = fs::read_to_string(table).with_context(failed)?;
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().with_context(failed)
}

fn write_line(page: &mut String, line: &Line) -> Result<()> {
    let Line {
        mode,
        writer,
        fault,
        planted,
        images,
        promised,
        lost,
        unsound,
    } = line;
    let verdict = if *planted { "planted, and found" } else { "" };
    writeln!(
        page,
        "| {mode} | {writer} | {fault} | {images} | {promised} | {lost} | {unsound} | {verdict} |"
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_of(lost: u64, planted: bool) -> Result<String> {
        let dir = tempfile::tempdir()?;
        let (table, out) = (dir.path().join("table"), dir.path().join("page"));
        let line = Line {
            mode: "sync".into(),
            writer: "both".into(),
            fault: "power cut".into(),
            planted,
            images: 8,
            promised: 900,
            lost,
            unsound: 0,
        };
        fs::write(&table, serde_json::to_string(&line)? + "\n")?;
        run(&Arguments {
            out: out.clone(),
            tables: vec![table],
        })?;
        Ok(fs::read_to_string(out)?)
    }

    #[test]
    fn a_line_comes_through() {
        let page = page_of(0, false).unwrap();
        assert!(page.ends_with("|\n| sync | both | power cut | 8 | 900 | 0 | 0 |  |\n"));
        assert!(page_of(3, true).unwrap().contains("planted, and found"));
    }

    #[test]
    fn what_is_wrong_makes_no_page() {
        assert!(page_of(1, false).is_err());
        assert!(page_of(0, true).is_err());
    }
}
