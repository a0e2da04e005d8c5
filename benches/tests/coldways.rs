//! `make bench-cold` at a tiny size: every way has its run, or a reason. No figure is looked at.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_way_is_in_the_table() {
    let (files, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = Command::new(env!("CARGO_BIN_EXE_coldways"))
        .args(["--memory", "16", "--rounds", "1", "--dir"])
        .arg(files.path())
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{error}");
    assert_eq!(fs::read_dir(files.path()).unwrap().count(), 0);
    let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    let json: Value = serde_json::from_str(&text("coldways.json")).unwrap();
    assert!(json["machine"].is_object());
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 8);
    for row in rows {
        let ran = row["runs"].as_array().unwrap().len() == 1;
        assert_ne!(ran, row["skipped"].is_string(), "{row}");
    }
    assert!(text("coldways.md").contains("MADV_PAGEOUT"));
}
