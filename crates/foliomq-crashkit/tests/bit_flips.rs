//! Bits are flipped in every file of a store, one at a time.

use foliomq_crashkit::{flip, seed};

#[test]
fn none_is_served() {
    for (kind, flips) in flip(2000, 100, seed()).unwrap() {
        println!("{kind}: {flips:?}");
        assert_eq!(flips.served, 0, "{kind}");
    }
}
