//! A Publish stream: frames out as the window allows, acknowledgements in.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::BytesMut;
use foliomq_proto::v1::PublishResponse;
use h2::SendStream;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::Semaphore;

use crate::call::{Call, send};
use crate::connection::answer;
use crate::encoded::Publish;
use crate::error::{LoadError, check};
use crate::produce::{Due, Sender, timer};

const PUBLISH: &str = "/foliomq.v1.Messaging/Publish";
/// Frames leave together up to so many bytes, as a gRPC library would send them: one DATA frame.
const FULL: usize = 16 << 10;

/// What is on its way.
struct Window {
    sender: Sender,
    /// When the frames were meant to leave, in their order.
    waiting: Mutex<VecDeque<Instant>>,
    /// Messages that may still be sent.
    room: Semaphore,
}

pub(crate) async fn publish(sender: Sender) -> Result<(), LoadError> {
    let uri = sender.connection.uri(PUBLISH)?;
    let (stream, response) = sender.connection.stream(&uri).await?;
    let window = Window {
        waiting: Mutex::new(VecDeque::new()),
        room: Semaphore::new(sender.plan.in_flight),
        sender,
    };
    let acks = async { window.hear(Call::new(answer(response).await?)).await };
    tokio::try_join!(window.send(stream), acks).map(drop)
}

/// What is on its way when the load ends counts as outstanding.
impl Drop for Window {
    fn drop(&mut self) {
        let waiting = std::mem::take(self.waiting.get_mut());
        waiting
            .into_iter()
            .for_each(|intended| self.sender.unanswered(intended));
    }
}

impl Window {
    async fn send(&self, mut stream: SendStream<bytes::Bytes>) -> Result<(), LoadError> {
        let sender = &self.sender;
        let mut frames = Publish::new(&sender.plan, !sender.measured);
        let (mut pace, mut out) = (sender.pace()?, BytesMut::new());
        loop {
            let more = self.fill(&mut frames, &mut out, &mut pace).await?;
            send(&mut stream, out.split().freeze()).await?;
            if !more {
                stream.send_data(bytes::Bytes::new(), true)?;
                return Ok(());
            }
        }
    }

    /// Puts together the next frame and all that may leave with it; `false` after the last.
    async fn fill(
        &self,
        frames: &mut Publish,
        out: &mut BytesMut,
        pace: &mut Option<Due<'_>>,
    ) -> Result<bool, LoadError> {
        let sender = &self.sender;
        let batch = sender.plan.batch;
        while out.len() < FULL {
            let Some(intended) = self.next(pace, out.is_empty()).await? else {
                break;
            };
            if !sender.meter.take(batch) {
                return Ok(false);
            }
            sender.meter.left(sender.number, intended);
            self.waiting.lock().push_back(intended);
            frames.put(out, sender.stamp(intended));
        }
        Ok(true)
    }

    /// When the next frame was meant to leave; `None` if it may not leave yet and nobody waits for it.
    async fn next(
        &self,
        pace: &mut Option<Due<'_>>,
        wait: bool,
    ) -> Result<Option<Instant>, LoadError> {
        let batch = self.sender.plan.batch as u32;
        let early = pace
            .as_ref()
            .is_some_and(|pace| pace.next_due() > Instant::now());
        if !wait && (early || self.room.available_permits() < batch as usize) {
            return Ok(None);
        }
        // It is never closed. Room first: a moment that is taken is at once that of a frame.
        if let Ok(room) = self.room.acquire_many(batch).await {
            room.forget();
        }
        Ok(Some(match pace {
            Some(pace) => pace.next().await.map_err(timer)?,
            // In a closed loop a message is meant to leave when there is room for it.
            None => Instant::now(),
        }))
    }

    async fn hear(&self, mut acks: Call) -> Result<(), LoadError> {
        while let Some(response) = acks.next().await? {
            for ack in PublishResponse::decode(response)?.acks {
                check(ack.status.as_ref())?;
                if let Some(refused) = ack.refused.first() {
                    check(refused.status.as_ref())?;
                }
                let Some(intended) = self.waiting.lock().pop_front() else {
                    let what = "an acknowledgement of nothing".to_owned();
                    return Err(LoadError::Protocol(what));
                };
                self.sender.done(intended, ack.count.into());
                self.room.add_permits(ack.count as usize);
            }
        }
        if self.waiting.lock().is_empty() {
            return Ok(());
        }
        Err(LoadError::Protocol("the stream ended too early".to_owned()))
    }
}
