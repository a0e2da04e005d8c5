//! `foliomq.v1.Messaging/Publish`: frames in, acknowledgements out, as many under way as the stream holds.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use foliomq_proto::v1::{PublishAck, PublishResponse};
use foliomq_proto::v2::Code;
use foliomq_store::Appender;
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::frame::Frame;
use crate::framed::Framed;
use crate::incoming::Incoming;
use crate::intake::{Counted, Share};
use crate::name;
use crate::placing::{Placed, Target, place};
use crate::producers::Progress;
use crate::sifted::{self, sift};
use crate::status::{Refusal, ok};

/// Frames of one stream that are stored and not yet acknowledged, at most; then no more are read.
const PENDING: usize = 1024;
/// Responses that wait for a client to read them. More acknowledgements then gather in fewer responses.
const RESPONSES: usize = 4;
/// Most acknowledgements of one response.
const MAX_ACKS: usize = 4096;

/// What comes from the client.
pub(crate) type Frames = Framed<Counted<Incoming>>;
/// What goes to the client.
pub(crate) type Acks = ReceiverStream<Result<PublishResponse, Status>>;

/// A frame that was stored, or refused.
struct Pending {
    ack: PublishAck,
    /// Acknowledged once so much of the log is committed.
    end: u64,
}

/// What came of a frame; no frame, if the stream ends for it.
type Stored = Result<Pending, Status>;

/// What a stream remembers from frame to frame.
struct Stream {
    broker: Arc<Broker>,
    caller: Caller,
    /// The topic of the last frame, as that names it.
    topic: Option<(String, Appender)>,
    producer: Option<(u64, Arc<Mutex<Progress>>)>,
    /// For the properties of a frame's messages.
    room: Vec<u8>,
}

/// Opens a stream.
pub(crate) fn open(broker: Arc<Broker>, caller: Caller, share: Arc<Share>, frames: Frames) -> Acks {
    let (pending, stored) = mpsc::channel(PENDING);
    let (responses, outgoing) = mpsc::channel(RESPONSES);
    let tasks = broker.tasks.clone();
    tasks.spawn(acknowledge(broker.clone(), stored, responses));
    let stream = Stream {
        broker,
        caller,
        topic: None,
        producer: None,
        room: Vec::new(),
    };
    tasks.spawn(stream.read(share, frames, pending));
    ReceiverStream::new(outgoing)
}

impl Stream {
    /// Stores what comes, until the client ends, the server stops, or a refusal ends the stream.
    async fn read(mut self, share: Arc<Share>, mut frames: Frames, pending: mpsc::Sender<Stored>) {
        let mut stopping = self.broker.stopping.subscribe();
        // Asked before each frame: the select below takes a frame first, as long as there is one.
        while !*stopping.borrow() {
            let bytes = tokio::select! {
                biased;
                bytes = frames.next() => bytes,
                () = pending.closed() => return,
                _ = stopping.wait_for(|stop| *stop) => return,
            };
            let Some(bytes) = bytes else { return };
            let (stored, over) = match self.take(bytes).await {
                Ok((stored, over)) => (Ok(stored), over),
                Err(status) => (Err(status), true),
            };
            share.release();
            if pending.send(stored).await.is_err() || over {
                return;
            }
        }
    }

    /// Stores what came, if it is a frame.
    async fn take(&mut self, bytes: Result<Bytes, Status>) -> Result<(Pending, bool), Status> {
        let bytes = bytes?;
        let malformed = |_| Status::invalid_argument("malformed request: not a PublishRequest");
        let frame = Frame::decode(&bytes).map_err(malformed)?;
        Ok(self.answer(frame, &bytes).await)
    }

    /// Stores a frame; returns what to say of it, and whether that is the last word.
    async fn answer(&mut self, mut frame: Frame<'_>, bytes: &Bytes) -> (Pending, bool) {
        let placed = self.store(&mut frame, bytes).await;
        let over = placed
            .as_ref()
            .is_err_and(|refusal| ends_stream(refusal.code));
        let (status, placed) = match placed {
            Ok(placed) => (ok(), placed),
            Err(refusal) => (refusal.status(Language::Other), Placed::default()),
        };
        let ack = PublishAck {
            sequence: frame.sequence,
            count: frame.count as u32,
            status: Some(status),
            runs: placed.runs,
            refused: placed.refused,
            delayed: placed.delayed,
        };
        let end = placed.end;
        (Pending { ack, end }, over)
    }

    /// Stores the messages of a frame that are found good; returns where they are, and the others.
    async fn store(&mut self, frame: &mut Frame<'_>, bytes: &Bytes) -> Result<Placed, Refusal> {
        sifted::check(frame)?;
        let known = self.known_topic(frame.topic);
        let name = match known {
            Some(_) => String::new(),
            None => self.name(frame.topic)?,
        };
        let mut refused = sift(frame, &self.broker);
        if frame.messages.is_empty() {
            return Ok(Placed {
                refused,
                ..Placed::default()
            });
        }
        // After the checks: a message that is refused creates no topic.
        let appender = match known {
            Some(appender) => appender,
            None => self.open_topic(frame.topic, &name).await?,
        };
        let progress = self.progress(frame.producer_id)?;
        let target = Target { appender, progress };
        let mut placed = place(&self.broker, target, frame, bytes, &mut self.room).await?;
        self.broker.stored(placed.fresh, placed.fresh_bytes);
        placed.refused.append(&mut refused);
        placed.refused.sort_unstable_by_key(|refused| refused.index);
        Ok(placed)
    }

    /// The topic of the last frame, if this one names the same and it is still there.
    fn known_topic(&self, named: &str) -> Option<Appender> {
        let (known, appender) = self.topic.as_ref()?;
        (known == named && !appender.is_closed()).then(|| appender.clone())
    }

    fn name(&self, named: &str) -> Result<String, Refusal> {
        name::topic(Some(&name::resource(named)), &self.caller)
    }

    async fn open_topic(&mut self, named: &str, name: &str) -> Result<Appender, Refusal> {
        let appender = self.broker.appender(name).await?;
        self.topic = Some((named.to_owned(), appender.clone()));
        Ok(appender)
    }

    fn progress(&mut self, producer: u64) -> Result<Arc<Mutex<Progress>>, Refusal> {
        if let Some((_, progress)) = self.producer.as_ref().filter(|(id, _)| *id == producer) {
            return Ok(progress.clone());
        }
        let dispatched = self.broker.store.watermarks().dispatched;
        let progress = self.broker.producers.progress(producer, dispatched)?;
        self.producer = Some((producer, progress.clone()));
        Ok(progress)
    }
}

/// Whether the same frame may be taken later: nothing may overtake it then.
fn ends_stream(code: Code) -> bool {
    matches!(code, Code::TooManyRequests | Code::InternalServerError)
}

/// Waits for the oldest frame, and acknowledges with it all that the same flush has made durable. Why the stream ends
/// early comes after the acknowledgements of all that was stored before.
async fn acknowledge(
    broker: Arc<Broker>,
    mut stored: mpsc::Receiver<Stored>,
    responses: mpsc::Sender<Result<PublishResponse, Status>>,
) {
    let (mut waiting, mut last) = (VecDeque::new(), None);
    loop {
        // Room first: while there is none, acknowledgements gather.
        let Ok(room) = responses.reserve().await else {
            return;
        };
        if waiting.is_empty() {
            let next = match last.take() {
                Some(status) => Some(Err(status)),
                None => stored.recv().await,
            };
            match next {
                Some(Ok(pending)) => waiting.push_back(pending),
                Some(Err(status)) => return room.send(Err(status)),
                None => return,
            }
        }
        let end = waiting.front().map_or(0, |pending: &Pending| pending.end);
        if let Err(error) = broker.store.committed(end).await {
            let refusal = Refusal::from(error);
            return room.send(Ok(lost(waiting, refusal)));
        }
        while waiting.len() < MAX_ACKS
            && let Ok(next) = stored.try_recv()
        {
            match next {
                Ok(pending) => waiting.push_back(pending),
                Err(status) => last = Some(status),
            }
        }
        let committed = broker.store.watermarks().committed.max(end);
        let ready = waiting
            .iter()
            .take_while(|pending| pending.end <= committed);
        let count = ready.count();
        let acks = waiting.drain(..count).map(|pending| pending.ack).collect();
        room.send(Ok(PublishResponse { acks }));
    }
}

/// Nobody can say that these are durable; the stream ends.
fn lost(waiting: VecDeque<Pending>, refusal: Refusal) -> PublishResponse {
    let ack = |pending: Pending| PublishAck {
        status: Some(refusal.clone().status(Language::Other)),
        runs: Vec::new(),
        refused: Vec::new(),
        delayed: Vec::new(),
        ..pending.ack
    };
    PublishResponse {
        acks: waiting.into_iter().take(1).map(ack).collect(),
    }
}
