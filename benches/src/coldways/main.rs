//! How history is best read beside a head that must stay in memory: `make bench-cold`.
#![deny(unsafe_op_in_unsafe_fn)]

mod raw;
mod ways;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Parser;
use foliomq_benches::figures::Spread;
use foliomq_benches::floors::Budget;
use foliomq_benches::machine::Machine;
use foliomq_benches::memory_limit::MemoryLimit;
use foliomq_benches::payload::{Random, touch};
use foliomq_benches::procfs;
use foliomq_benches::quiet::{Conditions, Watch};
use foliomq_segment::Residency;
use rustix::fs::{Advice, fadvise};
use serde::Serialize;
use serde_json::json;

use crate::raw::Mapping;
use crate::ways::Way;

/// Measures the ways to read history, and writes `coldways.json` and `coldways.md`.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the results go.
    #[arg(long)]
    out: PathBuf,
    /// Where the files go: a folder on the disk to measure. They are removed at the end.
    #[arg(long, default_value = "target/benches")]
    dir: PathBuf,
    /// MiB of memory: the history is twice that, the head a quarter.
    #[arg(long, default_value_t = 256)]
    memory: u64,
    /// Counted rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// The head is touched once in so long.
const PAUSE: Duration = Duration::from_millis(20);

/// One scan.
#[derive(Debug, Clone, Copy, Serialize)]
struct Run {
    /// MiB per second.
    rate: f64,
    /// Seconds of processor time for each GiB, those of the scanning thread alone.
    processor: f64,
    /// Faults of the head's reader that found no page, for each GiB that was scanned.
    head_faults: f64,
    /// MiB of the history that are in memory afterwards.
    left: f64,
}

/// All runs of a way, or why it cannot be.
#[derive(Debug, Serialize)]
struct Row {
    way: &'static str,
    runs: Vec<Run>,
    skipped: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    fs::create_dir_all(&arguments.dir)?;
    let machine = Machine::of(
        &arguments.dir,
        Budget::of(if arguments.rounds > 1 {
            "full"
        } else {
            "quick"
        }),
    )?;
    let place = tempfile::tempdir_in(&arguments.dir)?;
    let (history, head) = (place.path().join("history"), place.path().join("head"));
    fill(&history, 2 * arguments.memory)?;
    fill(&head, arguments.memory / 4)?;
    let watch = Watch::begin(Duration::ZERO)?;
    let limit = MemoryLimit::enter(arguments.memory << 20);
    let limited = match &limit {
        Ok(_) => format!(
            "Memory of the process, page cache included: {} MiB.",
            arguments.memory
        ),
        Err(error) => format!("Memory is NOT limited (skipped: {error:#})."),
    };
    let rows = measure(&history, &head, arguments.rounds)?;
    drop(limit);
    let conditions = watch.end()?;
    let page = page(&machine, &arguments, &limited, &rows, &conditions)?;
    fs::create_dir_all(&arguments.out)?;
    fs::write(
        arguments.out.join("coldways.json"),
        serde_json::to_string_pretty(&json!({"machine": machine, "rows": rows}))?,
    )?;
    fs::write(arguments.out.join("coldways.md"), &page)?;
    println!("{page}");
    Ok(())
}

/// A file of so many MiB that do not compress, on the device.
fn fill(path: &Path, mebibytes: u64) -> Result<()> {
    let mut file = File::create(path)?;
    let mut random = Random::new(0xC01D);
    for _ in 0..mebibytes {
        let bytes: Vec<u8> = (0..(1 << 17))
            .flat_map(|_| random.next().to_le_bytes())
            .collect();
        file.write_all(&bytes)?;
    }
    Ok(file.sync_all()?)
}

/// Every way in turn, round after round; the first round is not counted.
fn measure(history: &Path, head: &Path, rounds: usize) -> Result<Vec<Row>> {
    let row = |way: &Way| Row {
        way: way.name(),
        runs: Vec::new(),
        skipped: None,
    };
    let mut rows: Vec<Row> = Way::ALL.iter().map(row).collect();
    for round in 0..=rounds {
        for (row, way) in rows.iter_mut().zip(Way::ALL) {
            if row.skipped.is_some() {
                continue;
            }
            match run(way, history, head) {
                Ok(run) if round > 0 => row.runs.push(run),
                Ok(_) => {}
                Err(error) => row.skipped = Some(format!("{error:#}")),
            }
        }
    }
    Ok(rows)
}

fn run(way: Way, history: &Path, head: &Path) -> Result<Run> {
    fadvise(&File::open(history)?, 0, None, Advice::DontNeed)?;
    let done = AtomicBool::new(false);
    let gibibytes = fs::metadata(history)?.len() as f64 / f64::from(1 << 30);
    let (faults, took, used) = thread::scope(|scope| {
        let reader = scope.spawn(|| keep_hot(head, &done));
        // The head is in memory before the scan begins.
        thread::sleep(10 * PAUSE);
        let (begin, used) = (Instant::now(), procfs::thread_time());
        let scanned = way.scan(history).context("scanning");
        let (took, used) = (begin.elapsed(), procfs::thread_time() - used);
        done.store(true, Ordering::Release);
        let faults = reader
            .join()
            .map_err(|_| anyhow!("the head's reader panicked"))?;
        scanned?;
        Ok::<_, anyhow::Error>((faults?, took, used))
    })?;
    let left = Residency::of_file(history, 1)?.resident;
    Ok(Run {
        rate: gibibytes * 1024.0 / took.as_secs_f64(),
        processor: used.as_secs_f64() / gibibytes,
        head_faults: faults as f64 / gibibytes,
        left: left as f64 / f64::from(1 << 20),
    })
}

/// Touches the head again and again; how often a page of it was not there, after the first time.
fn keep_hot(head: &Path, done: &AtomicBool) -> Result<u64> {
    let mapping = Mapping::of(&File::open(head)?)?;
    black_box(touch(mapping.bytes()));
    let before = procfs::thread_usage()?.major_faults;
    while !done.load(Ordering::Acquire) {
        black_box(touch(mapping.bytes()));
        thread::sleep(PAUSE);
    }
    Ok(procfs::thread_usage()?.major_faults - before)
}

fn page(
    machine: &Machine,
    arguments: &Arguments,
    limited: &str,
    rows: &[Row],
    beside: &Conditions,
) -> Result<String> {
    let (memory, rounds) = (arguments.memory, arguments.rounds);
    let (history, head) = (2 * memory, memory / 4);
    let floors = machine.floors.row();
    let mut page = format!(
        "# Ways to read history\n\n`make bench-cold`, {}, {} cores, {}, {}, {}; {rounds} rounds, medians. {limited}\n\n\
         A history of {history} MiB that is not in memory is read from front to back, in blocks of 256 KiB, while another thread \
         touches a head of {head} MiB every {PAUSE:?}. Counted are the faults of that thread which found a page gone, and \
         what the scan leaves in memory.\n\n\
         {}: {}.\n\n\
         | way | MiB/s | CPU s per GiB | faults at the head per GiB | MiB left |\n|---|---|---|---|---|\n",
        machine.processor,
        machine.cores,
        machine.kernel,
        machine.file_system,
        machine.date,
        floors.0,
        floors.1,
    );
    for row in rows {
        let median =
            |of: fn(&Run) -> f64| Spread::of(&row.runs.iter().map(of).collect::<Vec<_>>()).median;
        match &row.skipped {
            Some(why) => writeln!(page, "| {} | skipped: {why} | | | |", row.way)?,
            None => writeln!(
                page,
                "| {} | {:.0} | {:.2} | {:.0} | {:.0} |",
                row.way,
                median(|run| run.rate),
                median(|run| run.processor),
                median(|run| run.head_faults),
                median(|run| run.left),
            )?,
        }
    }
    writeln!(
        page,
        "\n**Beside it.** Load average before {}, after {}; others and the kernel kept {:.2} of {} cores busy.",
        beside.load_before, beside.load_after, beside.others, beside.cores
    )?;
    Ok(page)
}
