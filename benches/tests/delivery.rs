//! `make bench-delivery` at tiny sizes: every figure has its rows and its goals. No figure is judged.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A run with its stores and results in `folder`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_delivery"));
    // The broker beside this test's own programs, built for the same profile.
    let broker = Path::new(env!("CARGO_BIN_EXE_delivery")).with_file_name("foliomq");
    if broker.exists() {
        command.arg("--binary").arg(broker);
    }
    command.arg("--smoke").args(arguments);
    command.arg("--dir").arg(folder).arg("--out").arg(folder);
    command.output().unwrap()
}

#[test]
fn every_figure_is_on_the_page_and_in_the_json() {
    let folder = tempfile::tempdir().unwrap();
    let lite = folder.path().join("lite.json");
    let row = [
        "6",
        "a figure of another program",
        "7 bytes",
        "≤ 8 bytes",
        "met",
    ];
    let told = serde_json::json!({ "text": "Told by it.", "rows": [row] });
    fs::write(&lite, told.to_string()).unwrap();
    let run = run(folder.path(), &["--lite", lite.to_str().unwrap()]);
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{error}");
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (page, table) = (text("delivery.md"), String::from_utf8(run.stdout).unwrap());
    let json: Value = serde_json::from_str(&text("delivery.json")).unwrap();
    let sections = json["sections"].as_array().unwrap();
    let numbers: Vec<u64> = sections
        .iter()
        .map(|one| one["number"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [4, 5, 5]);
    for goal in sections
        .iter()
        .flat_map(|section| section["goals"].as_array().unwrap())
    {
        let what = goal["what"].as_str().unwrap();
        assert!(
            page.contains(&format!("| {what} |")) && table.contains(what),
            "{goal}"
        );
    }
    assert!(page.contains("The counts are smaller"));
    assert!(table.contains(&format!("| {} |", row.join(" | "))));
    let [delayed, _, in_flight] = &sections[..] else {
        unreachable!("there are three")
    };
    assert_eq!(delayed["figures"]["lateness"]["messages"], 2000);
    assert_eq!(in_flight["figures"]["in_flight"], 5000);
    assert_eq!(in_flight["figures"]["in_flight_after"], 5030);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        3,
        "the stores were not removed"
    );
}

#[test]
fn figures_of_lite_topics_that_cannot_be_read_are_refused_with_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let lite = folder.path().join("lite.json");
    for text in [None, Some("{}")] {
        if let Some(text) = text {
            fs::write(&lite, text).unwrap();
        }
        let run = run(folder.path(), &["--lite", lite.to_str().unwrap()]);
        assert!(!run.status.success());
        let error = String::from_utf8_lossy(&run.stderr);
        assert!(error.contains("lite.json"), "{error}");
    }
}
