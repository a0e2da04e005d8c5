//! Scenarios of their own for what the random lives of a store come to too rarely: each leads to the very operations
//! between which a flush counts, and cuts the power there.

use foliomq_segment::disk::Flush;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::{
    checkpointed, cleared, closed, compaction, emptied, fresh, marks, metadata, remade, salvage,
    tail,
};

/// Goes through a scenario once, with `lie` left out, and counts the images in `seen`. Returns how often the flush was
/// left out; the error is the promise that was broken.
pub(crate) type Round = fn(Option<Flush>, &mut StdRng, &mut u64) -> Result<u64, String>;

/// Every scenario, with its name.
pub(crate) const ALL: [(&str, Round); 19] = [
    ("kill after a clearing", cleared::round),
    ("kill at a checkpoint", checkpointed::round),
    ("compaction", compaction::after_compaction),
    ("kill in a compaction", compaction::after_kill),
    ("kill before a name", compaction::after_kill_unnamed),
    ("emptied queue", emptied::round),
    ("new log", fresh::log),
    ("new segment", fresh::segment),
    ("new file of the pool", fresh::pool),
    ("indexes made anew", marks::round),
    ("indexes of an empty log made anew", remade::round),
    ("salvage", salvage::of_any_damage),
    ("salvage of a cut end", salvage::of_a_cut_end),
    ("kill in a salvage", salvage::after_kill),
    ("hidden message", metadata::ledger),
    ("topic made again", metadata::deletion),
    ("kill at the opening of a closed log", closed::round),
    ("torn tail", tail::round),
    ("kill in a torn tail", tail::after_kill),
];

/// The scenario in which a flush counts, if it has one of its own.
pub(crate) fn scenario(flush: Flush) -> Option<Round> {
    Some(match flush {
        Flush::ExtentsOpened => compaction::after_kill,
        Flush::IndexCheckpointOpened => checkpointed::round,
        Flush::IndexCheckpointNamed => marks::round,
        Flush::LogCheckpointOpened => closed::round,
        Flush::LogOpened => fresh::log,
        Flush::QueuesOpened => compaction::after_kill_unnamed,
        Flush::Replacement | Flush::ReplacementNamed => compaction::after_compaction,
        Flush::SalvagedCheckpoint | Flush::SalvagedFiller => salvage::of_any_damage,
        Flush::SalvagedLength => salvage::of_a_cut_end,
        Flush::SegmentMade => fresh::segment,
        Flush::TailDropped => tail::round,
        Flush::WordsMade => fresh::pool,
        _ => return None,
    })
}

/// Goes through a scenario until there were `images`. Returns how often the flush was left out; an error says after how
/// many images a promise was broken, and how.
pub(crate) fn repeat(
    round: Round,
    lie: Option<Flush>,
    images: u64,
    seed: u64,
) -> Result<u64, (u64, String)> {
    let mut random = StdRng::seed_from_u64(seed);
    let (mut seen, mut lies) = (0, 0);
    while seen < images {
        lies += round(lie, &mut random, &mut seen).map_err(|what| (seen, what))?;
    }
    Ok(lies)
}
