//! A short run of the rig. Where the machine allows no such thing it says so, and does nothing.
#![forbid(unsafe_code)]

use std::process::{Command, Output};

/// Runs the rig, and returns what it said; `None` if it was skipped.
fn rig(arguments: &[&str]) -> Option<(bool, String)> {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_crashrig"))
        .args(arguments)
        .output()
        .unwrap();
    // The reason of a failure comes first.
    let said = String::from_utf8_lossy(&stderr) + String::from_utf8_lossy(&stdout);
    println!("{said}");
    (!stdout.starts_with(b"skipped")).then(|| (status.success(), format!("{status}: {said}")))
}

#[test]
fn a_power_cut_takes_nothing_that_was_promised() {
    if let Some((good, said)) = rig(&["power", "--images", "8"]) {
        assert!(good, "{said}");
    }
}

#[test]
fn a_flush_that_fails_takes_nothing_that_was_promised() {
    if let Some((good, said)) = rig(&["flush-error", "--rounds", "1"]) {
        assert!(good, "{said}");
    }
}

/// A rig that finds nothing must be one that would have found something.
#[test]
fn a_planted_fault_is_found() {
    let planted = [
        "--fault",
        "acknowledged-early",
        "--mode",
        "sync",
        "--images",
        "8",
    ];
    let arguments: Vec<&str> = ["power"].into_iter().chain(planted).collect();
    if let Some((good, said)) = rig(&arguments) {
        assert!(good && said.contains("planted, and found"), "{said}");
    }
}
