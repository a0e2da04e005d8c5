//! `foliomq tail`: a topic as it grows, without a group.

use std::path::{Path, PathBuf};

use clap::Args;
use foliomq_client::{StoredMessage, TailFrom};

use crate::arguments::{Format, Remote};
use crate::commands::tail_folder::FolderTail;
use crate::moment;
use crate::output::Output;
use crate::shown;

#[derive(Debug, Args)]
pub struct Tail {
    /// The topic
    topic: String,

    /// Read from this folder of a store instead of asking the broker that has it open: its port may be out of reach. What to
    /// begin with is looked for from the start of the log on
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,

    /// Where to begin: earliest, latest, a time (2026-11-23T10:15:00Z), how long ago (15m), or the newest N of each
    /// queue (-N)
    #[arg(long, default_value = "-10", value_name = "WHERE", allow_hyphen_values = true, value_parser = tail_from)]
    from: TailFrom,

    /// Stop at the end instead of waiting for more
    #[arg(long)]
    no_follow: bool,

    /// Stop after so many messages
    #[arg(long, value_name = "N")]
    max: Option<u64>,

    /// Print bodies only, byte for byte, with nothing in between
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// A line feed after each raw body
    #[arg(long, requires = "raw")]
    newline: bool,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Tail {
    pub async fn run(self) -> anyhow::Result<()> {
        let mut out = Output::new(self.format.json);
        tokio::select! {
            watched = self.watch(&mut out) => watched,
            _ = tokio::signal::ctrl_c() => Ok(()),
        }
    }

    async fn watch(&self, out: &mut Output) -> anyhow::Result<()> {
        if let Some(dir) = &self.dir {
            return self.watch_folder(dir, out).await;
        }
        let mut tail = self
            .remote
            .connect()
            .await?
            .admin()
            .tail(&self.topic, self.from, !self.no_follow)
            .await?;
        let mut left = self.max.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(message) = tail.next().await? else {
                break;
            };
            self.print(&message, out)?;
            out.flush()?;
            left -= 1;
        }
        Ok(())
    }

    async fn watch_folder(&self, dir: &Path, out: &mut Output) -> anyhow::Result<()> {
        let mut tail = FolderTail::open(dir, &self.topic, self.from, !self.no_follow)?;
        let mut left = self.max.unwrap_or(u64::MAX);
        while left > 0 {
            let Some(message) = tail.next().await? else {
                break;
            };
            self.print(&message, out)?;
            out.flush()?;
            left -= 1;
        }
        Ok(())
    }

    fn print(&self, message: &StoredMessage, out: &mut Output) -> std::io::Result<()> {
        if out.is_json() {
            return out.json(&shown::object(message));
        }
        if !self.raw {
            return out.line(shown::line(message, None));
        }
        out.raw(&message.body)?;
        if self.newline { out.raw(b"\n") } else { Ok(()) }
    }
}

fn tail_from(text: &str) -> Result<TailFrom, String> {
    match text {
        "earliest" => return Ok(TailFrom::Earliest),
        "latest" => return Ok(TailFrom::Latest),
        _ => {}
    }
    if let Some(count) = text.strip_prefix('-').and_then(|count| count.parse().ok()) {
        return Ok(TailFrom::Last(count));
    }
    moment::parse(text).map(TailFrom::Time).map_err(|_| {
        format!(
            "expected earliest, latest, -N for the newest N, or {}",
            moment::FORMS
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_begin_at() {
        assert_eq!(tail_from("earliest"), Ok(TailFrom::Earliest));
        assert_eq!(tail_from("latest"), Ok(TailFrom::Latest));
        assert_eq!(tail_from("-10"), Ok(TailFrom::Last(10)));
        assert!(matches!(tail_from("1h"), Ok(TailFrom::Time(_))));
        for bad in ["", "10", "-x", "now"] {
            assert!(tail_from(bad).is_err(), "{bad}");
        }
    }
}
