//! `foliomq status`: how a broker does.

use clap::Args;
use foliomq_client::Broker;
use serde_json::json;

use crate::arguments::{Format, Remote};
use crate::moment;
use crate::output::Output;
use crate::table::Table;
use crate::units::about;

#[derive(Debug, Args)]
pub struct Status {
    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Status {
    pub async fn run(self) -> anyhow::Result<()> {
        let broker = self.remote.connect().await?.admin().broker().await?;
        let mut out = Output::new(self.format.json);
        if out.is_json() {
            out.json(&object(&broker))?;
        } else {
            out.table(&table(&broker))?;
        }
        Ok(out.flush()?)
    }
}

fn table(broker: &Broker) -> Table<2> {
    let accepts = match broker.refusing.as_str() {
        "" => "yes".to_owned(),
        reason => format!("no: {reason}"),
    };
    let held = broker.appended.saturating_sub(broker.start);
    let rows = [
        ("version", broker.version.clone()),
        ("started", moment::show(broker.started_at)),
        ("accepts messages", accepts),
        ("connected clients", broker.connected_clients.to_string()),
        ("log in use", about(held)),
        ("segments", broker.segments.to_string()),
        ("start position", broker.start.to_string()),
        ("appended", broker.appended.to_string()),
        ("durable", broker.durable.to_string()),
        ("committed", broker.committed.to_string()),
        ("dispatched", broker.dispatched.to_string()),
        (
            "bodies sent by reference",
            about(broker.body_bytes_by_reference),
        ),
        ("bodies sent by copy", about(broker.body_bytes_copied)),
    ];
    let mut table = Table::new(["WHAT", "VALUE"]);
    rows.into_iter()
        .for_each(|(what, value)| table.row([what.to_owned(), value]));
    table
}

fn object(broker: &Broker) -> serde_json::Value {
    json!({
        "version": broker.version,
        "started_at": moment::show(broker.started_at),
        "refusing": (!broker.refusing.is_empty()).then_some(&broker.refusing),
        "connected_clients": broker.connected_clients,
        "segments": broker.segments,
        "start": broker.start,
        "appended": broker.appended,
        "durable": broker.durable,
        "committed": broker.committed,
        "dispatched": broker.dispatched,
        "body_bytes_by_reference": broker.body_bytes_by_reference,
        "body_bytes_copied": broker.body_bytes_copied,
    })
}
