//! `foliomq verify`: every record of a store's folder checked, without a broker.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use foliomq_commitlog::Damage;
use foliomq_store::{Finding, Part, Report};
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

    /// The logs first, which can be read whatever the indexes say; then, over sound logs, all the rest.
    fn report(&self, logs: &[Log], out: &mut Output) -> anyhow::Result<()> {
        if !out.is_json() {
            logs.iter().try_for_each(|log| report(log, out))?;
            out.flush()?;
        }
        let logs_are_sound = logs.iter().all(|log| log.survey.sound());
        let indexes = match logs_are_sound && logs::in_store(&self.dir) {
            true => Some(
                foliomq_store::verify(&self.dir)
                    .context("cannot compare the log with its indexes")?,
            ),
            false => None,
        };
        if out.is_json() {
            let logs = logs.iter().map(Log::json).collect::<Vec<_>>();
            out.json(&json!({ "logs": logs, "store": indexes }))?;
        } else if let Some(indexes) = &indexes {
            report_indexes(indexes, out)?;
        }
        out.flush()?;
        self.judge(logs_are_sound, indexes.as_ref())
    }

    fn judge(&self, logs_are_sound: bool, indexes: Option<&Report>) -> anyhow::Result<()> {
        let dir = self.dir.display();
        if !logs_are_sound {
            let text = format!(
                "the store is damaged; to keep what is readable, run: foliomq verify --salvage {dir}"
            );
            return Err(Failure::Damaged(text).into());
        }
        if indexes.is_some_and(|report| report.findings.iter().any(is_wrong)) {
            let text =
                format!("the log in {dir} is sound, but what is kept beside it does not fit");
            return Err(Failure::Damaged(text).into());
        }
        Ok(())
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

fn report_indexes(report: &Report, out: &mut Output) -> io::Result<()> {
    out.line(format!("indexes: {} messages compared", report.compared))?;
    for finding in &report.findings {
        let kind = if is_wrong(finding) { "wrong" } else { "note" };
        let part = match finding.part {
            Part::Log => "log",
            Part::Metadata => "metadata",
            Part::Index => "index",
        };
        let position = finding
            .position
            .map_or_else(String::new, |position| format!(", position {position}"));
        out.line(format!("{kind}: {part}{position}: {}", finding.what))?;
    }
    match report.more_findings {
        0 => Ok(()),
        more => out.line(format!("and {more} more")),
    }
}

/// Over sound logs, what is found in the log itself is a hole in a queue: a salvage leaves one for each lost message.
fn is_wrong(finding: &Finding) -> bool {
    finding.part != Part::Log
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
