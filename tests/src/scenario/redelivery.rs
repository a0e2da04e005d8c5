//! Messages that are not acknowledged in time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::{Context, Needs, origin_of};
use crate::admin::Admin;
use crate::driver::Outgoing;
use crate::session::{INVISIBLE, Producer, Push, Session, Simple};

/// A message that is due comes within this time.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Slack around times that the broker keeps.
const TOLERANCE: Duration = Duration::from_millis(1500);
/// Deliveries of a message before it is a dead letter, as scenario 17 sets it.
const ATTEMPTS: u32 = 3;

/// A message, sent, and a consumer for it.
async fn prepare(context: &Context<'_>) -> Result<(Session, Producer, Simple, String)> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    producer.send(Outgoing::new(&topic, "again")).await?;
    let consumer = session.simple(&context.group("g"), &topic).await?;
    Ok((session, producer, consumer, topic))
}

/// Not acknowledged, it comes again after the invisible time, with a new handle each time.
pub async fn comes_back(context: &Context<'_>) -> Result<()> {
    let (_session, _producer, consumer, _) = prepare(context).await?;
    let mut previous = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(
        previous.attempt == 1,
        "attempt {} at first",
        previous.attempt
    );
    for attempt in 2..=3 {
        let start = Instant::now();
        let next = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
        expect_after(start, INVISIBLE)?;
        ensure!(
            next.attempt == attempt,
            "attempt {} instead of {attempt}",
            next.attempt
        );
        ensure!(next.id == previous.id, "another message came");
        ensure!(
            next.handle != previous.handle,
            "the same receipt handle again"
        );
        previous = next;
    }
    consumer.ack(&previous).await?;
    Ok(())
}

/// Acknowledging after the invisible time fails, and the message comes again.
pub async fn late_ack(context: &Context<'_>) -> Result<()> {
    let (_session, _producer, consumer, _) = prepare(context).await?;
    let first = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    tokio::time::sleep(INVISIBLE + TOLERANCE).await;
    expect_invalid_handle(consumer.ack(&first).await)?;
    let second = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(
        second.id == first.id && second.attempt == 2,
        "not the same message: {second:?}"
    );
    consumer.ack(&second).await?;
    Ok(())
}

/// The invisible time can be prolonged and cut short; only the newest handle is good.
pub async fn change_invisible(context: &Context<'_>) -> Result<()> {
    let (_session, producer, consumer, topic) = prepare(context).await?;
    let first = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    let (longer, start) = (2 * INVISIBLE, Instant::now());
    let prolonged = consumer.change_invisible(&first, longer).await?;
    ensure!(prolonged.handle != first.handle, "the same receipt handle");
    expect_invalid_handle(consumer.ack(&first).await).context("the old handle")?;

    producer.send(Outgoing::new(&topic, "another")).await?;
    let other = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    let cut = Instant::now();
    consumer.change_invisible(&other, Duration::ZERO).await?;
    let again = consumer
        .receive_one(INVISIBLE, INVISIBLE)
        .await
        .context("brought forward")?;
    ensure!(
        cut.elapsed() < INVISIBLE,
        "it came back after {:?}",
        cut.elapsed()
    );
    ensure!(
        again.id == other.id && again.attempt == 2,
        "not the same message: {again:?}"
    );
    let kept = consumer.change_invisible(&again, INVISIBLE).await?;
    consumer.ack(&kept).await.context("the newest handle")?;

    let late = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(late.id == first.id, "not the prolonged message: {late:?}");
    expect_after(start, longer)?;
    consumer.ack(&late).await?;
    Ok(())
}

/// The invisible time of a receive call lies between 10 s and 12 h.
pub async fn illegal_invisible_time(context: &Context<'_>) -> Result<()> {
    let (_session, _producer, consumer, _) = prepare(context).await?;
    for seconds in [5, 13 * 3600] {
        let call = consumer.receive(1, Duration::from_secs(seconds)).await;
        let refused = context.expect_refusal(call, "ILLEGAL_INVISIBLE_TIME");
        refused.with_context(|| format!("{seconds} s"))?;
    }
    Ok(())
}

/// After the group's last attempt the message is in `%DLQ%group`, with a note of its origin.
pub async fn dead_letter(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let group = context.group("tries");
    Admin::connect(context.stage.address)
        .await?
        .limit_attempts(&group, ATTEMPTS)
        .await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let id = producer.send(Outgoing::new(&topic, "poison")).await?;
    // A push consumer stays: its last "failed" makes the message a dead letter.
    let _consumer = match Needs::Push.missing_in(context.kind) {
        None => Some(fail_all(&session, &group, &topic).await?),
        Some(_) => {
            leave_all(&session, &group, &topic).await?;
            None
        }
    };

    let letters = format!("%DLQ%{group}");
    let undertaker = session
        .simple(&context.group("undertaker"), &letters)
        .await?;
    let letter = undertaker.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(letter.body == b"poison", "another message: {letter:?}");
    let origin = origin_of(context, &letters).await?;
    ensure!(
        origin == (topic, id),
        "the dead letter's origin is {origin:?}"
    );
    Ok(())
}

/// A push consumer whose listener always fails.
async fn fail_all(session: &Session, group: &str, topic: &str) -> Result<Push> {
    let mut consumer = session.push(group, topic, u32::MAX >> 1).await?;
    for attempt in 1..=i64::from(ATTEMPTS) {
        let end = tokio::time::Instant::now() + ARRIVAL_LIMIT;
        let delivery = consumer
            .next(end)
            .await
            .with_context(|| format!("no attempt {attempt}"))?;
        ensure!(
            delivery.message.attempt == attempt,
            "attempt {}",
            delivery.message.attempt
        );
    }
    Ok(consumer)
}

/// A simple consumer that never acknowledges; its next receive call finds the attempts used up.
async fn leave_all(session: &Session, group: &str, topic: &str) -> Result<()> {
    let consumer = session.simple(group, topic).await?;
    for attempt in 1..=i64::from(ATTEMPTS) {
        let message = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
        ensure!(message.attempt == attempt, "attempt {}", message.attempt);
    }
    tokio::time::sleep(INVISIBLE).await;
    consumer.expect_none().await
}

fn expect_after(start: Instant, due: Duration) -> Result<()> {
    let taken = start.elapsed();
    ensure!(
        taken + TOLERANCE > due,
        "it came back after {taken:?} instead of {due:?}"
    );
    Ok(())
}

/// No library checks a receipt handle by itself, so the broker's code must show.
fn expect_invalid_handle(ack: Result<(), crate::driver::Failure>) -> Result<()> {
    match ack {
        Err(failure) if failure.code.as_deref() == Some("INVALID_RECEIPT_HANDLE") => Ok(()),
        Err(failure) => anyhow::bail!("INVALID_RECEIPT_HANDLE was expected, not: {failure}"),
        Ok(()) => anyhow::bail!("a stale receipt handle was accepted"),
    }
}
