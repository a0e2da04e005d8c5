//! Each flush is left out, one after the other, and each time something promised is lost.

use std::sync::Mutex;
use std::thread;

use foliomq_crashkit::{leave_out, seed};
use foliomq_segment::disk::Flush;

/// After so many images at most it must have been noticed.
const IMAGES: u64 = 3_000;

#[test]
fn each_is_missed() {
    let seed = seed();
    let only = std::env::var("SITES").ok();
    let sites: Vec<Flush> = Flush::ALL
        .iter()
        .copied()
        .filter(|s| {
            only.as_ref()
                .is_none_or(|o| o.split(',').any(|n| n == s.name()))
        })
        .collect();
    let sites = Mutex::new(sites.into_iter());
    let missed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(flush) = { sites.lock().unwrap().next() } {
                    let start = std::time::Instant::now();
                    match leave_out(flush, IMAGES, seed) {
                        Ok((images, how)) => println!(
                            "{flush:?}: after {images} images: {how:.150} {:?}",
                            start.elapsed()
                        ),
                        Err(calls) => {
                            println!(
                                "{flush:?}: NOT CAUGHT, called {calls} {:?}",
                                start.elapsed()
                            );
                            missed.lock().unwrap().push(flush)
                        }
                    }
                }
            });
        }
    });
    println!("{:?}", missed);
}
