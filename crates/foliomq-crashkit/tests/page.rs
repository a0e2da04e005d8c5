//! The page about durability is of this program.

use std::fs;
use std::path::Path;

use foliomq_crashkit::{Line, lines};
use foliomq_segment::disk::Flush;

#[test]
fn the_page_has_every_line() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/durability.md");
    let page = fs::read_to_string(path).unwrap();
    for Line {
        mode,
        fault,
        promised,
    } in lines()
    {
        let begin = format!("| {mode} | {fault} | {promised} | ");
        let line = page.lines().find(|line| line.starts_with(&begin));
        let line = line.unwrap_or_else(|| panic!("`make durability` is due: no {begin}"));
        assert!(line.ends_with(" | 0 |"), "{line}");
    }
    for flush in Flush::ALL {
        let begin = format!("| {} | ", flush.name());
        let there = page.lines().any(|line| line.starts_with(&begin));
        assert!(there, "`make durability` is due: no {begin}");
    }
}
