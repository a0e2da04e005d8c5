//! `foliomq inspect`: what a store's folder holds, without a broker.

use std::io;
use std::path::PathBuf;

use clap::Args;
use foliomq_store::Report;
use serde_json::json;

use super::heat;
use crate::arguments::Format;
use crate::logs::{self, Log};
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Args)]
pub struct Inspect {
    /// Folder of the store; a broker may run on it meanwhile
    dir: PathBuf,

    /// Draw what of the messages is in memory, segment by segment
    #[arg(long)]
    residency: bool,

    #[command(flatten)]
    format: Format,
}

impl Inspect {
    pub fn run(self) -> anyhow::Result<()> {
        if self.residency {
            let mut out = Output::new(self.format.json);
            heat::show(&self.dir, &mut out)?;
            return Ok(out.flush()?);
        }
        let logs = logs::survey(&self.dir, foliomq_commitlog::inspect)?;
        let store = logs::in_store(&self.dir).then(|| foliomq_store::inspect(&self.dir));
        let store = store.transpose()?;
        let mut out = Output::new(self.format.json);
        if out.is_json() {
            let logs: Vec<_> = logs.iter().map(Log::json).collect();
            out.json(&json!({ "logs": logs, "store": store }))?;
        } else {
            logs.iter().try_for_each(|log| log.print(&mut out))?;
            store.map_or(Ok(()), |store| print_topics(&store, &mut out))?;
        }
        Ok(out.flush()?)
    }
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
