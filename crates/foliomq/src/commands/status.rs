//! `foliomq status`: how a broker does.

use clap::Args;
use foliomq_client::{Broker, Preheat};
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
        ("bodies sent packed", about(broker.body_bytes_packed)),
        ("bodies sent by copy", about(broker.body_bytes_copied)),
        ("waiting for readers", about(broker.unread_bytes)),
        ("of those mapped pages", about(broker.pinned_bytes)),
        (
            "waiting for their time",
            broker.delayed_messages.to_string(),
        ),
        ("open transactions", broker.open_transactions.to_string()),
        ("appended since start", about(broker.bytes_appended)),
        ("written to disk since start", written(broker)),
        ("preheating", preheating(&broker.preheat)),
        (
            "page faults avoided",
            broker.preheat.faults_avoided.to_string(),
        ),
        ("page faults taken", broker.preheat.faults_taken.to_string()),
    ];
    let mut table = Table::new(["WHAT", "VALUE"]);
    rows.into_iter()
        .for_each(|(what, value)| table.row([what.to_owned(), value]));
    table
}

/// With the bytes for each byte appended, once there is enough to tell.
fn written(broker: &Broker) -> String {
    const ENOUGH: u64 = 1 << 20;
    let written = about(broker.bytes_written);
    match broker.bytes_appended {
        ..ENOUGH => written,
        appended => {
            let each = broker.bytes_written as f64 / appended as f64;
            format!("{written}, {each:.2} for each byte appended")
        }
    }
}

fn preheating(preheat: &Preheat) -> String {
    let milliseconds = preheat.time.as_millis();
    format!("{} pages in {milliseconds} ms", preheat.pages)
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
        "body_bytes_packed": broker.body_bytes_packed,
        "body_bytes_copied": broker.body_bytes_copied,
        "unread_bytes": broker.unread_bytes,
        "pinned_bytes": broker.pinned_bytes,
        "delayed_messages": broker.delayed_messages,
        "open_transactions": broker.open_transactions,
        "bytes_appended": broker.bytes_appended,
        "bytes_written": broker.bytes_written,
        "preheat": {
            "microseconds": broker.preheat.time.as_micros() as u64,
            "pages": broker.preheat.pages,
            "faults_avoided": broker.preheat.faults_avoided,
            "faults_taken": broker.preheat.faults_taken,
        },
    })
}
