//! Clients that start and stop.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::Context;
use crate::admin::Admin;
use crate::driver::Outgoing;
use crate::session::{INVISIBLE, Session};

/// A start takes well below a second alone on a machine; the scenarios run side by side. A client that is merely silent is forgotten
/// after 60 s.
const START_LIMIT: Duration = Duration::from_secs(30);
/// A client tries three times, with pauses of one and two seconds, before it gives up.
const REPORT_LIMIT: Duration = Duration::from_secs(60);
/// How often to look whether the broker has forgotten a client.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A producer, of more than one topic, is connected after its start and, told by itself, forgotten after its stop.
pub async fn start_and_stop(context: &Context<'_>) -> Result<()> {
    let own = context.own_broker(|_| ()).await?;
    let mut admin = Admin::connect(own.broker.address()).await?;
    admin.create_topic("startup").await?;
    admin.create_topic("another").await?;
    let session = Session::open(context.kind, own.broker.address(), &[]).await?;
    let start = Instant::now();
    let producer = session.producer(&["startup", "another"]).await?;
    ensure!(
        start.elapsed() < START_LIMIT,
        "the start took {:?}",
        start.elapsed()
    );
    wait_for_clients(&mut admin, 1)
        .await
        .context("after the start")?;
    producer.stop().await?;
    wait_for_clients(&mut admin, 0)
        .await
        .context("after the stop")
}

async fn wait_for_clients(admin: &mut Admin, expected: u64) -> Result<()> {
    let end = Instant::now() + START_LIMIT;
    loop {
        let connected = admin.broker().await?.connected_clients;
        if connected == expected {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "{connected} clients are connected, not {expected}"
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Without auto-create a missing topic shows at the start, or at the first call at the latest.
pub async fn missing_topic(context: &Context<'_>) -> Result<()> {
    let own = context
        .own_broker(|settings| settings.auto_create = false)
        .await?;
    let session = Session::open(context.kind, own.broker.address(), &[]).await?;
    let start = Instant::now();
    let sent = match session.producer(&["missing"]).await {
        Ok(producer) => producer
            .send(Outgoing::new("missing", "lost"))
            .await
            .map(drop),
        Err(failure) => Err(failure),
    };
    context
        .expect_refusal(sent, "TOPIC_NOT_FOUND")
        .context("producer")?;
    let received = match session.simple("readers", "missing").await {
        Ok(consumer) => consumer.receive(1, INVISIBLE).await.map(drop),
        Err(failure) => Err(failure),
    };
    context
        .expect_refusal(received, "TOPIC_NOT_FOUND")
        .context("consumer")?;
    ensure!(
        start.elapsed() < REPORT_LIMIT,
        "it took {:?}",
        start.elapsed()
    );
    Ok(())
}

/// There is no authentication: whoever a client says that it is, it is served, and a token beside its name is passed over.
/// Those who give none, and those who give another name, work on the same topic.
pub async fn any_credentials(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let stranger = context
        .session()
        .await?
        .with_credentials("stranger", "a secret");
    let guest = context
        .session()
        .await?
        .with_credentials("guest", "another");
    let (stranger, nobody) = (
        stranger.with_session_token("made up"),
        context.session().await?,
    );
    for (name, session) in [("stranger", stranger), ("guest", guest), ("nobody", nobody)] {
        let producer = session.producer(&[&topic]).await.context(name)?;
        let sent = producer
            .send(Outgoing::new(&topic, name))
            .await
            .context(name)?;
        let consumer = session
            .simple(&context.group("all"), &topic)
            .await
            .context(name)?;
        let taken = consumer.take(1, REPORT_LIMIT).await.context(name)?;
        ensure!(taken[0].id == sent, "another message came: {:?}", taken[0]);
    }
    Ok(())
}

/// Empty credentials do no harm where the broker asks for none.
pub async fn empty_credentials(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?.with_credentials("", "");
    let producer = session.producer(&[&topic]).await?;
    producer.send(Outgoing::new(&topic, "anonymous")).await?;
    let consumer = session.simple(&context.group("any"), &topic).await?;
    let taken = consumer.take(1, REPORT_LIMIT).await?;
    ensure!(taken[0].body == b"anonymous", "another message came");
    Ok(())
}
