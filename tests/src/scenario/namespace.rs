//! Clients of a namespace.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::Outgoing;
use crate::session::{INVISIBLE, Session};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(30);
/// Deliveries of a message before it is a dead letter.
const ATTEMPTS: u32 = 1;

/// The same topic in two namespaces, in none, and one whose plain name looks like it are four topics; the same group is as
/// many groups, with dead letters of their own.
pub async fn apart(context: &Context<'_>) -> Result<()> {
    let (topic, group) = (context.group("orders"), context.group("billing"));
    let plain = context.session().await?;
    let session =
        |namespace| async move { anyhow::Ok(context.session().await?.in_namespace(namespace)) };
    let [one, two] = [session("one").await?, session("two").await?];
    let lookalike = format!("one%{topic}");
    let places = [
        ("one", &one, topic.as_str()),
        ("two", &two, topic.as_str()),
        ("plain", &plain, topic.as_str()),
        ("lookalike", &plain, lookalike.as_str()),
    ];
    for (body, session, topic) in places {
        let producer = session.producer(&[topic]).await.context(body)?;
        let sent = producer.send(Outgoing::new(topic, body)).await;
        sent.context(body)?;
    }
    for (body, session, topic) in places {
        only(session, &group, topic, body).await.context(body)?;
    }
    stored(context, &topic, &lookalike).await?;
    dead_letter(context, &one, &topic).await
}

/// What a group of the session finds in the topic is this, and nothing else.
async fn only(session: &Session, group: &str, topic: &str, body: &str) -> Result<()> {
    let consumer = session.simple(group, topic).await?;
    let taken = consumer.take(1, ARRIVAL_LIMIT).await?;
    let came = &taken[0];
    ensure!(came.body == body.as_bytes(), "{came:?} came");
    ensure!(came.topic == topic, "its topic is {:?}", came.topic);
    consumer.expect_none().await
}

/// The broker's own names of the four topics.
async fn stored(context: &Context<'_>, topic: &str, lookalike: &str) -> Result<()> {
    let mut admin = Admin::connect(context.stage.address).await?;
    let names = [
        format!("one/{topic}"),
        format!("two/{topic}"),
        topic.to_owned(),
        lookalike.to_owned(),
    ];
    for name in names {
        let held = admin.contents(&name).await?.len();
        ensure!(held == 1, "{name} has {held} messages");
    }
    Ok(())
}

/// A dead letter of a group is where a client of its namespace looks for it.
async fn dead_letter(context: &Context<'_>, session: &Session, topic: &str) -> Result<()> {
    let group = context.group("tries");
    let mut admin = Admin::connect(context.stage.address).await?;
    admin
        .limit_attempts(&format!("one/{group}"), ATTEMPTS)
        .await?;
    let consumer = session.simple(&group, topic).await?;
    consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    tokio::time::sleep(INVISIBLE).await;
    consumer.expect_none().await?;
    let letters = format!("%DLQ%{group}");
    let undertaker = session
        .simple(&context.group("undertaker"), &letters)
        .await?;
    let taken = undertaker.take(1, ARRIVAL_LIMIT).await?;
    let bodies: BTreeSet<&[u8]> = taken.iter().map(|letter| letter.body.as_slice()).collect();
    ensure!(bodies == BTreeSet::from([&b"one"[..]]), "{taken:?} came");
    Ok(())
}
