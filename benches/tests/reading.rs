//! `make bench-read` at tiny sizes: every way, order and condition has its samples. No figure is looked at.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn every_case_is_in_the_json_and_every_file_is_written() {
    let (stores, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = Command::new(env!("CARGO_BIN_EXE_reading"))
        .arg("--smoke")
        .arg("--dir")
        .arg(stores.path())
        .arg("--out")
        .arg(out.path())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{error}");
    assert_eq!(fs::read_dir(stores.path()).unwrap().count(), 0);
    let text = |name: &str| fs::read_to_string(out.path().join(name)).unwrap();
    let json: Value = serde_json::from_str(&text("read.json")).unwrap();
    // Without root there is no cgroup to make: one condition less, and the reason.
    let skipped = json["skipped"].as_array().unwrap().len();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * (5 - skipped));
    let cells = rows.iter().flat_map(|row| row["cells"].as_array().unwrap());
    for cell in cells {
        assert!(cell["rates"][0].as_f64().unwrap() > 0.0, "{cell}");
    }
    assert!(text("read.md").contains("## Surprises"));
    for figure in ["read-ratio.svg", "read-sizes.svg", "read-conditions.svg"] {
        assert!(text(figure).starts_with("<svg"));
    }
}
