//! Transactions.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::Context;
use crate::admin::Admin;
use crate::driver::Outgoing;
use crate::session::{Simple, Transactional};

/// When the broker asks first, and until when it must have asked.
const ASKED_AFTER: Duration = Duration::from_secs(6);
const ASKED_UNTIL: Duration = Duration::from_secs(30);
/// Most that a committed message is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// Nothing comes before its transaction ends; what is committed comes then, and what is rolled back does not, nor is it asked
/// about.
pub async fn ended(context: &Context<'_>) -> Result<()> {
    let (mut producer, consumer, topic) = start(context).await?;
    let begin = Instant::now();
    let dropped = producer.send_half(Outgoing::new(&topic, "dropped")).await?;
    producer.roll_back(&dropped).await?;
    let kept = producer.send_half(Outgoing::new(&topic, "kept")).await?;
    consumer.expect_none().await?;
    producer.commit(&kept).await?;
    let came = consumer.take(1, LIMIT).await?;
    ensure!(came[0].id == kept.id && came[0].body == b"kept", "{came:?}");
    // Past the time at which a transaction without an end is asked about.
    while begin.elapsed() < ASKED_AFTER + Duration::from_secs(2) {
        consumer.expect_none().await?;
    }
    if let Ok(asked) = producer.asked(Instant::now()).await {
        // A slow machine may have been asked about the other one before it was committed.
        ensure!(asked.id == kept.id, "asked about what ended: {asked:?}");
    }
    Ok(())
}

/// The producer is asked about a transaction without an end, with the whole message, and its answer delivers it.
pub async fn asked_about(context: &Context<'_>) -> Result<()> {
    let (mut producer, consumer, topic) = start(context).await?;
    let begin = Instant::now();
    let half = producer
        .send_half(Outgoing::new(&topic, "open").tag("A"))
        .await?;
    consumer.expect_none().await?;
    let asked = producer.asked(begin + ASKED_UNTIL).await?;
    let after = begin.elapsed();
    ensure!(after >= ASKED_AFTER, "asked after {after:?} only");
    ensure!(asked.id == half.id && asked.topic == topic, "{asked:?}");
    ensure!(asked.body == b"open" && !asked.corrupted, "{asked:?}");
    ensure!(asked.tag.as_deref() == Some("A"), "{asked:?}");
    let came = consumer.take(1, LIMIT).await?;
    ensure!(came[0].id == half.id && came[0].attempt == 1, "{came:?}");
    Ok(())
}

/// A producer and a consumer of a topic for half messages.
async fn start(context: &Context<'_>) -> Result<(Transactional, Simple, String)> {
    let topic = context.group("deals");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_transaction_topic(&topic).await?;
    let session = context.session().await?;
    let producer = session.transactional(&topic).await?;
    let consumer = session.simple(&context.group("ledger"), &topic).await?;
    Ok((producer, consumer, topic))
}
