//! Lite topics.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::Context;
use crate::admin::Admin;
use crate::driver::{Kind, Outgoing, Received};
use crate::session::{INVISIBLE, Producer, Push};

/// The Python client tells the broker of some names only by its next reconciliation, every 30 s.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(40);
/// Time for a delivery that should not come.
const QUIET: Duration = Duration::from_secs(4);
const COUNT: usize = 10;

/// Of three lite topics two are subscribed to: their messages come, each topic's in order; what was put off comes again as
/// the same attempt; after the subscription's end nothing comes.
pub async fn push(context: &Context<'_>) -> Result<()> {
    let topic = context.group("rooms");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_lite_topic(&topic).await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    // The Python client has no way to put a delivery off.
    let suspends = context.kind != Kind::Python;
    let mut consumer = session
        .lite_push(&context.group("lite"), &topic, suspends)
        .await?;
    for lite in ["one", "two"] {
        consumer.subscribe_lite(lite, true).await?;
    }
    for lite in ["one", "two", "three"] {
        send(&producer, &topic, lite, COUNT).await?;
    }
    let mut came = Vec::new();
    while came.len() < 2 * COUNT {
        let message = next(&mut consumer).await?;
        ensure!(message.attempt == 1, "attempt of {message:?}");
        came.push(message);
    }
    for lite in ["one", "two"] {
        in_order(&came, lite)?;
    }
    quiet(&mut consumer).await?;
    consumer.subscribe_lite("one", false).await?;
    send(&producer, &topic, "one", 1).await?;
    quiet(&mut consumer).await?;
    send(&producer, &topic, "two", 1).await?;
    ensure!(next(&mut consumer).await?.lite.as_deref() == Some("two"));
    consumer.stop().await?;
    Ok(())
}

/// The next delivery that its listener did not put off.
async fn next(consumer: &mut Push) -> Result<Received> {
    let end = Instant::now() + ARRIVAL_LIMIT;
    loop {
        let delivery = consumer.next(end).await.context("no delivery")?;
        if !delivery.failed {
            return Ok(delivery.message);
        }
    }
}

async fn quiet(consumer: &mut Push) -> Result<()> {
    let extra = consumer.next(Instant::now() + QUIET).await;
    ensure!(extra.is_none(), "one more delivery: {extra:?}");
    Ok(())
}

/// A receive gets the messages of the client's lite topics alone; more than the quotas allow is refused.
pub async fn simple(context: &Context<'_>) -> Result<()> {
    let own = context
        .own_broker(|settings| {
            let quotas = ["--set", "lite-subscriptions=2", "--set", "lite-topics=4"];
            settings.arguments.extend(quotas.map(str::to_owned));
        })
        .await?;
    let topic = context.group("rooms");
    let address = own.broker.address();
    Admin::connect(address)
        .await?
        .create_lite_topic(&topic)
        .await?;
    let session = crate::session::Session::open(context.kind, address, &[]).await?;
    let producer = session.producer(&[&topic]).await?;
    let consumer = session.lite_simple(&context.group("lite"), &topic).await?;
    for lite in ["one", "two"] {
        consumer.subscribe_lite(lite, true).await?;
    }
    let third = consumer.subscribe_lite("three", true).await;
    context.expect_refusal(third, "LITE_SUBSCRIPTION_QUOTA_EXCEEDED")?;
    for lite in ["one", "two", "three", "four"] {
        send(&producer, &topic, lite, 3).await?;
    }
    let fifth = send(&producer, &topic, "five", 1).await;
    let fifth = fifth.map_err(|error| error.downcast().expect("a failure of the driver"));
    context.expect_refusal(fifth, "LITE_TOPIC_QUOTA_EXCEEDED")?;
    let long = Outgoing {
        lite: Some("x".repeat(65)),
        ..Outgoing::new(&topic, "long")
    };
    context.expect_refusal(producer.send(long).await, "ILLEGAL_LITE_TOPIC")?;

    let came = consumer.take(6, ARRIVAL_LIMIT).await?;
    for lite in ["one", "two"] {
        in_order(&came, lite)?;
    }
    consumer.expect_none().await?;
    consumer.subscribe_lite("two", false).await?;
    consumer.subscribe_lite("three", true).await?;
    let first = consumer.receive(1, INVISIBLE).await?;
    let first = first.first().context("nothing of the third")?;
    ensure!(first.lite.as_deref() == Some("three"), "{first:?}");
    // What is not acknowledged holds back its lite topic, and comes again.
    let moved = consumer.change_invisible(first, INVISIBLE).await?;
    consumer.expect_none().await?;
    consumer.ack(&moved).await?;
    let rest = consumer.take(2, ARRIVAL_LIMIT).await?;
    ensure!(
        rest.iter()
            .all(|message| message.lite.as_deref() == Some("three"))
    );
    Ok(())
}

async fn send(producer: &Producer, topic: &str, lite: &str, count: usize) -> Result<()> {
    let message = |number: usize| Outgoing {
        lite: Some(lite.to_owned()),
        ..Outgoing::new(topic, format!("{lite}-{number:02}"))
    };
    producer.send_all((0..count).map(message).collect()).await?;
    Ok(())
}

fn in_order(came: &[Received], lite: &str) -> Result<()> {
    let of_it = came
        .iter()
        .filter(|message| message.lite.as_deref() == Some(lite));
    let bodies: Vec<String> = of_it
        .map(|message| String::from_utf8_lossy(&message.body).into_owned())
        .collect();
    let mut sorted = bodies.clone();
    sorted.sort_unstable();
    sorted.dedup();
    ensure!(
        !bodies.is_empty() && bodies == sorted,
        "not once each and in order: {bodies:?}"
    );
    Ok(())
}
