//! Bits are flipped in every file.

use foliomq_crashkit::{flip, seed};

#[test]
fn none_is_served() {
    let start = std::time::Instant::now();
    println!("{:#?} {:?}", flip(1000, 200, seed()), start.elapsed());
}
