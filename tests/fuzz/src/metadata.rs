//! Damage to the metadata.

use crate::forged::forge;
use crate::judge::{Claim, judge};
use crate::mutation::Mutation;
use crate::outcome::Outcome;
use crate::panics::watch;
use crate::template::template;

/// Damages the metadata's log and its checkpoint.
pub fn metadata(data: &[u8]) -> Outcome {
    let (&first, rest) = data.split_first().unwrap_or((&0, &[]));
    watch(|| {
        let template = template(first);
        let mut image = template.image.clone();
        let forgery = forge(&mut image, &Mutation::all(rest), |file| {
            file.path.starts_with("meta")
        });
        let dir = image.write().expect("an image is written");
        let honest = !forgery.sealed;
        let kept_below = if forgery.touched { 0 } else { u64::MAX };
        judge(
            dir.path(),
            &Claim {
                sent: &template.sent,
                honest,
                kept_below,
                verify_tells: false,
            },
        )
    })
}
