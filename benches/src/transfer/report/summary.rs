//! The answer: where the mapping wins, where `sendfile` wins, and between which sizes that turns.

use foliomq_benches::figures::{self, Spread, significant};

use crate::network;
use crate::results::{Place, Results};
use crate::run::Sample;
use crate::source::Pattern;
use crate::ways;

use super::table::Table;
use super::verdict::{self, Metric};
use super::{compared, list, times};

/// The section.
pub fn section(results: &Results) -> String {
    let mut text = "## In short\n\n".to_owned();
    text += "The mapping's best way (`writev` of many messages; `write` of large pieces) against `sendfile`, by throughput \
             and by the processor time of both ends. A win is a median more than 5 % ahead, in at least four rounds of five.\n\n";
    for (metric, name) in [
        (Metric::Throughput, "Throughput"),
        (Metric::Cost, "Processor time"),
    ] {
        let mut table = Table::new([
            "network",
            "messages",
            &format!("{name}: who wins"),
            "crossover",
        ]);
        for (network, pattern) in compared(results) {
            table.row([
                network.name(),
                pattern.name(),
                &verdict::course(results, network, pattern, metric),
                &verdict::crossover(results, network, pattern, metric),
            ]);
        }
        text += &table.markdown();
    }
    text += "By how much, `mmap` ÷ `sendfile`, above 1 where the mapping is better:\n\n";
    text += &by_how_much(results);
    text += &list(findings(results));
    text + "\n"
}

fn by_how_much(results: &Results) -> String {
    let mut columns = vec!["size".to_owned()];
    for (network, pattern) in compared(results) {
        columns.push(format!("{}, {}", network.name(), pattern.name()));
    }
    let mut table = Table::new(columns);
    for &size in &results.plan.sizes {
        let mut row = vec![figures::bytes(size as u64)];
        for (network, pattern) in compared(results) {
            row.push(times(&verdict::ratios(
                results,
                network,
                pattern,
                size,
                Metric::Throughput,
            )));
        }
        table.row(row);
    }
    table.markdown()
}

/// What else the figures say, each where it was measured.
fn findings(results: &Results) -> Vec<String> {
    let mut findings = vec![best(results)];
    findings.extend(small(results));
    findings.extend(waking(results));
    findings.extend(linearising(results));
    findings.extend(zero_copy(results));
    findings
}

/// Which way is the fastest, by network and pattern, and how often.
fn best(results: &Results) -> String {
    let mut counts: Vec<(ways::Kind, usize)> = Vec::new();
    let mut all = 0;
    for (network, pattern) in compared(results) {
        for &size in &results.plan.sizes {
            let cells = results.cells.iter().filter(|cell| {
                let place = cell.place;
                (place.network, place.pattern, place.size) == (network, pattern, size)
            });
            let throughput = |cell: &&crate::results::Cell| cell.spread(Sample::throughput).median;
            let Some(best) = cells.max_by(|a, b| throughput(a).total_cmp(&throughput(b))) else {
                continue;
            };
            all += 1;
            match counts.iter_mut().find(|(way, _)| *way == best.place.way) {
                Some((_, count)) => *count += 1,
                None => counts.push((best.place.way, 1)),
            }
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts: Vec<String> = counts
        .iter()
        .map(|(way, count)| format!("{} in {count}", way.name()))
        .collect();
    format!(
        "**The fastest of all ways**, over {all} cases (network, pattern, size): {}.",
        counts.join(", ")
    )
}

/// What gathering is worth for small messages.
fn small(results: &Results) -> Option<String> {
    let size = 1 << 10;
    let at = |way| {
        results.cell(Place {
            network: network::Kind::Loopback,
            pattern: Pattern::Scattered,
            size,
            way,
        })
    };
    let (gathered, single, sendfile) = (
        at(ways::Kind::MappedWritev)?,
        at(ways::Kind::MappedWrite)?,
        at(ways::Kind::Sendfile)?,
    );
    let [gathered, single, sendfile] = [gathered, single, sendfile]
        .map(|cell| figures::count(cell.spread(|s| s.pieces as f64 / s.seconds).median));
    Some(format!(
        "**Small messages are decided by calls, not by copies.** 1 KiB scattered, loopback: {gathered} messages/s by `writev` \
         of up to 64, {single} by one `write` each, {sendfile} by one `sendfile` each. `sendfile` takes one range of one \
         file, so it cannot gather; a mapping can."
    ))
}

/// What it costs to wake the consumer.
fn waking(results: &Results) -> Option<String> {
    let size = 1 << 20;
    let costs = |pattern, way| {
        let cell = results.cell(Place {
            network: network::Kind::Loopback,
            pattern,
            size,
            way,
        })?;
        Some(significant(cell.spread(Sample::sender_cost).median))
    };
    let sleeps = |way| {
        let place = Place {
            network: network::Kind::Loopback,
            pattern: Pattern::Bulk,
            size,
            way,
        };
        let sleeps = |s: &Sample| s.consumer.voluntary_switches as f64 / s.bytes as f64 * 1e6;
        Some(significant(results.cell(place)?.spread(sleeps).median))
    };
    let (sendfile, write) = (ways::Kind::Sendfile, ways::Kind::MappedWrite);
    Some(format!(
        "**What waking the consumer costs the sender.** 1 MiB in bulk, loopback: the sender needs {} s/GB for `sendfile` and {} \
         for `write` from the mapping while the consumer sleeps in `recv` ({} and {} times per MB), and {} and {} with one \
         that never sleeps.",
        costs(Pattern::Bulk, sendfile)?,
        costs(Pattern::Bulk, write)?,
        sleeps(sendfile)?,
        sleeps(write)?,
        costs(Pattern::Polled, sendfile)?,
        costs(Pattern::Polled, write)?,
    ))
}

/// What a device without scatter-gather costs `sendfile`.
fn linearising(results: &Results) -> Option<String> {
    let at = |network, way| Place {
        network,
        pattern: Pattern::Bulk,
        size: 1 << 20,
        way,
    };
    let of = |left, right, way| results.ratio(at(left, way), at(right, way), Sample::throughput);
    let (linear, cut, whole) = (
        network::Kind::VethLinear,
        network::Kind::VethCut,
        network::Kind::Veth,
    );
    let sendfile = ways::Kind::Sendfile;
    let cost = |network| {
        results
            .cell(at(network, sendfile))
            .map(|cell| cell.spread(Sample::cost))
    };
    let seconds = |spread: Option<Spread>| spread.map(|spread| significant(spread.median));
    Some(format!(
        "**A device without scatter-gather** slows `sendfile` (1 MiB in bulk) to {} of the veth that has it all; but most of that is \
         packets of 1500 bytes instead of 64 KiB: with scatter-gather and such packets it is {}. Linearising alone is the \
         step between, {}, and {} instead of {} s/GB.",
        of(linear, whole, sendfile)?,
        of(cut, whole, sendfile)?,
        of(linear, cut, sendfile)?,
        seconds(cost(linear))?,
        seconds(cost(cut))?,
    ))
}

/// What zero-copy sending is worth where the kernel cannot keep the promise.
fn zero_copy(results: &Results) -> Option<String> {
    let at = |way| Place {
        network: network::Kind::Loopback,
        pattern: Pattern::Bulk,
        size: 1 << 20,
        way,
    };
    let copied = crate::predictions::copied(results.cell(at(ways::Kind::ZeroCopy))?)?;
    let against = |left, right| results.ratio(at(left), at(right), Sample::throughput);
    Some(format!(
        "**`MSG_ZEROCOPY` and `send_zc` do not help between two ends of one machine**: on loopback the kernel reports {:.0} % of \
         such calls as copied after all. 1 MiB in bulk they reach {} of `write`, and {} of io_uring's plain `send`.",
        100.0 * copied,
        against(ways::Kind::ZeroCopy, ways::Kind::MappedWrite)?,
        against(ways::Kind::UringSendZc, ways::Kind::UringSend)?,
    ))
}
