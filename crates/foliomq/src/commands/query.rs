//! `foliomq query`: messages by id or key.

use clap::Args;

use crate::arguments::{Format, Remote};
use crate::failure::Failure;
use crate::output::Output;
use crate::shown;

#[derive(Debug, Args)]
#[command(override_usage = "foliomq query [OPTIONS] TOPIC <--id ID | --key KEY>")]
#[command(group = clap::ArgGroup::new("by").required(true).args(["id", "key"]))]
pub struct Query {
    /// The topic
    topic: String,

    /// The message id that the sender gave or got
    #[arg(long)]
    id: Option<String>,

    /// One of the keys that the sender gave
    #[arg(long)]
    key: Option<String>,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Query {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let found = match (&self.id, &self.key) {
            (Some(id), _) => admin.find_by_id(&self.topic, id).await?,
            (None, key) => {
                admin
                    .find_by_key(&self.topic, key.as_deref().unwrap_or_default())
                    .await?
            }
        };
        if found.is_empty() {
            return Err(
                Failure::NotFound(format!("no such message in topic {}", self.topic)).into(),
            );
        }
        let mut out = Output::new(self.format.json);
        for message in &found {
            if out.is_json() {
                out.json(&shown::object(message))?;
            } else {
                out.line(format!("{}  {}", message.id, shown::line(message, None)))?;
            }
        }
        Ok(out.flush()?)
    }
}
