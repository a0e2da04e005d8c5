//! `foliomq message`: a stored message, and a client that is to consume it on trial.

use clap::{Args, Subcommand};
use serde_json::json;

use crate::arguments::{Format, Remote};
use crate::output::Output;

#[derive(Debug, Args)]
pub struct Messages {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Have a connected push consumer consume a message once more, beside what its group does; says how that went
    Verify {
        /// The topic
        topic: String,
        /// The message's id
        id: String,
        /// The client's id, as `foliomq client list` shows it; its telemetry is open
        #[arg(long, value_name = "ID")]
        client: String,
        /// The client's group
        #[arg(long)]
        group: String,
    },
}

impl Messages {
    pub async fn run(self) -> anyhow::Result<()> {
        let Action::Verify {
            topic,
            id,
            client,
            group,
        } = self.action;
        let admin = self.remote.connect().await?.admin();
        admin.verify_message(&client, &group, &topic, &id).await?;
        let mut out = Output::new(self.format.json);
        if out.is_json() {
            out.json(&json!({ "message_id": id, "client_id": client, "consumed": true }))?;
        } else {
            out.line(format!("client {client} has consumed message {id}"))?;
        }
        Ok(out.flush()?)
    }
}
