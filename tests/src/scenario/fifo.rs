//! Messages in order.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::{Outgoing, Received};
use crate::session::INVISIBLE;

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
const COUNT: usize = 20;

/// The messages of one message group lie in one queue and come in order; what is not acknowledged holds them back.
pub async fn in_order(context: &Context<'_>) -> Result<()> {
    let topic = context.group("ordered-topic");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_fifo_topic(&topic).await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let message = |number: usize| Outgoing {
        group: Some("one".into()),
        ..Outgoing::new(&topic, format!("{number:02}"))
    };
    producer.send_all((0..COUNT).map(message).collect()).await?;
    let stored = admin.contents(&topic).await?;
    ensure!(
        stored.len() == COUNT && stored.iter().all(|one| one.queue == stored[0].queue),
        "the message group lies in several queues"
    );

    let consumer = session.simple(&context.group("fifo"), &topic).await?;
    let first = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(number(&first) == "00", "{first:?} came first");
    let early = consumer.receive(1, INVISIBLE).await?;
    // The poll may outlast the invisible time: then the same message comes once more, and no other.
    let held = early.into_iter().next().unwrap_or(first);
    ensure!(
        number(&held) == "00",
        "{held:?} passed one that is not done"
    );
    consumer.ack(&held).await?;
    let rest = consumer.take(COUNT - 1, ARRIVAL_LIMIT).await?;
    let expected: Vec<String> = (1..COUNT).map(|number| format!("{number:02}")).collect();
    let came: Vec<String> = rest.iter().map(number).collect();
    ensure!(came == expected, "out of order: {came:?}");
    Ok(())
}

fn number(message: &Received) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}
