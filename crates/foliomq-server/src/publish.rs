//! `foliomq.v1.Messaging/Publish`: frames in, acknowledgements out, as many under way as the stream holds.

use std::collections::VecDeque;
use std::sync::Arc;

use foliomq_proto::v1::{
    NewMessage, PublishAck, PublishRequest, PublishResponse, RefusedMessage, Run,
};
use foliomq_proto::v2::Code;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::broker::Broker;
use crate::caller::{Caller, Language};
use crate::intake::Share;
use crate::name;
use crate::placing::{self, Placed};
use crate::status::{Refusal, ok};
use crate::validate;

/// Frames of one stream that are stored and not yet acknowledged, at most; then no more are read.
const PENDING: usize = 1024;
/// Responses that wait for a client to read them. More acknowledgements then gather in fewer responses.
const RESPONSES: usize = 4;
/// Most acknowledgements of one response.
const MAX_ACKS: usize = 4096;
/// Most messages of one frame.
const MAX_FRAME: usize = 4096;

/// What goes to the client.
pub(crate) type Acks = ReceiverStream<Result<PublishResponse, Status>>;

/// A frame that was stored, or refused.
struct Pending {
    ack: PublishAck,
    /// Acknowledged once so much of the log is committed.
    end: u64,
}

/// Opens a stream.
pub(crate) fn open(
    broker: Arc<Broker>,
    caller: Caller,
    share: Option<Arc<Share>>,
    frames: Streaming<PublishRequest>,
) -> Acks {
    let (pending, stored) = mpsc::channel(PENDING);
    let (responses, outgoing) = mpsc::channel(RESPONSES);
    let tasks = broker.tasks.clone();
    tasks.spawn(acknowledge(broker.clone(), stored, responses));
    tasks.spawn(read(broker, caller, share, frames, pending));
    ReceiverStream::new(outgoing)
}

/// Stores what comes, until the client ends, the server stops, or a refusal ends the stream.
async fn read(
    broker: Arc<Broker>,
    caller: Caller,
    share: Option<Arc<Share>>,
    mut frames: Streaming<PublishRequest>,
    pending: mpsc::Sender<Pending>,
) {
    let mut stopping = broker.stopping.subscribe();
    loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            () = pending.closed() => return,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        // A stream that breaks is the client's business: it sends again what was not acknowledged.
        let Some(Ok(frame)) = frame else { return };
        let (sequence, count) = (frame.sequence, frame.messages.len() as u32);
        let placed = store(&broker, &caller, frame).await;
        if let Some(share) = &share {
            share.release();
        }
        let (status, refused, Placed { runs, end }, over) = match placed {
            Ok((placed, refused)) => (ok(), refused, placed, false),
            Err(refusal) => {
                let over = ends_stream(refusal.code);
                (
                    refusal.status(Language::Other),
                    Vec::new(),
                    Placed::default(),
                    over,
                )
            }
        };
        let ack = PublishAck {
            sequence,
            count,
            status: Some(status),
            runs,
            refused,
        };
        if pending.send(Pending { ack, end }).await.is_err() || over {
            return;
        }
    }
}

/// Whether the same frame may be taken later: nothing may overtake it then.
fn ends_stream(code: Code) -> bool {
    matches!(code, Code::TooManyRequests | Code::InternalServerError)
}

/// Stores the messages of a frame that are found good; returns where they are, and the others.
async fn store(
    broker: &Broker,
    caller: &Caller,
    frame: PublishRequest,
) -> Result<(Placed, Vec<RefusedMessage>), Refusal> {
    let bad = |what: &str| Err(Refusal::new(Code::BadRequest, what));
    if frame.producer_id == 0 {
        return bad("the producer id is 0");
    }
    let count = frame.messages.len() as u64;
    if frame.sequence == 0 || frame.sequence.checked_add(count).is_none() {
        return bad("messages are numbered from 1");
    }
    if !(1..=MAX_FRAME).contains(&frame.messages.len()) {
        return bad(&format!("a frame holds 1 to {MAX_FRAME} messages"));
    }
    let grouped = |message: &NewMessage| message.message_group.is_some();
    if frame.queue_id.is_some() && frame.messages.iter().any(grouped) {
        return bad("a message group has its own queue: the frame names another");
    }
    let topic = name::topic(Some(&name::resource(&frame.topic)), caller)?;
    let (mut messages, mut refused) = (Vec::with_capacity(frame.messages.len()), Vec::new());
    for (index, message) in frame.messages.into_iter().enumerate() {
        let number = frame.sequence + index as u64;
        let message = placing::message(message, frame.producer_id, number);
        match validate::message(&message, broker.store.options().max_body) {
            Ok(()) => messages.push((number, message)),
            Err(refusal) => refused.push(RefusedMessage {
                index: index as u32,
                status: Some(refusal.status(Language::Other)),
            }),
        }
    }
    if messages.is_empty() {
        return Ok((Placed::default(), refused));
    }
    // After the checks: a message that is refused creates no topic.
    let found = broker.topic(&topic).await?;
    let draft = placing::Draft {
        producer: frame.producer_id,
        topic,
        kind: found.kind,
        queues: found.queues,
        queue: frame.queue_id,
        messages,
    };
    Ok((placing::place(broker, draft).await?, refused))
}

/// Waits for the oldest frame, and acknowledges with it all that the same flush has made durable.
async fn acknowledge(
    broker: Arc<Broker>,
    mut stored: mpsc::Receiver<Pending>,
    responses: mpsc::Sender<Result<PublishResponse, Status>>,
) {
    let mut waiting = VecDeque::new();
    loop {
        // Room first: while there is none, acknowledgements gather.
        let Ok(room) = responses.reserve().await else {
            return;
        };
        if waiting.is_empty() {
            match stored.recv().await {
                Some(pending) => waiting.push_back(pending),
                None => return,
            }
        }
        let end = waiting.front().map_or(0, |pending: &Pending| pending.end);
        if let Err(error) = broker.store.committed(end).await {
            let refusal = Refusal::from(error);
            return room.send(Ok(lost(waiting, refusal)));
        }
        while waiting.len() < MAX_ACKS
            && let Ok(pending) = stored.try_recv()
        {
            waiting.push_back(pending);
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
        runs: Vec::<Run>::new(),
        refused: Vec::new(),
        ..pending.ack
    };
    PublishResponse {
        acks: waiting.into_iter().take(1).map(ack).collect(),
    }
}
