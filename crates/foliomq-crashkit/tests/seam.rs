//! No crate of the store changes the disk past the module where a test can watch it.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates whose files count.
const CRATES: [&str; 5] = ["segment", "commitlog", "consumequeue", "store", "delivery"];
/// Files of tests among them.
const TESTS: [&str; 4] = [
    "golden.rs",
    "codec_tests.rs",
    "order_tests.rs",
    "lease_model.rs",
];
/// Calls that change the disk, or wait for it.
const CALLS: [&str; 13] = [
    ".sync_all(",
    ".sync_data(",
    ".set_len(",
    ".write_all_at(",
    ".write_at(bytes",
    "fs::rename(",
    "fs::remove_",
    "fs::write(",
    "fs::create_dir",
    " File::create(",
    ".create(true)",
    "::fallocate(",
    "pwrite",
];

#[test]
fn the_disk_is_changed_in_one_place() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in CRATES {
        let source = crates.join(format!("foliomq-{name}")).join("src");
        for file in files(&source) {
            if !file.ends_with("foliomq-segment/src/disk.rs") {
                check(&file);
            }
        }
    }
}

/// Tests at a file's end, and what is only said of a call, do not count.
fn check(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    let lines = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    for line in lines {
        let call = CALLS.iter().find(|call| line.contains(*call));
        assert!(
            call.is_none() || is_apart(file),
            "{}: {line}",
            file.display()
        );
    }
}

/// Where nothing is kept: the copy of the indexes that `verify` makes, and pages that must be clean to be dropped.
fn is_apart(file: &Path) -> bool {
    file.ends_with("offline/compare.rs") || file.ends_with("foliomq-segment/src/uncached.rs")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else if !TESTS.iter().any(|name| path.ends_with(name)) {
            found.push(path);
        }
    }
    found
}
