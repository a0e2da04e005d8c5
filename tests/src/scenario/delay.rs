//! Delayed messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::{Kind, Outgoing, Received};
use crate::session::{INVISIBLE, Producer, Simple};

/// How much before its time a message may come: clocks are not the same.
const TOLERANCE_MS: i64 = 100;
/// Most that a message is waited for.
const LIMIT: Duration = Duration::from_secs(90);
/// Beyond the broker's 40 days.
const TOO_FAR_MS: i64 = 41 * 24 * 3600 * 1000;

/// A message for a time past comes at once, one for 5 s ahead not before then, each with the time that was asked for; one beyond
/// the horizon is refused.
pub async fn in_time(context: &Context<'_>) -> Result<()> {
    let (producer, consumer, topic) = start(context, "delay").await?;
    let delayed = |body, time| delayed(&topic, body, time);
    // Whole seconds, so that no library rounds.
    let past = (now_ms() / 1000 - 10) * 1000;
    producer.send(delayed("past", past)).await?;
    let (first, _) = receive(&consumer).await?;
    ensure!(first.body == b"past", "{:?} came first", first.body);
    let begin = now_ms();
    let due = (begin / 1000 + 6) * 1000;
    producer.send(delayed("later", due)).await?;
    let (second, arrival) = receive(&consumer).await?;
    ensure!(second.body == b"later", "{:?} came again", second.body);
    let early = due - arrival;
    ensure!(early <= TOLERANCE_MS, "it came {early} ms before its time");
    for (message, time) in [(&first, past), (&second, due)] {
        let kept = message.deliver_ms.is_none_or(|kept| kept == time);
        ensure!(kept, "its time is {:?}, not {time}", message.deliver_ms);
    }
    let refused = producer.send(delayed("never", begin + TOO_FAR_MS)).await;
    context.expect_refusal(refused, "ILLEGAL_DELIVERY_TIME")
}

/// What is recalled does not come, while another of the same time does; it cannot be recalled twice.
pub async fn recalled(context: &Context<'_>) -> Result<()> {
    let (producer, consumer, topic) = start(context, "recall").await?;
    let due = (now_ms() / 1000 + 15) * 1000;
    let recalled = delayed(&topic, "recalled", due);
    let (id, handle) = producer.send_recallable(recalled).await?;
    producer.send(delayed(&topic, "kept", due)).await?;
    let told = producer.recall(&topic, &handle).await?;
    ensure!(told == id, "{told} was recalled, not {id}");
    let (came, _) = receive(&consumer).await?;
    ensure!(came.body == b"kept", "{came:?} came");
    consumer.expect_none().await?;
    let again = producer.recall(&topic, &handle).await;
    let code = match context.kind {
        // It would take the other for success.
        Kind::Python => "BAD_REQUEST",
        _ => "MESSAGE_NOT_FOUND",
    };
    context.expect_refusal(again, code)?;
    let made_up = producer.recall(&topic, "made up").await;
    context.expect_refusal(made_up, "BAD_REQUEST")
}

/// A producer and a consumer of a topic for delayed messages.
async fn start(context: &Context<'_>, purpose: &str) -> Result<(Producer, Simple, String)> {
    let topic = context.group(&format!("{purpose}-topic"));
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_delay_topic(&topic).await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let consumer = session.simple(&context.group(purpose), &topic).await?;
    Ok((producer, consumer, topic))
}

fn delayed(topic: &str, body: &str, deliver_ms: i64) -> Outgoing {
    Outgoing {
        deliver_ms: Some(deliver_ms),
        ..Outgoing::new(topic, body)
    }
}

/// The next message, acknowledged, and when it came.
async fn receive(consumer: &Simple) -> Result<(Received, i64)> {
    let message = consumer.receive_one(INVISIBLE, LIMIT).await?;
    let arrival = now_ms();
    consumer.ack(&message).await?;
    Ok((message, arrival))
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}
