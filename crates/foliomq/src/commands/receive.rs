//! `foliomq receive`: messages for a group, acknowledged once they are printed.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use foliomq_client::{Consumer, Delivery};

use crate::arguments::{Format, Remote};
use crate::output::Output;
use crate::shown;
use crate::units::Span;

/// The broker hands out at most so many at once.
const BATCH: usize = 32;

#[derive(Debug, Args)]
pub struct Receive {
    topic: String,

    /// The consumer group; made on first use
    #[arg(long)]
    group: String,

    /// Stop after so many messages [default: when there are no more]
    #[arg(long, value_name = "N")]
    max: Option<usize>,

    /// How long to wait for the first message
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    wait: Span,

    /// How long a message stays hidden from others until it is acknowledged
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    invisible: Span,

    /// Only messages with these tags: `A || B`; others are skipped for the group
    #[arg(long, value_name = "TAGS", default_value = "*")]
    tag: String,

    /// Print bodies only, byte for byte, with nothing in between
    #[arg(long, conflicts_with = "json")]
    raw: bool,

    /// A line feed after each raw body
    #[arg(long, requires = "raw")]
    newline: bool,

    /// Do not acknowledge: the messages come again when their invisible time is over
    #[arg(long)]
    no_ack: bool,

    /// Go on for ever, waiting for more
    #[arg(long, conflicts_with = "max")]
    follow: bool,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

impl Receive {
    /// An interrupt ends it in good order: the broker hears that this consumer is gone.
    pub async fn run(self) -> anyhow::Result<()> {
        let consumer = self
            .remote
            .connect()
            .await?
            .consumer(&self.group, &self.topic)
            .filter(&self.tag);
        let mut out = Output::new(self.format.json);
        let received = tokio::select! {
            received = self.receive(&consumer, &mut out) => received,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        // Without a word of goodbye the broker notices by itself: the messages' fate is decided already.
        let closed = consumer.close().await;
        received?;
        closed.or_else(|error| {
            tracing::debug!(%error, "the broker did not hear the end of this consumer");
            Ok(())
        })
    }

    async fn receive(&self, consumer: &Consumer, out: &mut Output) -> anyhow::Result<()> {
        let mut left = self.max.unwrap_or(usize::MAX);
        let mut wait = self.wait;
        while left > 0 {
            let deliveries = consumer
                .receive(left.min(BATCH), self.invisible.0, wait.0)
                .await?;
            if deliveries.is_empty() && !self.follow {
                self.explain_silence(wait);
                break;
            }
            for delivery in &deliveries {
                self.print(delivery, out)?;
            }
            // Acknowledged means printed: what a reader that went away did not get comes again.
            out.flush()?;
            if !self.no_ack {
                consumer.ack_all(&deliveries).await?;
            }
            left -= deliveries.len().min(left);
            if !self.follow && self.max.is_none() {
                wait = Span(Duration::ZERO);
            }
        }
        Ok(())
    }

    /// A person who sees nothing may ask why; a script does not.
    fn explain_silence(&self, waited: Span) {
        if !waited.0.is_zero() && io::stderr().is_terminal() {
            eprintln!("no message for group {} came within {waited}", self.group);
        }
    }

    fn print(&self, delivery: &Delivery, out: &mut Output) -> io::Result<()> {
        if out.is_json() {
            return out.json(&shown::delivery(delivery));
        }
        if !self.raw {
            return out.line(shown::line(&delivery.message, Some(delivery.attempt)));
        }
        out.raw(&delivery.message.body)?;
        if self.newline { out.raw(b"\n") } else { Ok(()) }
    }
}
