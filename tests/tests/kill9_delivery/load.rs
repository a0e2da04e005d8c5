//! Senders and receivers that live through the crashes of their broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use foliomq_proto::v2::{Code, Message};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::client::Client;
use crate::kind::MessageKind;
use crate::ledger::{Item, Shared, locked};

const SENDERS: u32 = 4;
/// One fewer than the senders.
pub const RECEIVERS: u32 = 3;
/// After a call that failed.
const PAUSE: Duration = Duration::from_millis(50);
/// One of so many messages is given back when it comes for the first time.
const GIVEN_BACK: u64 = 9;

/// All that runs.
pub struct Load {
    sending: Arc<AtomicBool>,
    running: Arc<AtomicBool>,
    senders: JoinSet<()>,
    receivers: JoinSet<Result<()>>,
}

impl Load {
    /// Starts it.
    ///
    /// # Errors
    /// If the address makes no sense, or a receiver cannot prepare itself.
    pub async fn start(
        address: SocketAddr,
        kind: &Arc<dyn MessageKind>,
        ledger: &Shared,
    ) -> Result<Self> {
        let mut load = Self {
            sending: Arc::new(AtomicBool::new(true)),
            running: Arc::new(AtomicBool::new(true)),
            senders: JoinSet::new(),
            receivers: JoinSet::new(),
        };
        for sender in 0..SENDERS {
            let client = Client::new(address, format!("sender-{sender}"), kind.name())?;
            let (kind, ledger, sending) = (kind.clone(), ledger.clone(), load.sending.clone());
            load.senders.spawn(async move {
                while sending.load(Ordering::Relaxed) {
                    if send_next(&client, kind.as_ref(), sender, &ledger)
                        .await
                        .is_err()
                    {
                        sleep(PAUSE).await;
                    }
                }
            });
        }
        for receiver in 0..RECEIVERS {
            let client = Client::new(address, format!("receiver-{receiver}"), kind.name())?;
            kind.prepare(&client, receiver).await?;
            let (kind, ledger, running) = (kind.clone(), ledger.clone(), load.running.clone());
            load.receivers.spawn(async move {
                let mut attempt = 0;
                while running.load(Ordering::Relaxed) {
                    match client.receive(&format!("{receiver}-{attempt}")).await {
                        Ok(batch) => {
                            attempt += 1;
                            work(&client, kind.as_ref(), receiver, &batch, &ledger).await?;
                        }
                        Err(_) => sleep(PAUSE).await,
                    }
                }
                Ok(())
            });
        }
        Ok(load)
    }

    /// No message is sent any more; those that are there still go to the receivers.
    pub async fn stop_sending(&mut self) {
        self.sending.store(false, Ordering::Relaxed);
        while self.senders.join_next().await.is_some() {}
    }

    /// Everything ends.
    ///
    /// # Errors
    /// If a receiver got a message that nobody sent.
    pub async fn stop(mut self) -> Result<()> {
        self.running.store(false, Ordering::Relaxed);
        while let Some(ended) = self.receivers.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn send_next(
    client: &Client,
    kind: &dyn MessageKind,
    sender: u32,
    ledger: &Shared,
) -> Result<()> {
    let item = (sender, locked(ledger).take_number(sender));
    let mut message = client.message(item);
    kind.shape(item, &mut message);
    let stored = client.send(message).await?;
    if kind.conclude(client, item, &stored).await? {
        locked(ledger).stored(item);
    }
    Ok(())
}

/// Gives some of a batch back, and acknowledges the rest.
async fn work(
    client: &Client,
    kind: &dyn MessageKind,
    receiver: u32,
    batch: &[Message],
    ledger: &Shared,
) -> Result<()> {
    let items = locked(ledger).received(kind, receiver, batch)?;
    let mut done: Vec<(Item, String)> = Vec::new();
    for (item, message) in items.into_iter().zip(batch) {
        let system = message.system_properties.clone().unwrap_or_default();
        let handle = system.receipt_handle.unwrap_or_default();
        if item.1 % GIVEN_BACK == 0 && system.delivery_attempt == Some(1) {
            // A broker that is away does not hear it: the lease ends by itself.
            let _ = client.give_back(&handle).await;
        } else {
            done.push((item, handle));
        }
    }
    acknowledge(client, &done, ledger).await;
    Ok(())
}

/// Until each handle is taken or void, as the official clients do it, also across a restart.
async fn acknowledge(client: &Client, done: &[(Item, String)], ledger: &Shared) {
    let (items, handles): (Vec<Item>, Vec<String>) = done.iter().cloned().unzip();
    if items.is_empty() {
        return;
    }
    locked(ledger).settling(&items);
    loop {
        match client.ack(&handles).await {
            Ok(results) => {
                let ok = |code: Option<Code>| code == Some(Code::Ok);
                let acked = items
                    .iter()
                    .zip(&results)
                    .filter(|(_, result)| ok(result.status.as_ref().map(|status| status.code())));
                let acked: Vec<Item> = acked.map(|(item, _)| *item).collect();
                return locked(ledger).acked.extend(acked);
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}
