//! The page `docs/benchmarks/crates.md`.

use std::fmt::{Result, Write};

use foliomq_benches::figures::{self, count};

use crate::evidence::Calls;
use crate::notes;
use crate::peer::{Flush, Name};
use crate::results::{Results, Row, Work};

const INTRODUCTION: &str = "\
FolioMQ's store beside the crates that a Rust program would pick instead. Every run is a process of its own with an empty \
folder: it appends, and then goes over everything in order, three times. The systems take turns, forwards in one round and \
backwards in the next, after a round that is not counted; the tables give the median and, in parentheses, lowest and \
highest. FolioMQ is measured through its public API as a program would embed it: topic, queue, header, CRC-32C over all, \
and the clock of its appends stops when the index has every message. Reads touch one byte in 64 of every body, and what they \
saw is compared with what was appended.";

impl Results {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> Result {
        writeln!(
            page,
            "# FolioMQ and other crates\n\nThis page is written by `{}`.\n\n{INTRODUCTION}\n",
            self.command
        )?;
        self.write_machine(page)?;
        self.write_verdicts(page)?;
        writeln!(page, "![Appended and read per second](crates.svg)\n")?;
        self.write_rates(
            page,
            "Append, nothing forces a flush",
            Work::Append,
            Flush::Never,
        )?;
        self.write_rates(
            page,
            "Append, each append flushed",
            Work::Append,
            Flush::Each,
        )?;
        writeln!(
            page,
            "A small number of flushes per second says more about the disk than about a crate; that every flush is there is counted below.\n"
        )?;
        self.write_rates(
            page,
            "Sequential read, warm, whole body touched",
            Work::Read,
            Flush::Never,
        )?;
        writeln!(
            page,
            "The fastest of three passes; the first, in which a mapping is empty, is in `crates.json`. All have appended the same messages before, in batches of 100 (walrus-rust one at a time: it flushes its batches); okaywal has flushed them, since it cannot else.\n"
        )?;
        self.write_rates(
            page,
            "Sequential read, messages per second of processor time of the reader",
            Work::ReadProcessor,
            Flush::Never,
        )?;
        writeln!(
            page,
            "What remains true on a busy machine; background threads and the kernel's own are not in it.\n"
        )?;
        self.write_calls(page)?;
        self.write_killed(page)?;
        write_notes(page)
    }

    fn write_machine(&self, page: &mut String) -> Result {
        let mut rows = self.machine.rows();
        let plan = &self.plan;
        rows.push((
            "scale",
            format!(
                "{}, {} rounds, {:.0} s in all",
                plan.name, plan.rounds, self.took
            ),
        ));
        rows.push((
            "beside it",
            format!(
                "{:.1} cores were busy with other programs, in the mean",
                self.others
            ),
        ));
        writeln!(page, "| | |\n|---|---|")?;
        rows.iter()
            .try_for_each(|(name, value)| writeln!(page, "| {name} | {value} |"))?;
        writeln!(page)
    }

    fn write_verdicts(&self, page: &mut String) -> Result {
        writeln!(
            page,
            "## FolioMQ against the fastest other\n\n| what | fastest other | ratio (spread) | target | |\n|---|---|---|---|---|"
        )?;
        for verdict in &self.verdicts {
            let target = verdict
                .target
                .map_or("–".to_owned(), |target| format!("≥ {target}×"));
            let other = verdict.against.title();
            writeln!(
                page,
                "| {} | {other} | {} | {target} | {} |",
                verdict.what,
                verdict.ratio,
                verdict.word()
            )?;
        }
        writeln!(page)
    }

    fn write_rates(&self, page: &mut String, title: &str, work: Work, flush: Flush) -> Result {
        let fits = |row: &&Row| row.work == work && row.case.flush == flush;
        let rows: Vec<&Row> = self.rows.iter().filter(fits).collect();
        let heads = rows.iter().map(|row| head(row, work));
        writeln!(
            page,
            "## {title}\n\nMessages per second.\n\n| | {} |",
            heads.collect::<Vec<_>>().join(" | ")
        )?;
        writeln!(page, "|---|{}", "---|".repeat(rows.len()))?;
        for name in Name::ALL {
            let cells = rows.iter().map(|row| self.cell(row, name));
            writeln!(
                page,
                "| {} | {} |",
                name.title(),
                cells.collect::<Vec<_>>().join(" | ")
            )?;
        }
        writeln!(page)
    }

    fn cell(&self, row: &Row, name: Name) -> String {
        row.spread(name).map_or("no such mode".to_owned(), |s| {
            format!(
                "{} ({} to {})",
                count(s.median),
                count(s.low),
                count(s.high)
            )
        })
    }

    fn write_calls(&self, page: &mut String) -> Result {
        writeln!(page, "## What an append does, counted\n")?;
        let Some(calls) = &self.calls else {
            return writeln!(page, "Not counted: there is no `strace` on this machine.\n");
        };
        writeln!(
            page,
            "System calls of a run under `strace -f -c`, less those of a run of one append. Bodies of 1 KiB.\n"
        )?;
        writeln!(
            page,
            "| | mode | appends | of messages | flushes | per append | writes |\n|---|---|---|---|---|---|---|"
        )?;
        for row in calls {
            let Calls {
                name,
                flush,
                batch,
                appends,
                ..
            } = row;
            let (flushes, writes): (Vec<_>, Vec<_>) = row
                .calls
                .iter()
                .partition(|(call, _)| crate::evidence::FLUSHES.contains(&call.as_str()));
            writeln!(
                page,
                "| {} | {} | {appends} | {batch} | {} | {:.2} | {} |",
                name.title(),
                notes::mode(*name, *flush),
                list(&flushes),
                row.flushes() as f64 / *appends as f64,
                list(&writes)
            )?;
        }
        writeln!(
            page,
            "\n`io_uring_enter` may carry many operations; FolioMQ's appends in the mode without flushes are stores into a mapping.\n"
        )
    }

    fn write_killed(&self, page: &mut String) -> Result {
        writeln!(
            page,
            "## What survives where nothing is flushed\n\n`kill -9` right after the last append returned; found after opening again. A power cut may take everything that the kernel had not written out, in all of them.\n\n| | appended | found |\n|---|---|---|"
        )?;
        for killed in &self.killed {
            writeln!(
                page,
                "| {} | {} | {} |",
                killed.name.title(),
                killed.appended,
                killed.found
            )?;
        }
        writeln!(page)
    }
}

fn head(row: &Row, work: Work) -> String {
    let body = figures::bytes(row.case.body as u64);
    match (work, row.case.batch) {
        (Work::Append, 1) => format!("{body}, one at a time"),
        (Work::Append, batch) => format!("{body}, batches of {batch}"),
        _ => body,
    }
}

fn list(calls: &[(&String, &i64)]) -> String {
    let calls: Vec<String> = calls
        .iter()
        .map(|(name, number)| format!("{number} {name}"))
        .collect();
    if calls.is_empty() {
        "none".to_owned()
    } else {
        calls.join(", ")
    }
}

fn write_notes(page: &mut String) -> Result {
    writeln!(
        page,
        "## Settings, and what each does not do\n\n| | settings | does not |\n|---|---|---|"
    )?;
    for name in Name::ALL {
        writeln!(
            page,
            "| {} | {} | {} |",
            name.title(),
            notes::settings(name),
            notes::lacks(name)
        )?;
    }
    Ok(())
}
