//! Flush errors of a real device, under ext4.
//!
//! Writes fail when the kernel writes pages back; it then calls those pages clean, keeps them readable, and lets the
//! next fsync succeed. A store must not believe it: not while it runs, and not when it is opened again by another
//! process while the lying pages are still there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use foliomq_store::{Message, verify};

use crate::brink::{Account, LOADED};
use crate::check::{Found, open};
use crate::device::Server;
use crate::load::topic_name;
use crate::mount::Mounted;
use crate::note::Placed;
use crate::recording::make_file_system;
use crate::refusal::Refusal;
use crate::report::{Line, Table};
use crate::settings::{Mode, Writer};

const DEVICE: u64 = 160 << 20;
/// What the device takes in one write, KiB.
const LARGEST: u32 = 256;
/// Messages that are appended when there is room again.
const MORE: u64 = 20;

/// How often and with what.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// How many times for each mode and way to end.
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u64,
    /// Repeats a run's messages. Default: random.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Also write the table here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Whether all was as it must be.
pub fn run(arguments: &Arguments, folder: &Path) -> Result<bool> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("seed {seed}");
    let mut table = Table::default();
    for n in 0..arguments.rounds {
        for round in Round::all(seed.wrapping_add(n)) {
            let found = round
                .run(&folder.join("round"))
                .with_context(|| format!("{round}, seed {seed}"))?;
            println!("{round}: {}", found.error);
            found
                .problems
                .iter()
                .for_each(|problem| println!("    {problem}"));
            table.add(found.line(&round));
        }
    }
    table.print();
    if let Some(path) = &arguments.json {
        table.write_json(path)?;
    }
    Ok(table.good())
}

struct Round {
    mode: Mode,
    writer: Writer,
    refusal: Refusal,
    /// Whether the store is closed in the end, or its process killed.
    close: bool,
    seed: u64,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.close { "closed" } else { "killed" };
        let (mode, writer, fault) = (self.mode.name(), self.writer.name(), self.fault());
        write!(f, "{mode}, {writer}, {fault}, {end}")
    }
}

/// What a round has shown.
#[derive(Debug, Default)]
struct Verdict {
    error: String,
    promised: u64,
    lost: u64,
    problems: Vec<String>,
}

impl Verdict {
    fn line(&self, round: &Round) -> Line {
        Line {
            mode: round.mode.name().to_owned(),
            writer: round.writer.name().to_owned(),
            fault: round.fault().to_owned(),
            planted: false,
            images: 1,
            promised: self.promised,
            lost: self.lost,
            unsound: u64::from(!self.problems.is_empty()),
        }
    }

    fn demand(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// Counts those of `promised` that were not `found`.
    fn count(&mut self, promised: impl Iterator<Item = Placed>, found: &Found) {
        for placed in promised {
            self.promised += 1;
            self.lost += u64::from(found.placed.get(&placed.position) != Some(&placed));
        }
    }
}

impl Round {
    /// Each mode, writer, refusal and end with each other.
    fn all(seed: u64) -> Vec<Self> {
        let mut rounds = Vec::new();
        for mode in [Mode::Sync, Mode::Async] {
            for writer in [Writer::Mapped, Writer::Staged] {
                for refusal in [Refusal::NoSpace, Refusal::BadBlocks, Refusal::All] {
                    rounds.extend([false, true].map(|close| Self {
                        mode,
                        writer,
                        refusal,
                        close,
                        seed,
                    }));
                }
            }
        }
        rounds
    }

    fn fault(&self) -> &'static str {
        match self.refusal {
            Refusal::None => "none",
            Refusal::NoSpace => "flush-no-space",
            Refusal::BadBlocks => "flush-io-error",
            Refusal::All => "flush-all-writes-fail",
        }
    }

    fn run(&self, folder: &Path) -> Result<Verdict> {
        fs::create_dir(folder)?;
        let image = folder.join("image");
        make_file_system(&image, DEVICE)?;
        let server = Server::start(&folder.join("device"), &image, &folder.join("events"))?;
        let on = folder.join("on");
        let mount = || Mounted::ext4(&server.disk(), &on, "errors=continue");
        let mut mounted = mount()?;
        mounted.limit_writes(LARGEST)?;
        let store = on.join("store");
        let account = self.go_to_the_brink(&store, &server)?;
        let mut verdict = judge(&account);
        server.refuse(Refusal::None)?;
        if self.refusal == Refusal::All {
            // The file system has given itself up, and must be mounted anew.
            mounted.unmount()?;
            mounted = mount()?;
        }
        let kept = self.open_again(&store, &account, &mut verdict)?;
        // Nothing is cached after this.
        mounted.unmount()?;
        let mounted = mount()?;
        self.open_cold(&store, kept, &mut verdict);
        mounted.unmount()?;
        server.stop()?;
        fs::remove_dir_all(folder)?;
        Ok(verdict)
    }

    /// Lets the device fail under a store while it appends.
    fn go_to_the_brink(&self, store: &Path, server: &Server) -> Result<Account> {
        let mut process = Command::new("/proc/self/exe")
            .arg("brink")
            .args([OsStr::new("--store"), store.as_ref()])
            .args(["--mode", self.mode.name(), "--writer", self.writer.name()])
            .args(["--seed", &self.seed.to_string()])
            .args(self.close.then_some("--close"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the store")?;
        let account = converse(&mut process, || {
            // Metadata, too.
            rustix::fs::syncfs(File::open(store)?)?;
            server.refuse(self.refusal)
        });
        process.wait()?;
        account
    }

    /// With room again, and the kernel's pages as they are: what was promised is there, and more can be.
    fn open_again(
        &self,
        dir: &Path,
        account: &Account,
        verdict: &mut Verdict,
    ) -> Result<BTreeMap<u64, Placed>> {
        let store = open(dir).context("with room again")?;
        let found = Found::read(&store, self.seed)?;
        let promised = account
            .placed
            .iter()
            .filter(|placed| placed.end <= account.promised);
        verdict.count(promised.copied(), &found);
        verdict.problems.extend(found.strange.iter().cloned());
        let unknown = found.placed.keys().filter(|position| {
            **position < account.promised
                && !account
                    .placed
                    .iter()
                    .any(|placed| placed.position == **position)
        });
        verdict.demand(unknown.count() == 0, || {
            "messages that nobody was told of".to_owned()
        });
        for _ in 0..MORE {
            store.append(&topic_name(0), &Message::new(b""))?;
        }
        store.close()?;
        drop(store);
        Ok(found.placed)
    }

    /// All that the store had when it was opened, it has on the device.
    fn open_cold(&self, dir: &Path, kept: BTreeMap<u64, Placed>, verdict: &mut Verdict) {
        match verify(dir) {
            Ok(report) => verdict.demand(report.sound(), || {
                format!("verify, with a cold cache: {:?}", report.findings.first())
            }),
            Err(error) => verdict.problems.push(error.to_string()),
        }
        let found = open(dir).and_then(|store| Found::read(&store, self.seed));
        let found = found.unwrap_or_else(|error| {
            verdict
                .problems
                .push(format!("with a cold cache: {error:#}"));
            Found::default()
        });
        verdict.count(kept.into_values(), &found);
        let empty = found.empty;
        verdict.demand(empty == MORE, || {
            format!("{empty} of {MORE} later messages are there")
        });
    }
}

/// Waits until the store is loaded, lets it fail, and hears what it has to say.
fn converse(process: &mut Child, fail: impl FnOnce() -> Result<()>) -> Result<Account> {
    let output = process.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let mut line = || {
        lines
            .next()
            .context("the store ended early")?
            .map_err(anyhow::Error::from)
    };
    ensure!(line()? == LOADED, "the store said something else");
    fail()?;
    writeln!(process.stdin.take().context("no input")?, "go")?;
    serde_json::from_str(&line()?).context("the store's account")
}

/// What must hold on the brink.
fn judge(account: &Account) -> Verdict {
    let mut verdict = Verdict {
        error: account.error.clone(),
        ..Default::default()
    };
    let (accepted, unreadable) = (account.accepted, account.unreadable);
    verdict.demand(accepted == 0, || {
        format!("{accepted} accepted after the failure")
    });
    verdict.demand(unreadable == 0, || {
        format!("{unreadable} committed messages could not be read")
    });
    let says = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains("poisoned"));
    verdict.demand(says(&account.refusing), || {
        format!("the reason given is {:?}", account.refusing)
    });
    verdict.demand(account.closed.is_none() || says(&account.closed), || {
        format!("closing went {:?}", account.closed)
    });
    verdict
}
