//! Push consumers.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::Context;
use crate::driver::Outgoing;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(40);
/// After the last expected delivery, time for one that should not come.
const QUIET: Duration = Duration::from_secs(4);
/// The first step of the backoff is one second; the listener's machine is busy.
const FIRST_STEP: std::ops::Range<Duration> = Duration::from_millis(500)..ARRIVAL_LIMIT;

/// Every message reaches the listener once.
pub async fn two_hundred(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let mut consumer = session.push(&context.group("all"), &topic, 0).await?;
    let producer = session.producer(&[&topic]).await?;
    let messages = (0..200).map(|number| Outgoing::new(&topic, format!("message {number}")));
    let sent: BTreeSet<String> = producer
        .send_all(messages.collect())
        .await?
        .into_iter()
        .collect();
    let end = Instant::now() + ARRIVAL_LIMIT;
    let mut received = BTreeSet::new();
    while received.len() < sent.len() {
        let delivery = consumer.next(end).await;
        let message = delivery
            .with_context(|| format!("only {} came", received.len()))?
            .message;
        ensure!(
            message.attempt == 1,
            "attempt {} of {}",
            message.attempt,
            message.id
        );
        ensure!(received.insert(message.id), "a message came twice");
    }
    ensure!(received == sent, "sent and received messages differ");
    let extra = consumer.next(Instant::now() + QUIET).await;
    ensure!(extra.is_none(), "one more delivery: {extra:?}");
    consumer.stop().await?;
    Ok(())
}

/// A message whose listener failed comes again after the first step of the backoff.
pub async fn first_backoff(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let mut consumer = session.push(&context.group("retry"), &topic, 1).await?;
    let producer = session.producer(&[&topic]).await?;
    let id = producer.send(Outgoing::new(&topic, "try again")).await?;
    let end = Instant::now() + ARRIVAL_LIMIT;
    let first = consumer.next(end).await.context("no delivery")?;
    let start = Instant::now();
    ensure!(
        first.failed && first.message.attempt == 1,
        "first: {first:?}"
    );
    let second = consumer.next(end).await.context("no second delivery")?;
    let taken = start.elapsed();
    ensure!(
        second.message.id == id && second.message.attempt == 2,
        "second: {second:?}"
    );
    ensure!(!second.failed, "the second delivery was meant to succeed");
    ensure!(FIRST_STEP.contains(&taken), "it came again after {taken:?}");
    let extra = consumer.next(Instant::now() + QUIET).await;
    ensure!(extra.is_none(), "one more delivery: {extra:?}");
    consumer.stop().await?;
    Ok(())
}
