//! What textbooks say, and what was counted.

use foliomq_benches::figures::{self, significant};

use crate::network;
use crate::predictions;
use crate::results::{Cell, Place, Results};
use crate::run::Sample;
use crate::source::Pattern;
use crate::ways;

use super::list;
use super::table::Table;

/// Bytes of the messages for which calls are counted.
const COUNTED: usize = 64 << 10;

/// The section.
pub fn section(results: &Results) -> String {
    format!(
        "## The textbook, and what was counted\n\nThe textbook's table reads: `read` + `write` four copies and four context \
         switches; `mmap` + `write` three and four; `sendfile` three and two; `sendfile` with scatter-gather DMA two copies \
         (some say: none) and two switches. What happened here, for messages of 64 KiB, scattered, on loopback:\n\n{}{}\n",
        counted(results),
        list(wrong(results))
    )
}

/// Calls, mode switches and context switches of each way.
fn counted(results: &Results) -> String {
    let columns = [
        "way",
        "system calls per message",
        "of these, by the kernel's count",
        "mode switches per message",
        "page faults",
        "context switches of the sender per 1000 messages",
        "calls per message of 1 KiB",
    ];
    let mut table = Table::new(columns);
    for way in results.ways(Pattern::Scattered) {
        let place = |size| Place {
            network: network::Kind::Loopback,
            pattern: Pattern::Scattered,
            size,
            way,
        };
        let Some(cell) = results.cell(place(COUNTED)) else {
            continue;
        };
        let small = results
            .cell(place(1 << 10))
            .map_or("–".into(), |cell| short(cell.calls()));
        let checked = &cell.checked;
        let kernel = checked
            .kernel_calls
            .map(|calls| short(calls as f64 / checked.pieces.max(1) as f64));
        table.row([
            way.name().to_owned(),
            short(cell.calls()),
            kernel.unwrap_or("not asked".into()),
            short(2.0 * cell.calls()),
            checked.faults.to_string(),
            significant(cell.spread(context_switches).median),
            small,
        ]);
    }
    let agree = results
        .cells
        .iter()
        .filter(|cell| cell.checked.kernel_calls == Some(cell.checked.calls))
        .count();
    let asked = results
        .cells
        .iter()
        .filter(|cell| cell.checked.kernel_calls.is_some())
        .count();
    let agreement = match asked {
        0 => {
            "The program's own counting of its calls could not be compared with the kernel's here."
                .to_owned()
        }
        asked => format!(
            "Calls are counted by the program where it makes them, and by the kernel (tracepoint `raw_syscalls:sys_enter` of the \
             sender's thread): the two agree exactly in {agree} of {asked} cases."
        ),
    };
    table.markdown()
        + &agreement
        + " A system call is two mode switches, into the kernel and back; a page fault would be two more, but the mapping is \
           populated once and then has none. Interrupts are not counted.\n\n"
}

fn context_switches(sample: &Sample) -> f64 {
    let switches = sample.sender.voluntary_switches + sample.sender.involuntary_switches;
    1000.0 * switches as f64 / sample.pieces.max(1) as f64
}

/// `1`, `1.25`, `0.016`.
fn short(value: f64) -> String {
    format!("{}", (value * 1e3).round() / 1e3)
}

fn wrong(results: &Results) -> Vec<String> {
    let mut lines = vec![
        "**\"sendfile saves two context switches.\"** What it saves is mode switches: one call instead of two, so two mode switches \
         instead of four. A context switch puts another thread on the core; how often that happens depends on full and empty \
         socket buffers, not on the number of calls: see the column beside."
            .to_owned(),
        "**\"mmap + write has four.\"** It counts the `mmap`, which is made once for a segment, not once for a message. For a message \
         it is one call, as `sendfile` is; with `writev`, a fraction of one."
            .to_owned(),
        "**\"sendfile with scatter-gather DMA: two copies\"**, and the same page often: \"zero copy\". The two are the device's, from disk to \
         memory and from memory to the wire, by the textbook's own counting; it is zero only for the processor, and \
         only for the sender's. On these networks there is no DMA at all."
            .to_owned(),
        consumer(results),
    ];
    lines.extend(slower(results));
    lines.extend(linear(results));
    lines.extend(notices(results));
    lines
}

/// The copy that no sender can save.
fn consumer(results: &Results) -> String {
    let share = |way| {
        let profile = results.profiles.iter().find(|profile| {
            (profile.place.network, profile.place.way) == (network::Kind::Loopback, way)
                && profile.consumer.samples > 0
        })?;
        Some(format!("{:.0} %", 100.0 * profile.consumer.copying))
    };
    let shown = share(ways::Kind::Sendfile).zip(share(ways::Kind::MappedWrite)).map_or_else(String::new, |(a, b)| {
        format!(": {a} of the consumer's time after `sendfile`, {b} after `write` (1 MiB in bulk, loopback)")
    });
    format!(
        "**The consumer is missing from the table.** Its copy, from the kernel into its buffer, is there for every way{shown}. Where \
         the consumer is the slower end, what the sender saves is not seen in throughput."
    )
}

/// Where fewer copies are not faster.
fn slower(results: &Results) -> Option<String> {
    let at = |size, way| Place {
        network: network::Kind::Loopback,
        pattern: Pattern::Scattered,
        size,
        way,
    };
    let ratio = |size, right| {
        results.ratio(
            at(size, ways::Kind::Sendfile),
            at(size, right),
            Sample::throughput,
        )
    };
    let (small, large) = (128, 1 << 20);
    Some(format!(
        "**\"Fewer copies are faster.\"** Not by themselves. `sendfile` reaches {} of `read` + `write` for messages of {}, and {} for {}, \
         with half the calls and two copies fewer. It takes a reference for each page, gives it back on the other core, and fills a \
         packet with 17 pieces of memory at most (unless the kernel was built otherwise), however small they are.{}",
        ratio(small, ways::Kind::ReadWrite)?,
        figures::bytes(small as u64),
        ratio(large, ways::Kind::ReadWrite)?,
        figures::bytes(large as u64),
        moved(results).unwrap_or_default(),
    ))
}

/// What the consumer's copy costs when the sender made none.
fn moved(results: &Results) -> Option<String> {
    let copying = |way| {
        let place = Place {
            network: network::Kind::Loopback,
            pattern: Pattern::Bulk,
            size: 1 << 20,
            way,
        };
        let profile = results
            .profiles
            .iter()
            .find(|profile| profile.place == place)?;
        let cost = results
            .cell(place)?
            .spread(|sample| sample.consumer.time / sample.bytes as f64 * 1e9)
            .median;
        Some(significant(profile.consumer.copying * cost))
    };
    Some(format!(
        " And a copy is no constant: the likely reason is that the sender's copy brings the bytes into a cache from which the consumer's then takes them. 1 MiB in bulk, \
         loopback, the consumer spends {} s/GB copying after `sendfile` and {} after `write` from the mapping.",
        copying(ways::Kind::Sendfile)?,
        copying(ways::Kind::MappedWrite)?,
    ))
}

/// What a device without scatter-gather gets.
fn linear(results: &Results) -> Option<String> {
    let share = |network| {
        let place = Place {
            network,
            pattern: Pattern::Bulk,
            size: 1 << 20,
            way: ways::Kind::Sendfile,
        };
        results
            .cell(place)
            .and_then(predictions::linear)
            .map(|share| format!("{:.0} %", 100.0 * share))
    };
    Some(format!(
        "**\"Without scatter-gather sendfile copies into the socket's buffer.\"** Linux hands pages to the socket all the same; the \
         copy is made when a packet is cut for the device. Packets in one piece of memory, counted at the device: {} \
         without scatter-gather, {} with it.",
        share(network::Kind::VethLinear)?,
        share(network::Kind::VethCut)?,
    ))
}

/// A notice that says "not copied" of bytes that were.
fn notices(results: &Results) -> Option<String> {
    let place = Place {
        network: network::Kind::VethLinear,
        pattern: Pattern::Bulk,
        size: 1 << 20,
        way: ways::Kind::ZeroCopy,
    };
    let cell: &Cell = results.cell(place)?;
    let (copied, linear) = (predictions::copied(cell)?, predictions::linear(cell)?);
    Some(format!(
        "**The notices of `MSG_ZEROCOPY` are no count of copies.** Without scatter-gather (1 MiB in bulk) the kernel says of {:.0} % of the \
         calls that it copied, while {:.0} % of their packets were copied into one piece. They are set on one path of the kernel \
         that copies, and not on all of them.",
        100.0 * copied,
        100.0 * linear,
    ))
}
