//! The background task that tells the broker that a consumer lives.

use std::time::Duration;

use foliomq_proto::v2::{ClientType, HeartbeatRequest};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::client::{Messaging, within};
use crate::convert::resource;

/// The broker forgets a client after several of these.
const INTERVAL: Duration = Duration::from_secs(10);

/// Beats until it is dropped.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    task: JoinHandle<()>,
}

impl Heartbeat {
    /// Begins at once. Must be called within a tokio runtime.
    pub(crate) fn start(calls: Messaging, group: &str) -> Self {
        Self {
            task: tokio::spawn(beat(calls, group.to_owned())),
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn beat(mut calls: Messaging, group: String) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let request = HeartbeatRequest {
            group: Some(resource(group.clone())),
            client_type: ClientType::SimpleConsumer.into(),
        };
        // A lost beat is no error of the program's: its own calls will tell it if the broker is gone.
        if let Err(status) = calls.heartbeat(within(request, Duration::ZERO)).await {
            tracing::debug!(%group, %status, "heartbeat failed");
        }
    }
}
