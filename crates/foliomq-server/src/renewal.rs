//! Leases that the server renews for push consumers while they live.
//!
//! These clients name no invisible time; they hold a message as long as the application's listener, and its local
//! retries, take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::broker::Broker;
use crate::properties::unix_ms;
use crate::status::Refusal;

/// The invisible time of a lease that the server renews.
pub(crate) const INVISIBLE: Duration = Duration::from_secs(60);
/// How often leases are looked at.
const TICK: Duration = Duration::from_secs(5);
/// A lease is renewed when so little of it is left.
const AHEAD: Duration = Duration::from_secs(30);
/// After this long a message is given back even if its consumer lives.
const LONGEST: Duration = Duration::from_secs(3 * 3600);
/// A consumer that is gone loses its leases after this long.
const HAND_BACK: Duration = Duration::from_secs(1);

/// What is renewed: by client, by receipt handle.
#[derive(Debug, Default)]
pub(crate) struct Renewals {
    clients: Mutex<HashMap<String, HashMap<String, Held>>>,
}

/// A delivery that a client holds.
#[derive(Debug, Clone)]
struct Held {
    group: Arc<str>,
    topic: Arc<str>,
    since: Instant,
    renewed: Instant,
}

impl Renewals {
    /// Begins to renew deliveries.
    pub(crate) fn add<'a>(
        &self,
        client_id: &str,
        group: &str,
        topic: &str,
        handles: impl Iterator<Item = &'a str>,
    ) {
        let now = Instant::now();
        let held = Held {
            group: group.into(),
            topic: topic.into(),
            since: now,
            renewed: now,
        };
        let mut clients = self.clients.lock();
        let mine = clients.entry(client_id.to_owned()).or_default();
        mine.extend(handles.map(|handle| (handle.to_owned(), held.clone())));
    }

    /// The delivery is settled.
    pub(crate) fn remove(&self, client_id: &str, handle: &str) {
        if let Some(mine) = self.clients.lock().get_mut(client_id) {
            mine.remove(handle);
        }
    }

    fn take(&self, client_id: &str) -> HashMap<String, Held> {
        self.clients.lock().remove(client_id).unwrap_or_default()
    }

    fn client_ids(&self) -> Vec<String> {
        self.clients.lock().keys().cloned().collect()
    }

    /// Those that are to be renewed now; those held too long are left to end.
    fn due(&self, client_id: &str) -> Vec<String> {
        let mut clients = self.clients.lock();
        let Some(mine) = clients.get_mut(client_id) else {
            return Vec::new();
        };
        mine.retain(|_, held| held.since.elapsed() < LONGEST);
        let due = mine
            .iter_mut()
            .filter(|(_, held)| held.renewed.elapsed() + AHEAD >= INVISIBLE);
        due.map(|(handle, held)| {
            held.renewed = Instant::now();
            handle.clone()
        })
        .collect()
    }
}

/// Renews, expires clients, and lets the groups keep house, until the server stops.
pub(crate) async fn run(broker: Arc<Broker>) {
    let mut stopping = broker.stopping.subscribe();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopping.wait_for(|stop| *stop) => return,
        }
        let ticked = broker
            .blocking(|handles| Ok(handles.groups.tick(unix_ms())?))
            .await;
        if let Err(Refusal { message, .. }) = ticked {
            tracing::warn!(%message, "housekeeping of the groups failed; it is tried again");
        }
        if renewed.elapsed() >= TICK {
            renewed = Instant::now();
            broker.clients.expire();
            crate::lite::look_after(&broker).await;
            for client_id in broker.renewals.client_ids() {
                look_after(&broker, &client_id).await;
            }
        }
    }
}

async fn look_after(broker: &Broker, client_id: &str) {
    if !broker.clients.is_alive(client_id) {
        return hand_back(broker, client_id).await;
    }
    let due = broker.renewals.due(client_id);
    let renewed = broker.blocking(move |handles| {
        let now = unix_ms();
        let gone = due
            .into_iter()
            .filter(|handle| handles.groups.renew(handle, INVISIBLE, now).is_err());
        Ok(gone.collect::<Vec<_>>())
    });
    for handle in renewed.await.unwrap_or_default() {
        broker.renewals.remove(client_id, &handle);
    }
}

/// Makes what a client holds visible soon: it is gone.
pub(crate) async fn hand_back(broker: &Broker, client_id: &str) {
    let held = broker.renewals.take(client_id);
    let done = broker.blocking(move |handles| {
        for (handle, held) in held {
            let changed = handles.groups.change_invisible(
                &held.group,
                &held.topic,
                &handle,
                HAND_BACK,
                unix_ms(),
            );
            if let Err(error) = changed {
                tracing::debug!(%error, "a delivery of a client that is gone was settled already");
            }
        }
        Ok(())
    });
    if let Err(Refusal { message, .. }) = done.await {
        tracing::warn!(%message, "deliveries of a client that is gone stay invisible until their leases end");
    }
}
