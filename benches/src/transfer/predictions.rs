//! What was expected, written down before the first run, and what came.

use foliomq_benches::figures::Spread;
use serde::Serialize;

use crate::network::Kind as Network;
use crate::results::{Cell, Place, Results};
use crate::run::Sample;
use crate::source::Pattern::{self, Bulk, Scattered};
use crate::ways::Kind as Way;

/// A number that was foretold.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Prediction {
    /// Of what.
    pub measure: Measure,
    /// The lowest that is no surprise.
    pub low: f64,
    /// The highest that is no surprise.
    pub high: f64,
    /// Why it was expected.
    pub why: &'static str,
}

/// What a prediction is about.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Throughput of the first divided by that of the second.
    Throughput(Place, Place),
    /// Processor seconds per byte of the sender, likewise.
    SenderCost(Place, Place),
    /// Processor seconds per byte of everyone, likewise.
    Cost(Place, Place),
    /// System calls of the sender for a piece.
    Calls(Place),
    /// Which share of the zero-copy calls the kernel says it copied.
    Copied(Place),
    /// Which share of the packets was one piece of memory when the device got it.
    Linear(Place),
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

const fn at(network: Network, pattern: Pattern, size: usize, way: Way) -> Place {
    Place {
        network,
        pattern,
        size,
        way,
    }
}

/// All of them. None was changed after the first run.
pub const ALL: [Prediction; 24] = [
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Bulk, MIB, Way::Sendfile),
            at(Network::Loopback, Bulk, MIB, Way::MappedWrite),
        ),
        low: 1.0,
        high: 1.7,
        why: "the consumer's copy remains and limits both; only the sender's copy goes away",
    },
    Prediction {
        measure: Measure::SenderCost(
            at(Network::Loopback, Bulk, MIB, Way::Sendfile),
            at(Network::Loopback, Bulk, MIB, Way::MappedWrite),
        ),
        low: 0.2,
        high: 0.6,
        why: "no copy is left at the sender, but a reference for each page is",
    },
    Prediction {
        measure: Measure::Cost(
            at(Network::Loopback, Bulk, MIB, Way::Sendfile),
            at(Network::Loopback, Bulk, MIB, Way::MappedWrite),
        ),
        low: 0.5,
        high: 0.85,
        why: "one copy instead of two",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Bulk, MIB, Way::ReadWrite),
            at(Network::Loopback, Bulk, MIB, Way::MappedWrite),
        ),
        low: 0.55,
        high: 0.9,
        why: "two copies at the sender instead of one; the buffer stays in the cache",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 128, Way::MappedWritev),
            at(Network::Loopback, Scattered, 128, Way::Sendfile),
        ),
        low: 5.0,
        high: 25.0,
        why: "64 messages per system call against one, and sendfile costs more per call than write",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, KIB, Way::MappedWritev),
            at(Network::Loopback, Scattered, KIB, Way::Sendfile),
        ),
        low: 2.0,
        high: 10.0,
        why: "as above; a copy of 1 KiB is much cheaper than a system call",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 128, Way::MappedWrite),
            at(Network::Loopback, Scattered, 128, Way::Sendfile),
        ),
        low: 1.2,
        high: 3.0,
        why: "one call each, but sendfile goes through an internal pipe and takes a page reference",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 16 * KIB, Way::MappedWritev),
            at(Network::Loopback, Scattered, 16 * KIB, Way::Sendfile),
        ),
        low: 0.8,
        high: 1.5,
        why: "the crossover is expected between 4 and 64 KiB",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 128, Way::ReadGathered),
            at(Network::Loopback, Scattered, 128, Way::ReadWrite),
        ),
        low: 1.3,
        high: 3.0,
        why: "it saves the writes, not the reads",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 128, Way::UringSend),
            at(Network::Loopback, Scattered, 128, Way::MappedWrite),
        ),
        low: 0.9,
        high: 2.0,
        why: "one mode switch for 64 messages, but a whole send for each",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Scattered, 128, Way::UringSendZc),
            at(Network::Loopback, Scattered, 128, Way::UringSend),
        ),
        low: 0.2,
        high: 0.8,
        why: "a notice for each message, and the kernel copies in the end",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Bulk, MIB, Way::ZeroCopy),
            at(Network::Loopback, Bulk, MIB, Way::MappedWrite),
        ),
        low: 0.4,
        high: 1.0,
        why: "the copy is only put off, and pinning pages and notices come on top",
    },
    Prediction {
        measure: Measure::Copied(at(Network::Loopback, Bulk, MIB, Way::ZeroCopy)),
        low: 0.99,
        high: 1.0,
        why: "what is looped back is copied, since the receiver may keep it for ever",
    },
    Prediction {
        measure: Measure::Copied(at(Network::Veth, Bulk, MIB, Way::ZeroCopy)),
        low: 0.99,
        high: 1.0,
        why: "the same: the other end is on this machine too",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Loopback, Bulk, MIB, Way::Splice),
            at(Network::Loopback, Bulk, MIB, Way::Sendfile),
        ),
        low: 0.8,
        high: 1.2,
        why: "sendfile is a splice through a pipe that the kernel keeps for it",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::Veth, Bulk, MIB, Way::Sendfile),
            at(Network::Veth, Bulk, MIB, Way::MappedWrite),
        ),
        low: 1.0,
        high: 1.7,
        why: "a veth pair passes pages on, as loopback does",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::VethLinear, Bulk, MIB, Way::Sendfile),
            at(Network::Veth, Bulk, MIB, Way::Sendfile),
        ),
        low: 0.05,
        high: 0.4,
        why: "packets of 1500 bytes instead of 64 KiB: what is paid for each packet is paid 44 times",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::VethLinear, Bulk, MIB, Way::Sendfile),
            at(Network::VethCut, Bulk, MIB, Way::Sendfile),
        ),
        low: 0.6,
        high: 1.0,
        why: "linearising alone is one more copy of bytes that are in the cache, beside the cost of packets",
    },
    Prediction {
        measure: Measure::Throughput(
            at(Network::VethLinear, Bulk, MIB, Way::Sendfile),
            at(Network::VethLinear, Bulk, MIB, Way::MappedWrite),
        ),
        low: 0.95,
        high: 1.4,
        why: "the kernel copies once for sendfile and twice for write: sendfile keeps a lead, a small one",
    },
    Prediction {
        measure: Measure::Linear(at(Network::VethLinear, Bulk, MIB, Way::Sendfile)),
        low: 1.0,
        high: 1.0,
        why: "a device without scatter-gather gets nothing else",
    },
    Prediction {
        measure: Measure::Linear(at(Network::VethCut, Bulk, MIB, Way::Sendfile)),
        low: 0.0,
        high: 0.02,
        why: "cutting a packet needs no copy where pages may be gathered",
    },
    Prediction {
        measure: Measure::Calls(at(Network::Loopback, Scattered, KIB, Way::Sendfile)),
        low: 1.0,
        high: 1.01,
        why: "one range of one file for each call",
    },
    Prediction {
        measure: Measure::Calls(at(Network::Loopback, Scattered, KIB, Way::MappedWritev)),
        low: 1.0 / 64.0,
        high: 1.5 / 64.0,
        why: "64 messages for each call, a few calls cut short by a full socket",
    },
    Prediction {
        measure: Measure::Calls(at(Network::Loopback, Bulk, MIB, Way::Sendfile)),
        low: 1.0,
        high: 20.0,
        why: "the kernel's pipe holds 64 KiB, but the call goes on until all is sent; a full socket does not end it",
    },
];

/// A prediction and what was measured.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// What was foretold.
    pub prediction: Prediction,
    /// What came.
    pub measured: Spread,
}

impl Outcome {
    /// Whether the median lies outside of what was foretold.
    pub fn surprising(&self) -> bool {
        let Prediction { low, high, .. } = self.prediction;
        !(low..=high).contains(&self.measured.median)
    }
}

/// The outcome of each prediction that this run could test.
pub fn outcomes(results: &Results) -> Vec<Outcome> {
    let outcome = |prediction: Prediction| {
        prediction.measure.of(results).map(|measured| Outcome {
            prediction,
            measured,
        })
    };
    ALL.into_iter().filter_map(outcome).collect()
}

impl Measure {
    /// Its value; `None` if something it needs was skipped.
    fn of(&self, results: &Results) -> Option<Spread> {
        let alone = |place: &Place, figure: fn(&Cell) -> Option<f64>| {
            figure(results.cell(*place)?).map(|value| Spread::of(&[value]))
        };
        match self {
            Self::Throughput(left, right) => results.ratio(*left, *right, Sample::throughput),
            Self::SenderCost(left, right) => results.ratio(*left, *right, Sample::sender_cost),
            Self::Cost(left, right) => results.ratio(*left, *right, Sample::cost),
            Self::Calls(place) => alone(place, |cell| Some(cell.calls())),
            Self::Copied(place) => alone(place, copied),
            Self::Linear(place) => alone(place, linear),
        }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let versus = |what: &str, left: &Place, right: &Place| {
            let (left_name, right_name) = if left.network == right.network {
                (left.way.name().to_owned(), right.way.name().to_owned())
            } else {
                let name =
                    |place: &Place| format!("{} on {}", place.way.name(), place.network.name());
                (name(left), name(right))
            };
            let at = if left.network == right.network {
                format!("{}, ", left.network.name())
            } else {
                String::new()
            };
            format!("{what}, {at}{}: {left_name} / {right_name}", case(left))
        };
        match self {
            Self::Throughput(left, right) => versus("throughput", left, right),
            Self::SenderCost(left, right) => versus("sender's CPU per byte", left, right),
            Self::Cost(left, right) => versus("CPU per byte of both ends", left, right),
            Self::Calls(place) => one("system calls per message", place),
            Self::Copied(place) => one("share of calls that the kernel copied", place),
            Self::Linear(place) => one("share of packets in one piece of memory", place),
        }
    }
}

fn one(what: &str, place: &Place) -> String {
    format!(
        "{what}, {}, {}: {}",
        place.network.name(),
        case(place),
        place.way.name()
    )
}

fn case(place: &Place) -> String {
    let size = foliomq_benches::figures::bytes(place.size as u64);
    format!("{size} {}", place.pattern.name())
}

/// Which share of the zero-copy calls the kernel says it copied.
pub fn copied(cell: &Cell) -> Option<f64> {
    let notices = cell.rounds.iter().filter_map(|round| round.notices);
    let (calls, copied) = notices.fold((0, 0), |(calls, copied), n| {
        (calls + n.calls, copied + n.copied)
    });
    (calls > 0).then(|| copied as f64 / calls as f64)
}

/// Which share of the packets was one piece of memory.
pub fn linear(cell: &Cell) -> Option<f64> {
    let packets = cell.checked.packets.filter(|packets| packets.all > 0)?;
    Some(packets.linear as f64 / packets.all as f64)
}
