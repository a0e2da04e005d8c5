//! Operations of the disk fail, each kind, early and late.

use foliomq_crashkit::{Kind, MODES, fail, seed};
use rustix::io::Errno;

/// Lives with a failing operation, of each kind.
const ROUNDS: u64 = 10;

#[test]
fn nothing_is_acknowledged_that_failed() {
    let seed = seed();
    for mode in MODES {
        for kind in Kind::ALL {
            for error in [Errno::IO, Errno::NOSPC] {
                let failures = fail(*mode, kind, error, ROUNDS, seed).unwrap();
                assert!(failures.struck > 0, "{kind:?} never failed");
                if kind == Kind::FlushRecords {
                    assert_eq!(failures.told, failures.struck, "nobody was told");
                }
            }
        }
    }
}
