//! `foliomq log`: which lines a broker that runs writes to its log.

use clap::Args;
use serde_json::json;

use crate::arguments::{Format, Remote};
use crate::output::Output;

#[derive(Debug, Args)]
pub struct Log {
    /// What is to be written from now on: warn, info, warn,foliomq=debug, …; without it nothing is changed
    filter: Option<String>,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Log {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let (before, now) = admin.log_filter(self.filter.as_deref()).await?;
        let mut out = Output::new(self.format.json);
        if out.is_json() {
            out.json(&json!({ "before": before, "now": now }))?;
        } else {
            out.line(&now)?;
        }
        Ok(out.flush()?)
    }
}
