//! `foliomq query`: messages by id, key and time.

use std::time::SystemTime;

use clap::Args;
use foliomq_client::{Admin, Found, Search, SearchKey};
use serde_json::json;

use crate::arguments::{Format, Remote};
use crate::failure::Failure;
use crate::moment;
use crate::output::Output;
use crate::shown;

/// The broker hands out at most so many at once.
const PAGE: u64 = 64;

#[derive(Debug, Args)]
#[command(
    override_usage = "foliomq query [OPTIONS] TOPIC <--id ID | --key KEY | --from TIME | --to TIME>"
)]
#[command(group = clap::ArgGroup::new("by").required(true).multiple(true).args(["id", "key", "from", "to"]))]
pub struct Query {
    /// The topic
    topic: String,

    /// The message id that the sender gave or got
    #[arg(long)]
    id: Option<String>,

    /// One of the keys that the sender gave
    #[arg(long, conflicts_with = "id")]
    key: Option<String>,

    /// Stored at or after a time (2026-11-23T10:15:00Z), or how long ago (15m). Messages come queue by queue
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    from: Option<SystemTime>,

    /// Stored at or before a time, or how long ago
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    to: Option<SystemTime>,

    /// Of this queue only
    #[arg(long, value_name = "N")]
    queue: Option<u32>,

    /// Stop after so many messages, and say how to go on
    #[arg(long, default_value_t = PAGE, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,

    /// Go on where another query stopped, which has said this; give it the same times and queue as that
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["id", "key"])]
    page: Option<String>,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Query {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let mut out = Output::new(self.format.json);
        let (printed, next) = self.print_pages(&admin, &mut out).await?;
        if let Some(next) = next {
            if out.is_json() {
                out.json(&json!({ "next_page": next }))?;
            } else {
                out.flush()?;
                eprintln!("there may be more: the same with --page {next} goes on");
            }
        } else if printed == 0 {
            let what = format!("no such message in topic {}", self.topic);
            return Err(Failure::NotFound(what).into());
        }
        Ok(out.flush()?)
    }

    /// Prints up to as many as are wanted; returns how many there were, and where to go on.
    async fn print_pages(
        &self,
        admin: &Admin,
        out: &mut Output,
    ) -> anyhow::Result<(u64, Option<String>)> {
        let (mut printed, mut page) = (0, self.page.clone());
        loop {
            let limit = (self.max - printed).min(PAGE);
            let Found { messages, next } = admin.search(self.search(limit as u32, page)).await?;
            printed += messages.len() as u64;
            for message in &messages {
                if out.is_json() {
                    out.json(&shown::object(message))?;
                } else {
                    out.line(format!("{}  {}", message.id, shown::line(message, None)))?;
                }
            }
            if next.is_none() || printed >= self.max {
                return Ok((printed, next));
            }
            page = next;
        }
    }

    fn search(&self, limit: u32, page: Option<String>) -> Search {
        let id = self.id.clone().map(SearchKey::Id);
        Search {
            topic: self.topic.clone(),
            key: id.or_else(|| self.key.clone().map(SearchKey::Key)),
            from: self.from,
            to: self.to,
            queue_id: self.queue,
            limit,
            page,
        }
    }
}
