//! `docs/compatibility.md` says of each part of the protocol's description what becomes of it: none is missing, and none is
//! there that the protocol does not have. And the tests that the page names are there.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use foliomq_tests::scenario::ALL;

/// What a row of the page may say.
const STATES: [&str; 3] = ["yes", "differs", "no meaning"];
/// The conformance scenarios of the reference, by their numbers there.
const SCENARIOS: [u32; 33] = [
    1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 16, 17, 19, 21, 23, 25, 26, 28, 29, 30, 31, 32, 33,
    34, 36, 37, 38, 39, 42, 45,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn protocol() -> Result<String> {
    let folder = root().join("proto/apache/rocketmq/v2");
    let files = ["service.proto", "admin.proto", "definition.proto"];
    let texts = files.map(|file| std::fs::read_to_string(folder.join(file)));
    let texts: Vec<String> = texts.into_iter().collect::<Result<_, _>>()?;
    let lines = texts.iter().flat_map(|text| text.lines());
    let code = lines.map(|line| line.split("//").next().unwrap_or(""));
    Ok(code.collect::<Vec<_>>().join("\n"))
}

/// What stands between the braces of `kind name`, the braces within it included.
fn block<'a>(protocol: &'a str, kind: &str, name: &str) -> Result<&'a str> {
    let head = format!("\n{kind} {name} {{");
    let start = protocol
        .find(&head)
        .with_context(|| format!("no {kind} {name}"))?;
    let body = &protocol[start + head.len()..];
    let mut depth = 1;
    for (at, letter) in body.char_indices() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if depth == 0 {
            return Ok(&body[..at]);
        }
    }
    anyhow::bail!("{kind} {name} does not end")
}

fn calls(protocol: &str, service: &str) -> Result<BTreeSet<String>> {
    let body = block(protocol, "service", service)?;
    let names = body.split("rpc ").skip(1);
    let word = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric())
            .next()
            .map(str::to_owned)
    };
    Ok(names.filter_map(word).collect())
}

/// The names before `=`: an enum's values, or a message's fields.
fn names(protocol: &str, kind: &str, name: &str) -> Result<BTreeSet<String>> {
    let body = block(protocol, kind, name)?;
    let fields = body
        .split([';', '{', '}'])
        .filter_map(|field| field.split_once('='));
    let last = |(before, _): (&str, &str)| before.split_whitespace().last().map(str::to_owned);
    let names = fields.filter_map(last);
    Ok(names
        .filter(|name| !name.ends_with("_UNSPECIFIED"))
        .collect())
}

/// First column to second, of the rows below a heading.
fn rows(page: &str, heading: &str) -> Result<BTreeMap<String, String>> {
    let start = page.find(&format!("\n{heading}\n"));
    let start = start.with_context(|| format!("no heading {heading}"))? + 1;
    let lines = page[start..].lines().skip(1);
    let section = lines.take_while(|line| !line.starts_with('#'));
    let mut rows = BTreeMap::new();
    // The first two lines of the table are its head.
    for line in section.filter(|line| line.starts_with('|')).skip(2) {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        for name in columns[1].split([',', ' ']).filter(|name| !name.is_empty()) {
            let before = rows.insert(name.to_owned(), columns[2].to_owned());
            ensure!(before.is_none(), "{name} is there twice below {heading}");
        }
    }
    Ok(rows)
}

fn expect(page: &str, heading: &str, expected: BTreeSet<String>) -> Result<()> {
    let rows = rows(page, heading)?;
    let there: BTreeSet<String> = rows.keys().cloned().collect();
    let missing: Vec<_> = expected.difference(&there).collect();
    ensure!(
        missing.is_empty(),
        "{heading}: nothing is said of {missing:?}"
    );
    let made_up: Vec<_> = there.difference(&expected).collect();
    ensure!(
        made_up.is_empty(),
        "{heading}: the protocol has no {made_up:?}"
    );
    for (name, state) in rows {
        ensure!(
            STATES.contains(&state.as_str()),
            "{name} is said to be {state:?}"
        );
    }
    Ok(())
}

#[test]
fn the_page_names_each_call_kind_setting_command_and_code() -> Result<()> {
    let (protocol, page) = (protocol()?, page()?);
    expect(
        &page,
        "## Calls of `MessagingService`",
        calls(&protocol, "MessagingService")?,
    )?;
    expect(&page, "## Calls of `Admin`", calls(&protocol, "Admin")?)?;
    expect(
        &page,
        "## Kinds of message",
        names(&protocol, "enum", "MessageType")?,
    )?;
    expect(&page, "## Codes", names(&protocol, "enum", "Code")?)?;
    let mut settings = BTreeSet::new();
    for message in ["Settings", "Publishing", "Subscription"] {
        settings.extend(names(&protocol, "message", message)?);
    }
    for part in ["publishing", "subscription"] {
        ensure!(settings.remove(part), "the settings have no {part}");
    }
    expect(&page, "## Settings", settings)?;
    let mut commands = names(&protocol, "message", "TelemetryCommand")?;
    ensure!(commands.remove("status"), "a command has no status");
    expect(&page, "## Commands of Telemetry", commands)
}

fn page() -> Result<String> {
    Ok(std::fs::read_to_string(
        root().join("docs/compatibility.md"),
    )?)
}

/// Every test by name that the last table of the page names, and every scenario, is there.
#[test]
fn what_the_clients_need_is_met_by_tests_that_exist() -> Result<()> {
    let page = page()?;
    let heading = "## What the clients need, and the test that holds it";
    let start = page.find(heading).context("no such heading")?;
    let sources = sources(&root().join("crates"))? + &sources(&root().join("tests"))?;
    let mut named = 0;
    for line in page[start..]
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
    {
        let tests = line
            .trim_end_matches('|')
            .rsplit('|')
            .next()
            .unwrap_or_default();
        // What follows a semicolon is prose.
        let tests = tests.split(';').next().unwrap_or_default();
        let words = tests.split(',').map(str::trim).collect::<Vec<_>>();
        ensure!(!words.is_empty(), "no test: {line}");
        for word in words {
            match word.strip_prefix('`') {
                Some(test) => {
                    let test = test.trim_end_matches('`');
                    let head = format!("fn {test}()");
                    ensure!(sources.contains(&head), "no test {test}: {line}");
                }
                None => {
                    let known = ALL.iter().any(|scenario| scenario.id == word);
                    ensure!(known, "no scenario {word:?}: {line}");
                }
            }
            named += 1;
        }
    }
    ensure!(named > 40, "only {named} tests are named");
    Ok(())
}

/// Every source of Rust below a folder.
fn sources(folder: &Path) -> Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let skipped = ["target", "node_modules", ".venv"];
        if path.is_dir() && !skipped.iter().any(|name| path.ends_with(name)) {
            text += &sources(&path)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            text += &std::fs::read_to_string(&path)?;
        }
    }
    Ok(text)
}

/// The scenarios of the reference are all there, in its order.
#[test]
fn each_scenario_of_the_reference_is_run() -> Result<()> {
    let ids = ALL
        .iter()
        .map_while(|scenario| scenario.id.parse::<u32>().ok());
    ensure!(
        ids.eq(SCENARIOS),
        "the numbered scenarios are not those of the reference"
    );
    Ok(())
}
