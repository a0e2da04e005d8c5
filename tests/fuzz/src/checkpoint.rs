//! Damage to the checkpoints of the log and of the indexes.

use crate::forged::forge;
use crate::judge::{Claim, judge};
use crate::layout::Layout;
use crate::mutation::Mutation;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::template;

/// Damages checkpoints: a store that opens serves every message, whichever slots are left.
pub fn checkpoint(data: &[u8]) -> Outcome {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    watch(|| {
        let template = template(first);
        let mut image = template.image.clone();
        let forgery = forge(&mut image, &Mutation::all(rest), |file| {
            let of_a_store = !file.path.starts_with("meta");
            of_a_store
                && matches!(
                    Layout::of(&file.path),
                    Layout::LogCheckpoint | Layout::IndexCheckpoint
                )
        });
        let dir = image.write().expect("an image is written");
        let kept_below = if forgery.sealed { 0 } else { u64::MAX };
        // The log is whole: whatever a checkpoint says, nothing else than what was sent is served.
        judge(
            dir.path(),
            &Claim {
                sent: &template.sent,
                honest: true,
                kept_below,
                verify_tells: false,
            },
        )
    })
}
