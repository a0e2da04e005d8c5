//! The program `transfer` at tiny sizes, on loopback alone: every way that the kernel offers delivers the right bytes,
//! and everything that is written can be read. No figure is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs it, and gives back what it skipped.
fn run(arguments: &[&str], dir: &Path, out: &Path) {
    let run = Command::new(env!("CARGO_BIN_EXE_transfer"))
        .args(arguments)
        .args(["--dir".as_ref(), dir.as_os_str()])
        .args(["--out".as_ref(), out.as_os_str()])
        .output()
        .unwrap();
    assert!(
        run.status.success(),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[test]
fn every_way_delivers_and_is_on_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, out) = (folder.path().join("store"), folder.path().join("out"));
    run(&["--smoke", "--loopback"], &dir, &out);
    assert_eq!(
        fs::read_dir(&dir).unwrap().count(),
        0,
        "the store was not removed"
    );

    let json: Value =
        serde_json::from_str(&fs::read_to_string(out.join("transfer.json")).unwrap()).unwrap();
    let cells = json["cells"].as_array().unwrap();
    let ways: BTreeSet<&str> = cells
        .iter()
        .map(|cell| cell["way"].as_str().unwrap())
        .collect();
    // What the kernel refuses (io_uring in a container, say) is skipped, and said.
    let skipped = json["skipped"].as_array().unwrap();
    skipped.iter().for_each(|what| println!("skipped: {what}"));
    assert_eq!(
        ways.len() + skipped.len(),
        9,
        "{ways:?}, skipped {skipped:?}"
    );
    for cell in cells {
        let bytes = |of: &Value| of["bytes"].as_u64().unwrap();
        assert!(
            bytes(&cell["checked"]) > 0 && cell["rounds"].as_array().unwrap().len() == 2,
            "{cell}"
        );
        assert!(
            cell["rounds"]
                .as_array()
                .unwrap()
                .iter()
                .all(|round| bytes(round) > 0),
            "{cell}"
        );
    }
    let page = fs::read_to_string(out.join("transfer.md")).unwrap();
    for plot in [
        "throughput-scattered",
        "throughput-bulk",
        "cpu-scattered",
        "cpu-bulk",
        "calls",
        "latency",
    ] {
        let name = format!("transfer-{plot}.svg");
        assert!(
            page.contains(&format!("({name})")) && out.join(&name).exists(),
            "{name}"
        );
    }

    // The page is a view of the figures: it can be drawn again from them.
    let again = folder.path().join("again");
    let figures = out.join("transfer.json");
    run(&["--from", figures.to_str().unwrap()], &dir, &again);
    assert_eq!(fs::read_to_string(again.join("transfer.md")).unwrap(), page);
}
