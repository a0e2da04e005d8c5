//! Copies by the processor: what reasoning says, and what counters show.

use foliomq_benches::figures::significant;

use crate::predictions;
use crate::profile::Profile;
use crate::results::{Place, Results};
use crate::run::Sample;
use crate::source::Pattern;
use crate::ways::Kind;

use super::table::Table;
use super::{details, list};

/// Bytes of a piece for which copies are looked at.
const LOOKED_AT: usize = 1 << 20;

/// The section.
pub fn section(results: &Results) -> String {
    let mut text = "## Copies by the processor\n\nDerived, per byte delivered: what the processor reads and writes again on its way \
                    from the page cache into the consumer's buffer.\n\n"
        .to_owned();
    text += &derived();
    text += "Confirmed, 1 MiB in bulk, as far as counters reach: packets in one piece of memory at the device (tracepoint \
             `net:net_dev_start_xmit`), the kernel's notices about zero-copy calls, and the processor time that samples of the \
             running kernel (`perf record`) find in its copying functions, seconds per GB. A copy that is not there \
             cannot be sampled: the sender's column is 0 for `sendfile` and `splice` where pages pass through.\n\n";
    text += &confirmed(results);
    text += &functions(results);
    text
}

/// How many copies each way needs: at the sender, for the network, at the consumer.
fn derived() -> String {
    let mut table = Table::new([
        "way",
        "sender's call",
        "loopback, veth with scatter-gather",
        "without scatter-gather",
        "which",
    ]);
    for way in Kind::ALL {
        let (call, gathering, linear, which) = match way {
            Kind::ReadWrite | Kind::ReadGathered => (
                2,
                3,
                4,
                "page cache to buffer, buffer to socket, socket to consumer",
            ),
            Kind::Sendfile | Kind::Splice => (0, 1, 2, "socket to consumer"),
            Kind::MappedWrite | Kind::MappedWritev | Kind::UringSend => {
                (1, 2, 3, "page cache to socket, socket to consumer")
            }
            Kind::ZeroCopy | Kind::UringSendZc => (
                0,
                2,
                2,
                "by the kernel when the packet turns back, socket to consumer",
            ),
        };
        table.row([
            way.name(),
            &call.to_string(),
            &gathering.to_string(),
            &linear.to_string(),
            which,
        ]);
    }
    let notes = [
        "Without scatter-gather there is one more for each: packets are made one piece of memory. After that copy the \
         zero-copy ways need none when the packet turns back.",
        "Checksums are left to the device on these networks, so none is computed. Bytes that DMA would move are not counted: \
         there are none.",
    ];
    table.markdown() + &list(notes.map(String::from)) + "\n"
}

fn confirmed(results: &Results) -> String {
    let columns = [
        "network",
        "way",
        "packets in one piece",
        "zero-copy calls that were copied",
        "sender copying",
        "of all its time",
        "consumer copying",
        "of all its time",
    ];
    let mut table = Table::new(columns);
    for network in results.networks() {
        for way in results.ways(Pattern::Bulk) {
            let place = Place {
                network,
                pattern: Pattern::Bulk,
                size: LOOKED_AT,
                way,
            };
            let Some(cell) = results.cell(place) else {
                continue;
            };
            let percent = |share: Option<f64>| {
                share.map_or("–".into(), |share| format!("{:.0} %", 100.0 * share))
            };
            let profile = results
                .profiles
                .iter()
                .find(|profile| profile.place == place);
            let seconds = |share: fn(&Profile) -> Option<f64>, cost: f64| {
                profile
                    .and_then(share)
                    .map_or("–".into(), |share| significant(share * cost))
            };
            let sender = |p: &Profile| (p.sender.samples >= ENOUGH).then_some(p.sender.copying);
            let consumer =
                |p: &Profile| (p.consumer.samples >= ENOUGH).then_some(p.consumer.copying);
            let consumer_cost = cell
                .spread(|s: &Sample| s.consumer.time / s.bytes as f64 * 1e9)
                .median;
            table.row([
                network.name().to_owned(),
                way.name().to_owned(),
                percent(predictions::linear(cell)),
                percent(predictions::copied(cell)),
                seconds(sender, cell.spread(Sample::sender_cost).median),
                percent(profile.and_then(sender)),
                seconds(consumer, consumer_cost),
                percent(profile.and_then(consumer)),
            ]);
        }
    }
    table.markdown()
}

/// Fewer samples than this say nothing.
const ENOUGH: u64 = 30;

fn functions(results: &Results) -> String {
    if results.profiles.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["network", "way", "sender", "consumer"]);
    let top = |shares: &crate::profile::Shares| {
        let named = shares
            .top
            .iter()
            .map(|(name, share)| format!("`{name}` {:.0} %", 100.0 * share));
        named.collect::<Vec<_>>().join(", ")
    };
    for Profile {
        place,
        sender,
        consumer,
    } in &results.profiles
    {
        table.row([
            place.network.name(),
            place.way.name(),
            &top(sender),
            &top(consumer),
        ]);
    }
    let note = "Where interrupts are switched off samples are late: what `_raw_spin_unlock_irqrestore` and `handle_softirqs` get is \
                the waking of the other core and the network's own work.\n\n";
    details(
        "The busiest functions",
        &format!("{note}{}", table.markdown()),
    )
}
