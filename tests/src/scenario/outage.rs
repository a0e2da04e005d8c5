//! A broker that dies under load and comes back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::Context;
use crate::admin::Admin;
use crate::broker::Broker;
use crate::driver::Outgoing;
use crate::session::{BATCH, INVISIBLE, Producer, Session, Simple};

const TOPIC: &str = "outage";
/// Acknowledged sends before the kill, and after the restart.
const SENDS: usize = 200;
/// How long the broker is away.
const AWAY: Duration = Duration::from_secs(5);
/// How long clients may take to come back, and messages to arrive.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// Pause of a client's caller after an error, so that it does not spin.
const PAUSE: Duration = Duration::from_millis(200);

/// A producer and a consumer go on by themselves after a kill -9 and a restart, and every send
/// that was acknowledged is received.
pub async fn kill_under_load(context: &Context<'_>) -> Result<()> {
    let own = context.own_broker(|_| ()).await?;
    let address = own.broker.address();
    Admin::connect(address).await?.create_topic(TOPIC).await?;
    let session = Session::open(context.kind, address, &[]).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let sender = keep_sending(session.producer(&[TOPIC]).await?, stop.clone());
    let receiver = keep_receiving(session.simple("readers", TOPIC).await?, stop.clone());

    sender.reaches(SENDS).await?;
    let settings = own.broker.restart_settings();
    own.broker.kill().await?;
    sleep(AWAY).await;
    let _broker = Broker::start(settings).await?;
    let before = sender.ids.borrow().len();
    sender.reaches(before + SENDS).await?;

    stop.store(true, Ordering::Relaxed);
    let sent = sender.finish().await?;
    let missing = receiver.receives_all(&sent).await;
    ensure!(
        missing == 0,
        "{missing} of {} acknowledged messages did not come",
        sent.len()
    );
    Ok(())
}

/// A task and the message ids that it has seen.
struct Load {
    ids: watch::Receiver<BTreeSet<String>>,
    task: JoinHandle<()>,
}

impl Load {
    async fn reaches(&self, count: usize) -> Result<()> {
        let mut ids = self.ids.clone();
        let reached = ids.wait_for(|ids| ids.len() >= count);
        let reached = tokio::time::timeout(RECOVERY_LIMIT, reached).await;
        let now = self.ids.borrow().len();
        ensure!(
            matches!(reached, Ok(Ok(_))),
            "{now} sends were acknowledged, not {count}"
        );
        Ok(())
    }

    async fn finish(self) -> Result<BTreeSet<String>> {
        self.task.await?;
        Ok(self.ids.borrow().clone())
    }

    /// How many of `sent` are still missing when the time is over.
    async fn receives_all(mut self, sent: &BTreeSet<String>) -> usize {
        let all = self.ids.wait_for(|ids| ids.is_superset(sent));
        let _ = tokio::time::timeout(RECOVERY_LIMIT, all).await.map(drop);
        self.task.abort();
        sent.difference(&self.ids.borrow()).count()
    }
}

fn keep_sending(producer: Producer, stop: Arc<AtomicBool>) -> Load {
    let (seen, ids) = watch::channel(BTreeSet::new());
    let task = tokio::spawn(async move {
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            match producer
                .send(Outgoing::new(TOPIC, format!("message {number}")))
                .await
            {
                Ok(id) => seen.send_modify(|ids| _ = ids.insert(id)),
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
    Load { ids, task }
}

/// Receives until it is aborted: after the sender has stopped, what is left must still come.
fn keep_receiving(consumer: Simple, stop: Arc<AtomicBool>) -> Load {
    let (seen, ids) = watch::channel(BTreeSet::new());
    let task = tokio::spawn(async move {
        let end = || {
            stop.load(Ordering::Relaxed)
                .then(|| Instant::now() + RECOVERY_LIMIT)
        };
        let mut last = end();
        while last.is_none_or(|last| Instant::now() < last) {
            last = last.or_else(end);
            match consumer.receive(BATCH, INVISIBLE).await {
                Ok(messages) => {
                    // A lost acknowledgement brings the message again, which the set absorbs.
                    let _ = consumer.ack_all(&messages).await;
                    let new = messages.into_iter().map(|message| message.id);
                    seen.send_modify(|ids| ids.extend(new));
                }
                Err(_) => sleep(PAUSE).await,
            }
        }
    });
    Load { ids, task }
}
