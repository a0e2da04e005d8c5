//! The power is cut, thousands of times.

use foliomq_crashkit::{MODES, cut_power, seed};

#[test]
fn sync() {
    let tally = cut_power(MODES[0], 1000, seed()).unwrap();
    println!("{tally:?}");
}

#[test]
fn async_() {
    let tally = cut_power(MODES[1], 1000, seed()).unwrap();
    println!("{tally:?}");
}
