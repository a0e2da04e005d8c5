//! `foliomq verify`: every record of a store's folder checked, without a broker.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use foliomq_commitlog::Damage;
use serde_json::json;

use crate::arguments::Format;
use crate::failure::Failure;
use crate::logs::{self, Log};
use crate::output::Output;

#[derive(Debug, Args)]
pub struct Verify {
    /// Folder of the store
    dir: PathBuf,

    /// Take damaged stretches out of the log, so that a broker starts again with what is readable. What stood in them
    /// is lost. No broker may run meanwhile
    #[arg(long)]
    salvage: bool,

    #[command(flatten)]
    format: Format,
}

impl Verify {
    pub fn run(self) -> anyhow::Result<()> {
        let logs = logs::survey(&self.dir, foliomq_commitlog::verify)?;
        let mut out = Output::new(self.format.json);
        if self.salvage {
            self.salvage(&logs, &mut out)
        } else {
            self.report(&logs, &mut out)
        }
    }

    fn report(&self, logs: &[Log], out: &mut Output) -> anyhow::Result<()> {
        if out.is_json() {
            out.json(&logs.iter().map(Log::json).collect::<Vec<_>>())?;
        } else {
            logs.iter().try_for_each(|log| report(log, out))?;
        }
        out.flush()?;
        if logs.iter().all(|log| log.survey.sound()) {
            return Ok(());
        }
        let dir = self.dir.display();
        let text = format!(
            "the store is damaged; to keep what is readable, run: foliomq verify --salvage {dir}"
        );
        Err(Failure::Damaged(text).into())
    }

    fn salvage(&self, logs: &[Log], out: &mut Output) -> anyhow::Result<()> {
        let mut salvaged = Vec::new();
        for log in logs.iter().filter(|log| !log.survey.sound()) {
            salvaged.push((log, mend(&log.dir)?));
        }
        if out.is_json() {
            out.json(
                &salvaged
                    .iter()
                    .map(|(log, lost)| report_lost_json(log, lost))
                    .collect::<Vec<_>>(),
            )?;
        } else if salvaged.is_empty() {
            out.line("the store is sound; nothing was changed")?;
        } else {
            salvaged
                .iter()
                .try_for_each(|(log, lost)| report_lost(log, lost, out))?;
        }
        Ok(out.flush()?)
    }
}

fn report(log: &Log, out: &mut Output) -> io::Result<()> {
    let (dir, records, segments) = (log.dir.display(), log.records(), log.survey.segments.len());
    let state = if log.survey.sound() {
        "sound"
    } else {
        "DAMAGED"
    };
    let messages = log.messages();
    out.line(format!(
        "log {dir}: {state}; {records} records ({messages} messages) in {segments} segments"
    ))?;
    log.survey
        .damage
        .iter()
        .try_for_each(|damage| out.line(logs::lost(damage)))?;
    if log.survey.checkpoint.is_none() {
        out.line("its checkpoint cannot be read")?;
    }
    Ok(())
}

fn mend(dir: &Path) -> anyhow::Result<Vec<Damage>> {
    let salvaged = foliomq_commitlog::salvage(dir).map_err(|error| match error.kind() {
        io::ErrorKind::ResourceBusy => anyhow::Error::new(Failure::InUse(error.to_string())),
        _ => error.into(),
    });
    salvaged.with_context(|| format!("cannot salvage {}", dir.display()))
}

fn report_lost(log: &Log, lost: &[Damage], out: &mut Output) -> io::Result<()> {
    out.line(format!(
        "log {}: salvaged; what stood here is lost:",
        log.dir.display()
    ))?;
    lost.iter()
        .try_for_each(|damage| out.line(logs::lost(damage)))
}

fn report_lost_json(log: &Log, lost: &[Damage]) -> serde_json::Value {
    json!({ "log": log.dir, "lost": lost.iter().map(logs::damage).collect::<Vec<_>>() })
}
