//! Each flush is left out, one after the other, and each time something promised is lost.

use foliomq_crashkit::{leave_out, seed};
use foliomq_segment::disk::Flush;

#[test]
fn each_is_missed() {
    let seed = seed();
    for &flush in Flush::ALL {
        let start = std::time::Instant::now();
        match leave_out(flush, 1000, seed) {
            Ok((images, how)) => println!(
                "{flush:?}: caught after {images}: {how:.150} {:?}",
                start.elapsed()
            ),
            Err(calls) => println!(
                "{flush:?}: NOT CAUGHT, called {calls} {:?}",
                start.elapsed()
            ),
        }
    }
}
