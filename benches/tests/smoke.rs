//! The whole program at tiny sizes: every experiment has its rows, and the JSON parses. No figure is looked at.

use std::fs;
use std::process::Command;

use foliomq_benches::experiments::ALL;
use serde_json::Value;

/// The page and the JSON of one run, which must have removed its stores.
fn run() -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let (page, json) = (
        folder.path().join("page.md"),
        folder.path().join("figures.json"),
    );
    let run = Command::new(env!("CARGO_BIN_EXE_foliomq-benches"))
        .arg("--smoke")
        .args(["--dir".as_ref(), folder.path().as_os_str()])
        .args([
            "--report".as_ref(),
            page.as_os_str(),
            "--json".as_ref(),
            json.as_os_str(),
        ])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        2,
        "the stores were not removed"
    );
    let json = serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap();
    (fs::read_to_string(page).unwrap(), json)
}

#[test]
fn every_experiment_is_in_the_report_and_in_the_json() {
    let (page, json) = run();
    let sections = json["sections"].as_array().unwrap();
    let names: Vec<_> = sections
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ALL.map(|experiment| experiment.name));
    for section in sections {
        assert!(page.contains(section["title"].as_str().unwrap()));
        for comparison in section["comparisons"].as_array().unwrap() {
            let case = comparison["case"].as_str().unwrap();
            assert!(page.contains(&format!("| {case} |")), "{comparison}");
            let samples = |side: &str| comparison[side].as_array().unwrap().len();
            assert!(
                samples("left") > 0 && samples("left") == samples("right"),
                "{comparison}"
            );
            assert!(
                comparison["ratio"]["median"].as_f64().unwrap() > 0.0,
                "{comparison}"
            );
        }
        for goal in section["goals"].as_array().unwrap() {
            let what = goal["what"].as_str().unwrap();
            assert!(page.contains(&format!("| {what} |")), "{goal}");
        }
    }
}

#[test]
fn an_unknown_experiment_is_refused_with_the_names_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_foliomq-benches"))
        .args(["--smoke", "--only", "apend", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(!run.status.success());
    assert!(String::from_utf8_lossy(&run.stderr).contains("there are append, flush, read"));
}
