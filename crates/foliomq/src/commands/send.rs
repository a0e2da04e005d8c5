//! `foliomq send`: one message, or each line of a file.

use std::io::Read;
use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Context;
use clap::Args;
use foliomq_client::{Message, Producer};
use serde_json::json;

use super::lines;
use crate::arguments::{Format, Remote};
use crate::moment;
use crate::output::Output;
use crate::units::Span;

/// Larger input is no message: no broker takes it.
const LARGEST_BODY: u64 = 256 << 20;
/// Stands for standard input.
pub const STDIN: &str = "-";

#[derive(Debug, Args)]
#[command(override_usage = "foliomq send [OPTIONS] TOPIC <BODY | - | --lines FILE | --file FILE>")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["body", "lines", "file"]))]
pub struct Send {
    /// The topic
    topic: String,

    /// The body; `-` reads it from standard input
    body: Option<String>,

    /// Send each line of a file as a message of its own, without its line feed; `-` for standard input. Blank lines are
    /// left out. Stops at the first error
    #[arg(long, value_name = "FILE", conflicts_with = "id")]
    lines: Option<PathBuf>,

    /// Send a whole file as one message
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// A tag, for consumers to filter by
    #[arg(long)]
    tag: Option<String>,

    /// A key, to find the message by; repeatable
    #[arg(long)]
    key: Vec<String>,

    /// A property of the application; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = property)]
    property: Vec<(String, String)>,

    /// Message id, to find the message by; the clients make 34 hex digits [default: a new one]
    #[arg(long)]
    id: Option<String>,

    /// Messages of one group go to one queue and keep their order
    #[arg(long, value_name = "GROUP")]
    message_group: Option<String>,

    /// Deliver it so long from now
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["deliver_at", "message_group"])]
    delay: Option<Span>,

    /// Deliver it at a time such as 2026-11-23T10:15:00Z
    #[arg(long, value_name = "TIME", value_parser = moment::absolute, conflicts_with = "message_group")]
    deliver_at: Option<SystemTime>,

    /// In a topic of the type priority the highest comes first; 0 is the lowest
    #[arg(long, value_name = "N", conflicts_with_all = ["delay", "deliver_at", "message_group", "lite_topic"])]
    priority: Option<u32>,

    /// Send to a lite topic of the topic, made if it is not there
    #[arg(long, value_name = "NAME", conflicts_with_all = ["delay", "deliver_at", "message_group"])]
    lite_topic: Option<String>,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Send {
    pub async fn run(self) -> anyhow::Result<()> {
        let template = self.template()?;
        match &self.lines {
            Some(path) => {
                let producer = self.remote.connect().await?.producer();
                lines::send(path, &producer, &template, Output::new(self.format.json)).await
            }
            None => {
                let message = Message {
                    body: self.whole_body()?.into(),
                    ..template
                };
                // After the body: a person may still be typing it when the connection would be made.
                let producer = self.remote.connect().await?.producer();
                send_one(&producer, message, Output::new(self.format.json)).await
            }
        }
    }

    /// The message but for its body.
    fn template(&self) -> anyhow::Result<Message> {
        Ok(Message {
            topic: self.topic.clone(),
            body: Default::default(),
            tag: self.tag.clone(),
            keys: self.key.clone(),
            properties: self.property.iter().cloned().collect(),
            id: self.id.clone(),
            message_group: self.message_group.clone(),
            deliver_at: self.deliver_at()?,
            priority: self.priority,
            lite_topic: self.lite_topic.clone(),
        })
    }

    fn deliver_at(&self) -> anyhow::Result<Option<SystemTime>> {
        let Some(Span(delay)) = self.delay else {
            return Ok(self.deliver_at);
        };
        let time = SystemTime::now().checked_add(delay);
        Ok(Some(time.context("no time is so far ahead")?))
    }

    fn whole_body(&self) -> anyhow::Result<Vec<u8>> {
        match (&self.body, &self.file) {
            (Some(body), _) if body == STDIN => {
                read_all(std::io::stdin().lock()).context("cannot read standard input")
            }
            (Some(body), _) => Ok(body.clone().into_bytes()),
            (None, Some(path)) => {
                let cannot_read = || format!("cannot read {}", path.display());
                read_all(std::fs::File::open(path).with_context(cannot_read)?)
                    .with_context(cannot_read)
            }
            (None, None) => Ok(Vec::new()),
        }
    }
}

async fn send_one(producer: &Producer, message: Message, mut out: Output) -> anyhow::Result<()> {
    let receipt = producer.send(message).await?;
    if out.is_json() {
        let mut json = json!({ "message_id": receipt.message_id });
        match receipt.recall_handle {
            Some(handle) => json["recall_handle"] = handle.into(),
            None => json["queue_offset"] = receipt.queue_offset.into(),
        }
        out.json(&json)?;
    } else if let Some(handle) = receipt.recall_handle {
        out.line(format!(
            "sent {} (recall handle {handle})",
            receipt.message_id
        ))?;
    } else {
        out.line(format!(
            "sent {} (queue offset {})",
            receipt.message_id, receipt.queue_offset
        ))?;
    }
    Ok(out.flush()?)
}

fn read_all(input: impl Read) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    input.take(LARGEST_BODY + 1).read_to_end(&mut body)?;
    anyhow::ensure!(
        body.len() as u64 <= LARGEST_BODY,
        "it has more than {LARGEST_BODY} bytes: too large for a message"
    );
    Ok(body)
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}
