//! Bits are flipped in every file of a store, one at a time.

use foliomq_crashkit::{flip, seed};

#[test]
fn none_is_served() {
    for (kind, flips) in flip(2000, 100, seed()).unwrap() {
        println!("{kind}: {flips:?}");
        assert_eq!((flips.served, flips.verified), (0, 0), "{kind}");
    }
}

/// A minute or two: `cargo nextest run -p foliomq-crashkit --run-ignored only --no-capture -E 'test(a_hundred_thousand)'`.
#[test]
#[ignore = "takes longer than a test should"]
fn none_of_a_hundred_thousand_is_served() {
    let mut tried = 0;
    for (kind, flips) in flip(20_000, 100, seed()).unwrap() {
        println!("{kind}: {flips:?}");
        assert_eq!((flips.served, flips.verified), (0, 0), "{kind}");
        tried += flips.flips;
    }
    assert!(tried >= 100_000, "{tried}");
}
