//! Clients that have nothing to do for a long time.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};

use super::{Context, Needs};
use crate::admin::Admin;
use crate::driver::Outgoing;
use crate::session::Session;

/// The broker forgets a client that is silent for 60 s, and asks a connection for a sign of life every 60 s: whoever is
/// still there after this time stays for an hour, too.
const IDLE: Duration = Duration::from_secs(130);
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);
/// The broker asks about an open transaction after six seconds.
const QUESTION_LIMIT: Duration = Duration::from_secs(60);

/// After a long rest clients are known by their heartbeats, their telemetry is open, and they go on at once.
pub async fn goes_on(context: &Context<'_>) -> Result<()> {
    let own = context.own_broker(|_| ()).await?;
    let address = own.broker.address();
    let mut admin = Admin::connect(address).await?;
    admin.create_topic("idle").await?;
    admin.create_transaction_topic("questions").await?;
    let session = Session::open(context.kind, address, &[]).await?;
    let producer = session.producer(&["idle"]).await?;
    let mut asked = session.transactional("questions").await?;
    let consumer = session.simple("readers", "idle").await?;
    let mut push = match Needs::Push.missing_in(context.kind) {
        None => Some(session.push("listeners", "idle", 0).await?),
        Some(_) => None,
    };
    let known = admin.broker().await?.connected_clients;
    sleep(IDLE).await;
    let kept = admin.broker().await?.connected_clients;
    ensure!(kept == known, "{kept} of {known} clients are known");

    let sent = producer.send(Outgoing::new("idle", "good morning")).await?;
    let taken = consumer.take(1, ARRIVAL_LIMIT).await?;
    ensure!(taken[0].id == sent, "another message came: {:?}", taken[0]);
    if let Some(push) = &mut push {
        let delivery = push.next(Instant::now() + ARRIVAL_LIMIT).await;
        let delivery = delivery.context("nothing was pushed")?;
        ensure!(
            delivery.message.id == sent,
            "another was pushed: {delivery:?}"
        );
    }
    // Only an open telemetry stream brings the question.
    let half = asked.send_half(Outgoing::new("questions", "open")).await?;
    let question = asked.asked(Instant::now() + QUESTION_LIMIT).await?;
    ensure!(question.id == half.id, "asked about another: {question:?}");
    Ok(())
}
