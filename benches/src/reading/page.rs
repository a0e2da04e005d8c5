//! The page `docs/benchmarks/read.md`.

use std::fmt::{Result, Write};

use foliomq_benches::figures::{Spread, bytes, count};

use crate::plan::{Condition, Order, QUEUES};
use crate::results::{Results, Row};
use crate::targets::predicted;
use crate::ways::Way;

const WAYS: &str = "\
| way | what it does |
|---|---|
| mapped, cursor | the store's `Cursor`: the index is asked for the next entries, each body is a slice of the mapped page |
| mapped, read_many | the store's `read_many` of 64 (`read` at random): messages that may be kept, each with a share of its mapping |
| store, pread each | the same cursor on a store opened with `ReadMode::Buffered`: the index, then one `pread` into one buffer |
| bare pread each | one `pread` per message into one buffer, at positions that lie at hand in an array: no index, no check |
| BufReader 64 KiB | a `BufReader` over the log's files, which steps over what it does not want |
| chunks of 1 MiB | `pread` of 1 MiB at a time, messages picked out of the buffer at known positions |
| bare memory | the same bytes in a `Vec`, positions at hand: the floor of any way |";

const CONDITIONS: &str = "\
*Warm*: a whole pass came before, so pages are cached and mapped. *A writer beside*: one more thread appends 100 MiB/s of \
bodies of the same size to another queue of the same store. *Cold*: the store, long since written out, is closed, its files are \
dropped from the page cache with `posix_fadvise(DONTNEED)` (no root needed; `drop_caches` is not used), it is opened again, and \
what opening read is dropped too; then one pass at most. *Half the memory*: cold, and then this process enters a memory cgroup \
whose limit is half of the bytes that the pass goes over, and 8 MiB.";

impl Results {
    /// The page.
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> Result {
        writeln!(page, "# Reading: mapped pages against reads of the file\n")?;
        writeln!(
            page,
            "What does it buy a reader to get a slice of the mapped page, rather than a copy that the kernel makes for each \
             message? This page and its figures are written by `{}`; every sample is in `read.json`.\n",
            self.command
        )?;
        self.write_machine(page)?;
        self.write_short(page)?;
        self.write_method(page)?;
        for order in Order::ALL {
            self.write_warm(page, order)?;
        }
        writeln!(
            page,
            "![Messages read per second by condition](read-conditions.svg)\n"
        )?;
        for condition in Condition::ALL.into_iter().skip(1) {
            self.write_condition(page, condition)?;
        }
        self.write_surprises(page)
    }

    fn write_machine(&self, page: &mut String) -> Result {
        let mut rows = self.machine.rows();
        let (plan, beside) = (&self.plan, &self.beside);
        rows.push((
            "scale",
            format!(
                "{}, {} rounds, {:.0} s in all",
                plan.name, plan.rounds, beside.took
            ),
        ));
        rows.push((
            "beside it",
            format!(
                "{:.1} of {} cores busy with other programs, in the mean",
                beside.others, beside.cores
            ),
        ));
        writeln!(page, "| | |\n|---|---|")?;
        rows.iter()
            .try_for_each(|(name, value)| writeln!(page, "| {name} | {value} |"))?;
        if beside.disturbed() {
            writeln!(
                page,
                "\n**The machine was not quiet: take the ratios and their spread, not the rates.**"
            )?;
        }
        writeln!(page)
    }

    fn write_short(&self, page: &mut String) -> Result {
        writeln!(
            page,
            "## In short\n\n![How many times as fast as a pread per message](read-ratio.svg)\n"
        )?;
        writeln!(
            page,
            "| warm, one thread | ratio (spread) | per processor time | target | |\n|---|---|---|---|---|"
        )?;
        for verdict in self.verdicts() {
            writeln!(
                page,
                "| {} | {} | {} | ≥ {}× | {} |",
                verdict.what,
                verdict.ratio,
                verdict.processor,
                verdict.target,
                verdict.word()
            )?;
        }
        writeln!(page)?;
        let floor = [Order::Sequential, Order::Random]
            .into_iter()
            .filter_map(|order| {
                let row = self.row(1 << 10, order, Condition::Warm)?;
                let ratio = row.ratio(Way::Memory, Way::Pread)?;
                Some(format!("{} {ratio}", order.title()))
            });
        let floor: Vec<String> = floor.collect();
        writeln!(
            page,
            "The floor: the same bytes in memory of the process, without any index, are this many times as fast as a bare `pread` per message at 1 KiB: {}.\n",
            floor.join(", ")
        )
    }

    fn write_method(&self, page: &mut String) -> Result {
        let plan = &self.plan;
        writeln!(page, "## How it was measured\n\n{WAYS}\n\n{CONDITIONS}\n")?;
        writeln!(
            page,
            "Two stores hold the same messages: one is read through its mapping, the other through its files. Each has up to {} \
             of bodies in one queue, without gaps (*sequential*, *random*), and as many in {QUEUES} queues that alternate \
             (*one queue of eight*). Of every body one byte in 64 is summed, so every cache line is touched; in a whole pass \
             before the first sample the sum is compared with that of what was appended. Ways take turns, forwards in one round \
             and backwards in the next, {} ms each (five times that where the page cache is cold); a ratio is taken within a \
             round. Tables give the median, and the lowest and highest in parentheses.\n",
            bytes(plan.bytes),
            plan.time.as_millis()
        )?;
        self.skipped
            .iter()
            .try_for_each(|skipped| writeln!(page, "**Skipped:** {skipped}\n"))
    }

    fn write_warm(&self, page: &mut String, order: Order) -> Result {
        writeln!(page, "## Warm, {}\n\nMessages per second.\n", order.title())?;
        if order == Order::Sequential {
            writeln!(
                page,
                "![Messages and bytes per second by size](read-sizes.svg)\n"
            )?;
        }
        let rows = self
            .plan
            .bodies
            .iter()
            .filter_map(|body| self.row(*body, order, Condition::Warm));
        let rows: Vec<&Row> = rows.collect();
        let heads: Vec<String> = rows.iter().map(|row| bytes(row.case.body as u64)).collect();
        writeln!(
            page,
            "| | {} |\n|---|{}",
            heads.join(" | "),
            "---|".repeat(heads.len())
        )?;
        for way in Way::ALL.into_iter().filter(|way| way.can(order)) {
            let cells: Vec<String> = rows.iter().map(|row| cell(row.rate(way))).collect();
            writeln!(page, "| {} | {} |", way.title(), cells.join(" | "))?;
        }
        let ratios: Vec<String> = rows.iter().map(|row| ratio(row)).collect();
        writeln!(
            page,
            "| **mapped, cursor / bare pread** | {} |",
            ratios.join(" | ")
        )?;
        let expected: Vec<String> = rows.iter().map(|row| predicted(row).to_string()).collect();
        writeln!(page, "| predicted | {} |\n", expected.join(" | "))
    }

    fn write_condition(&self, page: &mut String, condition: Condition) -> Result {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|row| row.case.condition == condition)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let device = if condition.is_cold() {
            "device bytes read per body byte: cursor, pread | "
        } else {
            ""
        };
        writeln!(page, "## {}\n", capital(condition.title()))?;
        writeln!(
            page,
            "| | mapped, cursor | store, pread each | bare pread each | chunks of 1 MiB | cursor / bare pread | {device}predicted |"
        )?;
        writeln!(
            page,
            "|---|---|---|---|---|---|---|{}",
            if device.is_empty() { "" } else { "---|" }
        )?;
        for row in rows {
            let ways = [Way::Mapped, Way::Buffered, Way::Pread, Way::Chunks];
            let cells: Vec<String> = ways.iter().map(|way| cell(row.rate(*way))).collect();
            let device = if device.is_empty() {
                String::new()
            } else {
                format!("{} | ", devices(row))
            };
            let case = format!(
                "{}, {}",
                bytes(row.case.body as u64),
                row.case.order.title()
            );
            writeln!(
                page,
                "| {case} | {} | {} | {device}{} |",
                cells.join(" | "),
                ratio(row),
                predicted(row)
            )?;
        }
        writeln!(page)
    }

    fn write_surprises(&self, page: &mut String) -> Result {
        let surprises = self.surprises();
        writeln!(
            page,
            "## Surprises\n\nRatios of the cursor to the bare `pread`: {} of {} medians lie outside of what was written down before the first run.\n",
            surprises.len(),
            self.rows.len()
        )?;
        surprises
            .iter()
            .try_for_each(|surprise| writeln!(page, "- {surprise}"))
    }
}

fn cell(spread: Option<Spread>) -> String {
    spread.map_or("–".to_owned(), |s| {
        format!(
            "{} ({} to {})",
            count(s.median),
            count(s.low),
            count(s.high)
        )
    })
}

fn ratio(row: &Row) -> String {
    row.ratio(Way::Mapped, Way::Pread)
        .map_or("–".to_owned(), |ratio| ratio.to_string())
}

fn devices(row: &Row) -> String {
    let of = |way| {
        row.cell(way)
            .map_or(0.0, |cell| Spread::of(&cell.device).median)
    };
    format!("{:.2}, {:.2}", of(Way::Mapped), of(Way::Pread))
}

fn capital(text: &str) -> String {
    let (first, rest) = text.split_at(1);
    format!("{}{rest}", first.to_uppercase())
}
