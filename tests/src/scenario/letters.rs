//! Dead letters.

use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Context;
use crate::driver::{Kind, Received};
use crate::session::{INVISIBLE, Session};

/// A dead letter comes within this time.
pub const ORIGIN_LIMIT: Duration = Duration::from_secs(30);

/// The origin that a dead letter names, its topic and its id; only raw calls see it.
pub async fn origin_of(context: &Context<'_>, letters: &str) -> Result<(String, String)> {
    let session = Session::open(Kind::Raw, context.stage.address, &[]).await?;
    let reader = session.simple(&context.group("origin"), letters).await?;
    let letter: Received = reader.receive_one(INVISIBLE, ORIGIN_LIMIT).await?;
    letter
        .dead_letter
        .context("the dead letter names no origin")
}
