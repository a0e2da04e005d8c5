//! Damage to the indexes.

use crate::forged::forge;
use crate::judge::{Claim, judge};
use crate::layout::Layout;
use crate::mutation::Mutation;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::template;

/// Damages pool files, extents, key runs and their checkpoint. The log is whole, so nothing else than what was sent is
/// served.
pub fn indexes(data: &[u8]) -> Outcome {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    watch(|| {
        let template = template(first);
        let mut image = template.image.clone();
        let mutations = Mutation::all(rest);
        let forgery = forge(&mut image, &mutations, |file| {
            !matches!(
                Layout::of(&file.path),
                Layout::Records | Layout::LogCheckpoint
            )
        });
        let dir = image.write().expect("an image is written");
        let kept_below = if forgery.sealed { 0 } else { u64::MAX };
        judge(
            dir.path(),
            &Claim {
                sent: &template.sent,
                honest: true,
                kept_below,
                verify_tells: true,
            },
        )
    })
}
