//! Who wins where, and where that changes.

use foliomq_benches::figures;

use crate::network;
use crate::results::{Place, Results};
use crate::run::Sample;
use crate::source::Pattern;
use crate::ways;

/// A median closer to 1 than this is no win.
const CLEAR: f64 = 1.05;
/// The share of rounds that must agree with the median.
const AGREED: f64 = 0.8;

/// Who of two is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Winner {
    /// The mapping.
    Mapped,
    /// `sendfile`.
    Sendfile,
    /// Neither clearly.
    Neither,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// More bytes per second are better.
    Throughput,
    /// Fewer processor seconds per byte, of both ends, are better.
    Cost,
}

/// The mapping's best way with a pattern: what a program would choose.
pub fn mapped(pattern: Pattern) -> ways::Kind {
    match pattern {
        Pattern::Scattered => ways::Kind::MappedWritev,
        Pattern::Bulk | Pattern::Polled => ways::Kind::MappedWrite,
    }
}

/// How much better the mapping is than `sendfile`, in each round: above 1 if it is.
pub fn ratios(
    results: &Results,
    network: network::Kind,
    pattern: Pattern,
    size: usize,
    metric: Metric,
) -> Vec<f64> {
    let at = |way| {
        results.cell(Place {
            network,
            pattern,
            size,
            way,
        })
    };
    let (Some(mapped), Some(sendfile)) = (at(mapped(pattern)), at(ways::Kind::Sendfile)) else {
        return Vec::new();
    };
    let better = |(mapped, sendfile): (f64, f64)| match metric {
        Metric::Throughput => mapped / sendfile,
        Metric::Cost => sendfile / mapped,
    };
    let figure: fn(&Sample) -> f64 = match metric {
        Metric::Throughput => Sample::throughput,
        Metric::Cost => Sample::cost,
    };
    mapped
        .each(figure)
        .into_iter()
        .zip(sendfile.each(figure))
        .map(better)
        .collect()
}

/// Who wins, by the ratios of some rounds.
pub fn winner(ratios: &[f64]) -> Winner {
    let median = figures::Spread::of(ratios).median;
    let share = |agrees: fn(f64) -> bool| {
        ratios.iter().filter(|ratio| agrees(**ratio)).count() as f64 / ratios.len().max(1) as f64
    };
    match median {
        m if m >= CLEAR && share(|ratio| ratio > 1.0) >= AGREED => Winner::Mapped,
        m if m > 0.0 && m <= 1.0 / CLEAR && share(|ratio| ratio < 1.0) >= AGREED => {
            Winner::Sendfile
        }
        _ => Winner::Neither,
    }
}

/// Who wins at each size, in words: `mmap from 128 B to 16 KiB; neither clearly at 64 KiB; sendfile from 256 KiB`.
pub fn course(
    results: &Results,
    network: network::Kind,
    pattern: Pattern,
    metric: Metric,
) -> String {
    let mut spans: Vec<(Winner, usize, usize)> = Vec::new();
    for &size in &results.plan.sizes {
        let winner = winner(&ratios(results, network, pattern, size, metric));
        match spans.last_mut() {
            Some((last, _, end)) if *last == winner => *end = size,
            _ => spans.push((winner, size, size)),
        }
    }
    let name = |winner| match winner {
        Winner::Mapped => "**mmap**",
        Winner::Sendfile => "**sendfile**",
        Winner::Neither => "neither clearly",
    };
    let span = |&(winner, from, to): &(Winner, usize, usize)| {
        let [first, last] = [from, to].map(|size| figures::bytes(size as u64));
        match spans.len() {
            1 => format!("{} at every size", name(winner)),
            _ if from == to => format!("{} at {first}", name(winner)),
            _ => format!("{} from {first} to {last}", name(winner)),
        }
    };
    spans.iter().map(span).collect::<Vec<_>>().join("; ")
}

/// The crossover: the largest size that the mapping wins below the smallest from which `sendfile` wins onward.
pub fn crossover(
    results: &Results,
    network: network::Kind,
    pattern: Pattern,
    metric: Metric,
) -> String {
    let of = |size: &usize| winner(&ratios(results, network, pattern, *size, metric));
    let sizes = &results.plan.sizes;
    let last_mapped = sizes.iter().rposition(|size| of(size) == Winner::Mapped);
    let next_sendfile = last_mapped.map_or(0, |last| last + 1);
    let first_sendfile = sizes[next_sendfile..]
        .iter()
        .find(|size| of(size) == Winner::Sendfile);
    let show = |size: usize| figures::bytes(size as u64);
    match (last_mapped.map(|last| sizes[last]), first_sendfile) {
        (Some(last), Some(&first)) => format!("between {} and {}", show(last), show(first)),
        (Some(_), None) => "none: sendfile never overtakes".into(),
        (None, Some(&first)) if first == sizes[0] => {
            "none: sendfile is ahead from the start".into()
        }
        (None, Some(&first)) => format!("at or below {}: mmap is never clearly ahead", show(first)),
        (None, None) => "none: no clear difference".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_win_is_clear_and_agreed() {
        assert_eq!(winner(&[1.2, 1.3, 1.1, 1.2, 0.9]), Winner::Mapped);
        assert_eq!(winner(&[0.5, 0.6, 0.7]), Winner::Sendfile);
        assert_eq!(winner(&[1.2, 1.3, 0.8]), Winner::Neither);
        assert_eq!(winner(&[1.01, 1.02, 1.03]), Winner::Neither);
        assert_eq!(winner(&[]), Winner::Neither);
    }
}
