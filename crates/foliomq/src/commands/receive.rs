//! `foliomq receive`: messages for a group, acknowledged once they are printed.

use std::io::{self, IsTerminal};
use std::time::Duration;

use clap::Args;
use foliomq_client::{Delivery, Filter, SimpleConsumer};

use crate::arguments::{Format, Remote};
use crate::output::Output;
use crate::shown;
use crate::units::Span;

/// The broker hands out at most so many at once.
const BATCH: usize = 32;
/// A topic that stays silent for so long after its first messages has no more.
const LULL: Span = Span(Duration::from_millis(200));

#[derive(Debug, Args)]
pub struct Receive {
    /// The topic
    topic: String,

    /// The consumer group; made on first use
    #[arg(long)]
    group: String,

    /// Stop after so many messages [default: when there are no more]
    #[arg(long, value_name = "N")]
    max: Option<usize>,

    /// How long to wait for the first message; with --max, for each
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    wait: Span,

    /// How long a message stays hidden from others until it is acknowledged
    #[arg(long, default_value = "30s", value_name = "DURATION")]
    invisible: Span,

    /// Only messages with these tags: `A || B`; others are skipped for the group
    #[arg(long, value_name = "TAGS", default_value = "*")]
    tag: String,

    /// Only messages for whose properties this is true: "price > 20 AND TAGS = 'hot'"; others are skipped for the group
    #[arg(long, value_name = "CONDITION", conflicts_with = "tag")]
    sql: Option<String>,

    /// Of these lite topics of the topic, made if they are not there; repeatable. A topic of the type lite has no other messages
    #[arg(long, value_name = "NAME")]
    lite_topic: Vec<String>,

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
            .simple_consumer(&self.group, &self.topic)
            .filter_by(self.filter());
        let mut out = Output::new(self.format.json);
        let received = tokio::select! {
            received = self.receive_subscribed(&consumer, &mut out) => received,
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

    fn filter(&self) -> Filter {
        match &self.sql {
            Some(condition) => Filter::Sql(condition.clone()),
            None => Filter::Tags(self.tag.clone()),
        }
    }

    async fn receive_subscribed(
        &self,
        consumer: &SimpleConsumer,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        if !self.lite_topic.is_empty() {
            consumer.subscribe_lite(&self.lite_topic).await?;
        }
        self.receive(consumer, out).await
    }

    async fn receive(&self, consumer: &SimpleConsumer, out: &mut Output) -> anyhow::Result<()> {
        let max = self.max.unwrap_or(usize::MAX);
        let (mut received, mut wait) = (0, self.wait);
        while received < max {
            let most = BATCH.min(max - received);
            let deliveries = consumer.receive(most, self.invisible.0, wait.0).await?;
            if deliveries.is_empty() && !self.follow {
                break;
            }
            self.take(&deliveries, consumer, out).await?;
            received += deliveries.len();
            if !self.follow && self.max.is_none() {
                wait = wait.min(LULL);
            }
        }
        // A person who sees nothing may ask why; a script does not.
        if received == 0 && max > 0 && io::stderr().is_terminal() {
            eprintln!("no message for group {} came within {wait}", self.group);
        }
        Ok(())
    }

    /// Acknowledged means printed: what a reader that went away did not get comes again.
    async fn take(
        &self,
        deliveries: &[Delivery],
        consumer: &SimpleConsumer,
        out: &mut Output,
    ) -> anyhow::Result<()> {
        deliveries
            .iter()
            .try_for_each(|delivery| self.print(delivery, out))?;
        out.flush()?;
        if !self.no_ack {
            consumer.ack_all(deliveries).await?;
        }
        Ok(())
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
