//! How late delayed messages reach a consumer.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use event_listener::Listener;
use foliomq_delivery::{Filter, Receive};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::broker::Broker;
use crate::pending::{DUE_RATE, TOPIC};

/// The consumer looks again after so long without news.
const LOOK: Duration = Duration::from_millis(100);
/// How much longer than they become due all of them may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// From a message's time to a consumer's hands.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Lateness {
    /// Messages that came.
    pub messages: u64,
    /// Milliseconds: half are no later.
    pub p50: f64,
    /// 999 of 1,000 are no later.
    pub p999: f64,
    /// The latest.
    pub max: f64,
}

/// Receives and acknowledges `messages` as they become due. None may come early.
pub fn measure(broker: &Broker, messages: u64) -> Result<Lateness> {
    let limit = Duration::from_secs(messages / DUE_RATE) + PATIENCE;
    let (begin, mut late) = (Instant::now(), Histogram::<u64>::new(3)?);
    while late.len() < messages && begin.elapsed() < limit {
        let arrival = broker.store.listen(TOPIC)?;
        let request = Receive {
            group: "punctual",
            topic: TOPIC,
            filter: &Filter::All,
            most: 32,
            invisible: Duration::from_secs(300),
            auto_renew: false,
        };
        let received = broker.groups.receive(&request, broker.clock.now())?;
        let now = broker.clock.exact();
        for delivery in &received.messages {
            let stamp = delivery.message.body().first_chunk::<8>();
            let due = u64::from_le_bytes(*stamp.context("a body without its time")?);
            let due = Duration::from_millis(due);
            ensure!(due <= now, "a message came before its time");
            late.record((now - due).as_micros() as u64)?;
            let now = now.as_millis() as u64;
            broker
                .groups
                .ack("punctual", TOPIC, &delivery.handle, now)?;
        }
        if received.messages.is_empty() {
            arrival.wait_timeout(LOOK);
        }
    }
    let at = |quantile| late.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Lateness {
        messages: late.len(),
        p50: at(0.5),
        p999: at(0.999),
        max: late.max() as f64 / 1e3,
    })
}
