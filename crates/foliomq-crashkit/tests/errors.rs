//! Operations of the disk fail, each kind, early and late.

use foliomq_crashkit::{Kind, MODES, fail, seed};
use rustix::io::Errno;

#[test]
fn nothing_is_acknowledged_that_failed() {
    let seed = seed();
    for mode in MODES {
        for kind in Kind::ALL {
            for error in [Errno::IO, Errno::NOSPC] {
                println!(
                    "{} {kind:?} {error}: {:?}",
                    mode.name,
                    fail(*mode, kind, error, 20, seed)
                );
            }
        }
    }
}
