//! `foliomq client`: who is connected.

use std::io;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use foliomq_client::{ClientTopic, ConnectedClient};
use serde_json::{Value, json};

use crate::arguments::{Format, Remote};
use crate::moment;
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Args)]
pub struct Clients {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the clients that gave a sign of life within a minute, or hold a stream open
    List {
        /// The consumers of this group only
        #[arg(long)]
        group: Option<String>,
    },
    /// Show a client with what it publishes to or subscribes to
    Describe {
        /// The client's id
        id: String,
    },
    /// Ask a client what its threads do; it needs its telemetry open, and some clients never answer
    Threads {
        /// The client's id
        id: String,
    },
}

impl Clients {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let mut out = Output::new(self.format.json);
        match self.action {
            Action::List { group } => {
                print_all(&admin.clients(group.as_deref()).await?, &mut out)?;
            }
            Action::Describe { id } => print_one(&admin.client(&id).await?, &mut out)?,
            Action::Threads { id } => {
                let threads = admin.client_threads(&id).await?;
                if out.is_json() {
                    out.json(&json!({ "client_id": id, "threads": threads }))?;
                } else {
                    out.line(threads)?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

fn print_all(clients: &[ConnectedClient], out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&clients.iter().map(object).collect::<Vec<_>>());
    }
    let mut table = Table::new([
        "CLIENT",
        "LANGUAGE",
        "VERSION",
        "ADDRESS",
        "KIND",
        "GROUP",
        "TOPICS",
        "CONNECTED SINCE",
        "LAST SEEN",
    ]);
    for client in clients {
        table.row([
            client.id.escape_debug().to_string(),
            or_dash(&client.language),
            or_dash(&client.version.escape_debug().to_string()),
            client.address.clone().unwrap_or_else(|| "-".to_owned()),
            kind(client).to_owned(),
            client.group.clone().unwrap_or_else(|| "-".to_owned()),
            or_dash(&topics(client)),
            shown(client.connected_since),
            shown(client.last_seen),
        ]);
    }
    out.table(&table)
}

fn print_one(client: &ConnectedClient, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&object(client));
    }
    let rows = [
        ("client", client.id.escape_debug().to_string()),
        ("kind", kind(client).to_owned()),
        ("language", or_dash(&client.language)),
        (
            "version",
            or_dash(&client.version.escape_debug().to_string()),
        ),
        (
            "address",
            client.address.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("host", or_dash(&client.hostname.escape_debug().to_string())),
        (
            "group",
            client.group.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("connected since", shown(client.connected_since)),
        ("last seen", shown(client.last_seen)),
        (
            "telemetry",
            if client.telemetry { "open" } else { "-" }.to_owned(),
        ),
        ("native streams", client.streams.to_string()),
    ];
    let mut table = Table::new(["WHAT", "VALUE"]);
    for (what, value) in rows {
        table.row([what.to_owned(), value]);
    }
    for ClientTopic { topic, filter } in &client.topics {
        let filter = filter.as_deref().unwrap_or_default().escape_debug();
        table.row([
            "topic".to_owned(),
            format!("{topic}  {filter}").trim_end().to_owned(),
        ]);
    }
    out.table(&table)
}

fn kind(client: &ConnectedClient) -> &'static str {
    client.kind.map_or("-", foliomq_client::ClientKind::name)
}

/// Their names, and how many more there are.
fn topics(client: &ConnectedClient) -> String {
    let names = client.topics.iter().map(|topic| topic.topic.clone());
    let mut names: Vec<String> = names.collect();
    match (client.topic_count as usize).saturating_sub(names.len()) {
        0 => {}
        more => names.push(format!("+{more}")),
    }
    names.join(",")
}

fn object(client: &ConnectedClient) -> Value {
    let topics = client.topics.iter();
    let topics = topics.map(|topic| json!({ "topic": topic.topic, "filter": topic.filter }));
    json!({
        "client_id": client.id,
        "kind": client.kind.map(foliomq_client::ClientKind::name),
        "language": client.language,
        "version": client.version,
        "address": client.address,
        "hostname": client.hostname,
        "group": client.group,
        "topics": topics.collect::<Vec<_>>(),
        "topic_count": client.topic_count,
        "connected_since": client.connected_since.map(moment::show),
        "last_seen": client.last_seen.map(moment::show),
        "telemetry": client.telemetry,
        "streams": client.streams,
    })
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

fn shown(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "-".to_owned(), moment::show)
}
