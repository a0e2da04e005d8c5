//! `foliomq inspect`: what a store's folder holds, without a broker.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use foliomq_store::Report;
use serde_json::json;

use super::heat;
use crate::arguments::{Format, Remote};
use crate::logs::{self, Log};
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Args)]
pub struct Inspect {
    /// Folder of the store; a broker may run on it meanwhile
    #[arg(required_unless_present = "residency")]
    dir: Option<PathBuf>,

    /// Draw what of the messages is in memory, segment by segment. Without a folder the broker at --endpoint is asked, which
    /// alone knows what it has mapped and locked, and what its readers hold
    #[arg(long)]
    residency: bool,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Inspect {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut out = Output::new(self.format.json);
        match &self.dir {
            Some(dir) if self.residency => heat::of_folder(dir, &mut out)?,
            Some(dir) => contents(dir, &mut out)?,
            None => heat::of_broker(&self.remote, &mut out).await?,
        }
        Ok(out.flush()?)
    }
}

fn contents(dir: &Path, out: &mut Output) -> anyhow::Result<()> {
    let logs = logs::survey(dir, foliomq_commitlog::inspect)?;
    let store = logs::in_store(dir).then(|| foliomq_store::inspect(dir));
    let store = store.transpose()?;
    if out.is_json() {
        let logs: Vec<_> = logs.iter().map(Log::json).collect();
        out.json(&json!({ "logs": logs, "store": store }))?;
    } else {
        logs.iter().try_for_each(|log| log.print(out))?;
        store.map_or(Ok(()), |store| print_topics(&store, out))?;
    }
    Ok(())
}

fn print_topics(store: &Report, out: &mut Output) -> io::Result<()> {
    out.line(format!("topics, indexed up to position {}", store.indexed))?;
    let mut table = Table::new(["TOPIC", "TYPE", "QUEUES"]);
    for topic in &store.topics {
        let kind = format!("{:?}", topic.kind).to_lowercase();
        table.row([topic.name.clone(), kind, topic.queues.to_string()]);
    }
    out.table(&table)
}
