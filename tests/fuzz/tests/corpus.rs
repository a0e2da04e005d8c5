//! Every target over its corpus, then over cases by chance. `FUZZ_SEED` repeats a run, `FUZZ_CASES` makes it longer.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use foliomq_fuzz::{TARGETS, Target, random};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// Cases by chance, unless set otherwise.
const CASES: usize = 300;
/// Files that `gather` keeps of a target.
const KEPT: usize = 16;

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder(name)).expect("every target has a corpus");
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable)
        .ok()
        .map(|value| value.parse().expect(variable))
}

fn target(name: &str) -> Target {
    TARGETS
        .iter()
        .find(|(other, _)| *other == name)
        .expect("a target")
        .1
}

fn run(name: &str) {
    let target = target(name);
    let mut seeds = Vec::new();
    let mut classes = HashSet::new();
    for (path, data) in corpus(name) {
        println!("{}", path.display());
        classes.insert(target(&data).class());
        seeds.push(data);
    }
    let seed = number("FUZZ_SEED").unwrap_or_else(rand::random);
    let cases = number("FUZZ_CASES").unwrap_or(CASES as u64);
    println!(
        "{name}: {} files; FUZZ_SEED={seed}, {cases} cases",
        seeds.len()
    );
    let mut chance = StdRng::seed_from_u64(seed);
    for n in 0..cases {
        let data = random::case(name, &seeds, &mut chance);
        println!("case {n}: {}", hex(&data));
        classes.insert(target(&data).class());
    }
    println!("{name}: {} kinds of outcome", classes.len());
    assert!(classes.len() > 2, "all cases end alike: {classes:?}");
}

/// The beginning, enough to find the case again by.
fn hex(data: &[u8]) -> String {
    data.iter()
        .take(80)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn segment() {
    run("segment");
}

#[test]
fn checkpoint() {
    run("checkpoint");
}

#[test]
fn indexes() {
    run("indexes");
}

#[test]
fn control() {
    run("control");
}

#[test]
fn metadata() {
    run("metadata");
}

#[test]
fn message() {
    run("message");
}

/// Writes cases with new outcomes to the corpus.
#[test]
#[ignore = "writes to the source tree"]
fn gather() {
    let mut chance = StdRng::seed_from_u64(number("FUZZ_SEED").unwrap_or(1));
    for (name, target) in TARGETS {
        let mut seen: HashSet<String> = corpus(name)
            .iter()
            .map(|(_, data)| target(data).class())
            .collect();
        for _ in 0..number("FUZZ_CASES").unwrap_or(1000) {
            let data = random::case(name, &[], &mut chance);
            let outcome = target(&data);
            if corpus(name).len() < KEPT && data.len() < 4096 && seen.insert(outcome.class()) {
                let path = folder(name).join(format!("case-{:02}", corpus(name).len()));
                println!("{}: {outcome}", path.display());
                fs::write(path, &data).unwrap();
            }
        }
    }
}
