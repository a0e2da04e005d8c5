//! Layers of settings, seen from outside.

use std::fs;

use crate::broker::{foliomq, run};

#[test]
fn every_setting_is_shown_with_value_and_source() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("foliomq.toml");
    fs::write(
        &file,
        "segment-size = \"64MiB\"\nflush = \"async\"\npreheat = \"off\"\n",
    )
    .unwrap();
    let output = foliomq()
        .args([
            "serve",
            "--print-config",
            "--json",
            "--preheat",
            "segment",
            "--set",
            "max-body=1MiB",
            "--config",
        ])
        .arg(&file)
        .env("FOLIOMQ_FLUSH", "sync")
        .output()
        .unwrap();
    let settings: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |key: &str| {
        let row = settings.iter().find(|row| row["key"] == key).unwrap();
        (
            row["value"].as_str().unwrap().to_owned(),
            row["source"].as_str().unwrap().to_owned(),
        )
    };
    let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(
        of("segment-size"),
        pair("64MiB", &format!("file {}", file.display()))
    );
    assert_eq!(of("flush"), pair("sync", "env FOLIOMQ_FLUSH"));
    assert_eq!(of("preheat"), pair("segment", "flag --preheat"));
    assert_eq!(of("max-body"), pair("1MiB", "flag --set max-body"));
    assert_eq!(of("listen"), pair("127.0.0.1:8081", "default"));
}

#[test]
fn the_table_lines_up_and_has_no_colours() {
    let text = run(["serve", "--print-config"]).ok();
    let mut lines = text.lines();
    let column = lines.next().unwrap().find("SOURCE").unwrap();
    for line in lines {
        assert!(line[column..].starts_with("default"), "{line}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn unknown_keys_and_bad_values_end_with_2_and_say_where() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("foliomq.toml");
    let with_file = |text: &str| {
        fs::write(&file, text).unwrap();
        run(["serve".as_ref(), "--config".as_ref(), file.as_os_str()])
    };
    let unknown = with_file("sgement-size = \"1GiB\"\n");
    assert!(
        unknown.failed(2).contains("did you mean segment-size?"),
        "{unknown:?}"
    );
    assert!(unknown.stderr.contains("foliomq.toml"), "{unknown:?}");
    let bad = with_file("segment-size = \"1000\"\n");
    assert!(
        bad.failed(2)
            .contains("expected a power of two from 16MiB to 4GiB"),
        "{bad:?}"
    );
    assert!(with_file("segment-size = ").failed(2).contains("line 1"));
    assert!(
        run(["serve", "--set", "fulsh=sync"])
            .failed(2)
            .contains("did you mean flush?")
    );
    assert!(
        run(["serve", "--segment-size", "lots"])
            .failed(2)
            .contains("flag --segment-size")
    );
    assert!(
        run(["serve", "--config", "/nowhere.toml"])
            .failed(2)
            .contains("/nowhere.toml")
    );
    assert!(
        run(["serve", "--set", "tls-key=k.pem"])
            .failed(2)
            .contains("tls-certificate and tls-key go together")
    );
    let variable = foliomq()
        .arg("serve")
        .env("FOLIOMQ_LISTEN", "here")
        .output()
        .unwrap();
    assert_eq!(variable.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&variable.stderr).contains("env FOLIOMQ_LISTEN"));
}
