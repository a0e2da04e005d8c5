//! The power is cut, thousands of times in each mode.

use foliomq_crashkit::{MODES, Mode, cut_power, cut_power_apart, seed};

/// Images of each mode, unless `CRASH_IMAGES` says how many.
const IMAGES: u64 = 10_000;
/// At most one image in so many makes its indexes anew, though they were flushed.
const MOST_ANEW: u64 = 2000;

fn nothing_promised_is_lost(mode: Mode) {
    let asked = std::env::var("CRASH_IMAGES").ok();
    let images = asked.map_or(IMAGES, |count| count.parse().unwrap());
    let tally = cut_power(mode, images, seed()).unwrap();
    println!("{}: {tally:?}", mode.name);
    assert!(tally.power >= images && tally.again > 0 && tally.kill > 0);
    assert!(
        tally.anew * MOST_ANEW <= tally.power,
        "indexes are made anew too often: {tally:?}"
    );
}

#[test]
fn sync_mapped() {
    nothing_promised_is_lost(MODES[0]);
}

#[test]
fn sync_staged() {
    nothing_promised_is_lost(MODES[1]);
}

#[test]
fn async_mapped() {
    nothing_promised_is_lost(MODES[2]);
}

/// No default: async goes with the mapped writer.
#[test]
fn async_staged() {
    nothing_promised_is_lost(MODES[3]);
}

#[test]
fn scenarios_of_their_own() {
    cut_power_apart(500, seed()).unwrap();
}
