//! One client's messages, read by the others.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;

use super::Context;
use super::basics::{decorated, expect_same};
use crate::driver::{Kind, Outgoing};
use crate::session::{INVISIBLE, Session};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(40);

/// Every other client reads, in a group of its own, what this one sent.
pub async fn read_by_others(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let producer = context.session().await?.producer(&[&topic]).await?;
    let sent = decorated(&topic);
    let id = producer.send(sent.clone()).await?;
    let others = Kind::ALL.into_iter().filter(|kind| *kind != context.kind);
    let reads = others.map(|kind| {
        let (topic, sent, id) = (&topic, &sent, &id);
        async move {
            let read = read_by(context, kind, topic, sent, id).await;
            read.with_context(|| format!("read by {kind}"))
        }
    });
    try_join_all(reads).await?;
    Ok(())
}

async fn read_by(
    context: &Context<'_>,
    kind: Kind,
    topic: &str,
    sent: &Outgoing,
    id: &str,
) -> Result<()> {
    let session = Session::open(kind, context.stage.address, &[]).await?;
    let consumer = session.simple(&context.group(kind.name()), topic).await?;
    let received = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(
        received.id == id,
        "another id: {} instead of {id}",
        received.id
    );
    expect_same(sent, &received)?;
    consumer.ack(&received).await?;
    Ok(())
}
