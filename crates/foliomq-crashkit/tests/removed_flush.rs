//! Each flush is left out, one after the other, and each time something promised is lost: none is needless, and the
//! device is not blind.

use std::thread;

use foliomq_crashkit::{leave_out, seed};
use foliomq_segment::disk::Flush;
use parking_lot::Mutex;

/// After so many images at most it must have been missed.
const PATIENCE: u64 = 20_000;
/// Flushes that are left out at a time, each in stores of its own.
const THREADS: usize = 4;

#[test]
fn each_is_missed() {
    let seed = seed();
    let flushes = Mutex::new(Flush::ALL.iter());
    let needless = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(&flush) = { flushes.lock().next() } {
                    match leave_out(flush, PATIENCE, seed) {
                        Ok((images, how)) => println!("{flush:?}: after {images} images: {how}"),
                        Err(calls) => needless.lock().push((flush, calls)),
                    }
                }
            });
        }
    });
    let needless = needless.into_inner();
    assert!(
        needless.is_empty(),
        "nobody misses (flush, calls): {needless:?}"
    );
}
