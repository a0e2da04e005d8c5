//! Damage to the segments of the log.

use foliomq_commitlog::salvage;

use crate::forged::forge;
use crate::judge::{Claim, judge};
use crate::layout::Layout;
use crate::mutation::Mutation;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::template;

/// Damages segments. A store that opens serves every message below the durable position as it was sent; one that does not
/// opens after a salvage.
pub fn segment(data: &[u8]) -> Outcome {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    watch(|| {
        let template = template(first);
        let mut image = template.image.clone();
        let forgery = forge(&mut image, &Mutation::all(rest), |file| {
            file.path.starts_with("commitlog") && Layout::of(&file.path) == Layout::Records
        });
        let dir = image.write().expect("an image is written");
        let honest = !forgery.sealed;
        let kept_below = match (forgery.touched, forgery.sealed) {
            (false, _) => u64::MAX,
            (true, false) => template.durable,
            (true, true) => 0,
        };
        let claim = Claim {
            sent: &template.sent,
            honest,
            kept_below,
            verify_tells: false,
        };
        let outcome = judge(dir.path(), &claim);
        if !outcome.to_string().starts_with("refused") || first & 2 == 0 {
            return outcome;
        }
        match salvage(&dir.path().join("commitlog")) {
            Ok(lost) => {
                let salvaged = judge(
                    dir.path(),
                    &Claim {
                        kept_below: 0,
                        ..claim
                    },
                );
                Outcome::new(format!(
                    "{outcome}; salvage lost {}: {salvaged}",
                    lost.len()
                ))
            }
            Err(error) => Outcome::new(format!("{outcome}; no salvage: {error}")),
        }
    })
}
