//! Receive calls: how many messages, how long they wait.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Context;
use crate::driver::Outgoing;
use crate::session::{BATCH, INVISIBLE, WAIT};

/// An empty poll of [`WAIT`] ends no earlier than this, and on the slowest machine no later.
const POLL_RANGE: std::ops::Range<Duration> = Duration::from_millis(2500)..Duration::from_secs(30);
/// From the start of a send to the end of the waiting receive call, which would wait for twice as long.
const WAKE_LIMIT: Duration = Duration::from_secs(5);
/// Time for a receive call to reach the broker and wait there; nothing tells that it does.
const SETTLE: Duration = Duration::from_millis(700);

/// A receive call brings at most 32 messages, and one where one is asked for.
pub async fn batch_sizes(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let messages = (0..60).map(|number| Outgoing::new(&topic, format!("message {number}")));
    producer.send_all(messages.collect()).await?;
    let consumer = session.simple(&context.group("all"), &topic).await?;
    let many = consumer.receive(50, INVISIBLE).await?.len();
    ensure!(
        (1..=BATCH as usize).contains(&many),
        "receive(50) brought {many}"
    );
    let one = consumer.receive(1, INVISIBLE).await?.len();
    ensure!(one == 1, "receive(1) brought {one}");
    Ok(())
}

/// An empty poll waits as long as it was asked to and is no error to the caller.
pub async fn empty_poll(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let consumer = session
        .simple_with(&context.group("none"), &topic, "*", WAIT)
        .await?;
    let start = Instant::now();
    consumer.expect_none().await?;
    ensure!(
        POLL_RANGE.contains(&start.elapsed()),
        "the poll took {:?}",
        start.elapsed()
    );
    Ok(())
}

/// A waiting receive call ends when a message is sent. The best of three counts, since the
/// scenarios run side by side.
pub async fn wakes_up(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let wait = Duration::from_secs(10);
    let consumer = session
        .simple_with(&context.group("one"), &topic, "*", wait)
        .await?;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let poll = {
            let consumer = consumer.clone();
            tokio::spawn(async move { consumer.receive(1, INVISIBLE).await })
        };
        tokio::time::sleep(SETTLE).await;
        let start = Instant::now();
        producer.send(Outgoing::new(&topic, "wake up")).await?;
        let messages = poll.await??;
        best = best.min(start.elapsed());
        ensure!(messages.len() == 1, "the poll brought {}", messages.len());
        consumer.ack_all(&messages).await?;
    }
    ensure!(best < WAKE_LIMIT, "the message took {best:?}");
    Ok(())
}
