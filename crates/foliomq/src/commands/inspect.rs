//! `foliomq inspect`: what a store's folder holds, without a broker.

use std::path::PathBuf;

use clap::Args;

use crate::arguments::Format;
use crate::logs;
use crate::output::Output;

#[derive(Debug, Args)]
pub struct Inspect {
    /// Folder of the store; a broker may run on it meanwhile
    dir: PathBuf,

    #[command(flatten)]
    format: Format,
}

impl Inspect {
    pub fn run(self) -> anyhow::Result<()> {
        let logs = logs::survey(&self.dir, foliomq_commitlog::inspect)?;
        let mut out = Output::new(self.format.json);
        if out.is_json() {
            out.json(&logs.iter().map(logs::Log::json).collect::<Vec<_>>())?;
        } else {
            logs.iter().try_for_each(|log| log.print(&mut out))?;
        }
        Ok(out.flush()?)
    }
}
