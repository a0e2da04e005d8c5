//! `foliomq message`: a stored message that a client is to consume on trial, and a delayed one that is to be given up.

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
    /// Give up a delayed message before its time
    Recall {
        /// The topic
        topic: String,
        /// What its sender was told with its id
        handle: String,
    },
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
        let client = self.remote.connect().await?;
        let mut out = Output::new(self.format.json);
        let (json, line) = match self.action {
            Action::Recall { topic, handle } => {
                let id = client.producer().recall(&topic, &handle).await?;
                let line = format!("recalled {id}");
                (json!({ "message_id": id, "recalled": true }), line)
            }
            Action::Verify {
                topic,
                id,
                client: by,
                group,
            } => {
                let admin = client.admin();
                admin.verify_message(&by, &group, &topic, &id).await?;
                let line = format!("client {by} has consumed message {id}");
                let json = json!({ "message_id": id, "client_id": by, "consumed": true });
                (json, line)
            }
        };
        match out.is_json() {
            true => out.json(&json)?,
            false => out.line(line)?,
        }
        Ok(out.flush()?)
    }
}
