//! Bits are flipped in every file of a store, one at a time.

use foliomq_crashkit::{flip, seed};

/// Flips in the logs' messages; other files get a share of it.
const MANY: u64 = 20_000;
/// Flips in each index file with which the whole store is opened.
const FEW: u64 = 100;
/// All of them, at least.
const FLIPS: u64 = 100_000;

#[test]
fn none_is_served() {
    let mut tried = 0;
    for (kind, flips) in flip(MANY, FEW, seed()).unwrap() {
        println!("{kind}: {flips:?}");
        assert_eq!((flips.served, flips.verified), (0, 0), "{kind}");
        tried += flips.flips;
    }
    assert!(tried >= FLIPS, "{tried}");
}
