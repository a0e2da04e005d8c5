//! The power is cut, thousands of times.

use foliomq_crashkit::{MODES, cut_power, seed};

#[test]
fn nothing_promised_is_lost() {
    for mode in MODES {
        let start = std::time::Instant::now();
        let tally = cut_power(*mode, 500, seed());
        println!("{}: {tally:?} {:?}", mode.name, start.elapsed());
    }
}
