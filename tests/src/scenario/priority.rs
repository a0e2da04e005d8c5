//! Messages with a priority.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::{Outgoing, Received};
use crate::session::INVISIBLE;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Of four levels; 9 counts as the highest. (The Node.js client takes 0 for no priority.)
const SENT: [i32; 8] = [1, 9, 2, 1, 3, 2, 3, 1];
/// In one level the older comes first.
const EXPECTED: [i32; 8] = [9, 3, 3, 2, 2, 1, 1, 1];

/// The higher number comes first, also among those that come again.
pub async fn higher_first(context: &Context<'_>) -> Result<()> {
    let topic = context.group("urgent-topic");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_priority_topic(&topic).await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let message = |priority: i32| Outgoing {
        priority: Some(priority),
        ..Outgoing::new(&topic, priority.to_string())
    };
    producer.send_all(SENT.map(message).into()).await?;
    let plain = producer.send(Outgoing::new(&topic, "no priority")).await;
    context.expect_refusal(plain, "MESSAGE_PROPERTY_CONFLICT_WITH_TYPE")?;

    let consumer = session.simple(&context.group("urgent"), &topic).await?;
    let first = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(first.priority == Some(EXPECTED[0]), "first: {first:?}");
    ensure!(first.body == b"9", "priority and body differ: {first:?}");
    // It comes again, before all that is lower and was never delivered.
    tokio::time::sleep(INVISIBLE + Duration::from_secs(1)).await;
    let all = consumer.take(SENT.len(), ARRIVAL_LIMIT).await?;
    let came: Vec<i32> = all.iter().filter_map(|message| message.priority).collect();
    ensure!(came == EXPECTED, "not the higher first: {came:?}");
    let attempts: Vec<i64> = all.iter().map(attempt).collect();
    ensure!(attempts[0] == 2, "attempts: {attempts:?}");
    Ok(())
}

fn attempt(message: &Received) -> i64 {
    message.attempt
}
