//! Messages go in and come out.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::{Outgoing, Received};
use crate::session::INVISIBLE;

/// All messages of a scenario arrive within this time.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// How far the birth time of a message may be from the receiver's clock.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// 100 messages arrive once each, and after the invisible time none comes back.
pub async fn hundred(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let messages = (0..100).map(|number| Outgoing::new(&topic, format!("message {number}")));
    let sent: BTreeSet<String> = producer
        .send_all(messages.collect())
        .await?
        .into_iter()
        .collect();
    ensure!(sent.len() == 100, "message ids are not distinct");

    let consumer = session.simple(&context.group("all"), &topic).await?;
    let taken = consumer.take(100, ARRIVAL_LIMIT).await?;
    let received: BTreeSet<String> = taken.into_iter().map(|message| message.id).collect();
    ensure!(received == sent, "sent and received messages differ");
    tokio::time::sleep(INVISIBLE).await;
    consumer.expect_none().await
}

/// Messages of one request arrive all, and stand in one queue in the order of the request.
pub async fn batch(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let bodies: Vec<String> = (0..50).map(|number| format!("message {number}")).collect();
    let messages = bodies
        .iter()
        .map(|body| Outgoing::new(&topic, body.as_str()));
    let sent = producer.send_batch(messages.collect()).await?;

    let stored = Admin::connect(context.stage.address)
        .await?
        .contents(&topic)
        .await?;
    let order: Vec<&[u8]> = stored.iter().map(|message| message.body.as_ref()).collect();
    ensure!(
        order == bodies.iter().map(String::as_bytes).collect::<Vec<_>>(),
        "another order"
    );
    ensure!(
        stored
            .iter()
            .all(|message| message.queue == stored[0].queue),
        "several queues"
    );
    let consumer = session.simple(&context.group("all"), &topic).await?;
    let taken = consumer.take(sent.len(), ARRIVAL_LIMIT).await?;
    let received: BTreeSet<String> = taken.into_iter().map(|message| message.id).collect();
    ensure!(
        received == BTreeSet::from_iter(sent),
        "sent and received messages differ"
    );
    Ok(())
}

/// Whatever a producer sets, a consumer sees.
pub async fn round_trip(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let sent = decorated(&topic);
    let id = producer.send(sent.clone()).await?;
    let consumer = session.simple(&context.group("one"), &topic).await?;
    let received = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(
        received.id == id,
        "another id: {} instead of {id}",
        received.id
    );
    expect_same(&sent, &received)?;
    consumer.ack(&received).await?;
    Ok(())
}

/// A message that uses every field of a normal message, beyond ASCII where that is allowed.
pub fn decorated(topic: &str) -> Outgoing {
    Outgoing {
        body: (0..=255).collect(),
        tag: Some("标签".into()),
        keys: vec!["order-1".into(), "κλειδί-2".into()],
        ..Outgoing::new(topic, [])
            .property("city", "Zürich")
            .property("ключ", "значение")
            .property("emoji", "📬 = mailbox")
    }
}

/// Checks what a receiver sees of a message against what was sent.
///
/// # Errors
/// If any field differs.
pub fn expect_same(sent: &Outgoing, received: &Received) -> Result<()> {
    ensure!(received.topic == sent.topic, "topic {:?}", received.topic);
    ensure!(received.tag == sent.tag, "tag {:?}", received.tag);
    let keys = [&sent.keys, &received.keys].map(|keys| keys.iter().collect::<BTreeSet<_>>());
    ensure!(keys[0] == keys[1], "keys {:?}", received.keys);
    ensure!(
        received.properties == sent.properties,
        "properties {:?}",
        received.properties
    );
    ensure!(received.body == sent.body, "the body differs");
    ensure!(
        !received.corrupted,
        "the client calls the message corrupted"
    );
    ensure!(
        received.attempt == 1,
        "attempt {} at first delivery",
        received.attempt
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let age = i64::try_from(now)? - received.born_ms;
    ensure!(age.abs() < CLOCK_TOLERANCE_MS, "born {age} ms ago");
    Ok(())
}
