//! Messages in order.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::{Context, ORIGIN_LIMIT, origin_of};
use crate::admin::Admin;
use crate::driver::{Kind, Outgoing, Received};
use crate::session::{INVISIBLE, Push, Session};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Messages of each client library.
const EACH: usize = 5;
const COUNT: usize = EACH * Kind::ALL.len();
/// Calls of the listener for a message that it always fails, before the message is a dead letter.
const ATTEMPTS: u32 = 3;
const POISON: &str = "poison";
/// After the last expected delivery, time for one that should not come.
const QUIET: Duration = Duration::from_secs(4);

/// The messages of one message group, sent by every client library in turn, lie in one queue and come in order; what is not
/// acknowledged holds them back.
pub async fn in_order(context: &Context<'_>) -> Result<()> {
    let topic = context.group("ordered-topic");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_fifo_topic(&topic).await?;
    let session = context.session().await?;
    send_in_turn(context, &topic).await?;
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

/// One library after the other sends to one message group.
async fn send_in_turn(context: &Context<'_>, topic: &str) -> Result<()> {
    let message = |number: usize| Outgoing {
        group: Some("one".into()),
        ..Outgoing::new(topic, format!("{number:02}"))
    };
    for (turn, kind) in Kind::ALL.into_iter().enumerate() {
        let session = Session::open(kind, context.stage.address, &[]).await?;
        let producer = session.producer(&[topic]).await?;
        let numbers = turn * EACH..(turn + 1) * EACH;
        let sent = producer.send_all(numbers.map(message).collect()).await;
        sent.with_context(|| format!("sent by {kind}"))?;
    }
    Ok(())
}

/// A listener that fails a message is called again for it, and for none after it, until the message is a dead letter; then
/// come those after it.
pub async fn push(context: &Context<'_>) -> Result<()> {
    let topic = context.group("ordered-topic");
    let group = context.group("ordered");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin.create_fifo_topic(&topic).await?;
    admin.limit_attempts(&group, ATTEMPTS).await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let message = |body: &str| Outgoing {
        group: Some("one".into()),
        ..Outgoing::new(&topic, body)
    };
    let bodies = ["before", POISON, "after", "last"];
    let ids = producer.send_all(bodies.map(message).into()).await?;
    let mut consumer = session.push_failing(&group, &topic, POISON).await?;
    let mut expected = vec!["before"];
    expected.extend([POISON; ATTEMPTS as usize]);
    expected.extend(["after", "last"]);
    let came = deliveries(&mut consumer, expected.len()).await?;
    ensure!(came == expected, "the listener was called for {came:?}");
    let extra = consumer.next(Instant::now() + QUIET).await;
    ensure!(extra.is_none(), "one more delivery: {extra:?}");
    let letters = format!("%DLQ%{group}");
    let undertaker = session
        .simple(&context.group("undertaker"), &letters)
        .await?;
    let letter = undertaker.receive_one(INVISIBLE, ORIGIN_LIMIT).await?;
    ensure!(
        letter.body == POISON.as_bytes(),
        "another message: {letter:?}"
    );
    let origin = origin_of(context, &letters).await?;
    ensure!(
        origin == (topic, ids[1].clone()),
        "the dead letter's origin is {origin:?}"
    );
    consumer.stop().await?;
    Ok(())
}

/// The bodies for which the listener was called.
async fn deliveries(consumer: &mut Push, count: usize) -> Result<Vec<String>> {
    let end = Instant::now() + ARRIVAL_LIMIT;
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let delivery = consumer.next(end).await;
        let delivery = delivery.with_context(|| format!("no more came after {bodies:?}"))?;
        bodies.push(number(&delivery.message));
    }
    Ok(bodies)
}

fn number(message: &Received) -> String {
    String::from_utf8_lossy(&message.body).into_owned()
}
