//! The task behind a consumer or a reader: one stream at a time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foliomq_proto::v1::{
    Delivered, Open, SubscribeRequest, SubscribeResponse, open::From, subscribe_request::Request,
};
use foliomq_proto::v2::{Code, FilterExpression};
use foliomq_store::Reader;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::backoff::Backoff;
use crate::client::{Connection, Native};
use crate::error::{Error, Result, check};
use crate::headers::Headers;
use crate::mapped::{self, Mapped};
use crate::mapping;
use crate::received::{Received, Taken, Undone};
use crate::settlements::{Settlement, Settlements};
use crate::settling::Settling;
use crate::view::MessageView;
use crate::window::{Amount, Window};

/// Requests that wait for the transport.
const OUTGOING: usize = 4;
/// How long a stream may take to open.
const OPEN: Duration = Duration::from_secs(10);
/// How long the rest of a stream is read that the program has left.
const DRAIN: Duration = Duration::from_secs(10);

/// How long pages that could not be read are doubted.
const DOUBT: Duration = Duration::from_secs(60);

/// What is subscribed to.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Queues move on with what is received, so that the next stream begins behind it.
    pub(crate) from: From,
    pub(crate) filter: Option<FilterExpression>,
    /// How long a delivery is ours.
    pub(crate) invisible: Duration,
    pub(crate) mapped: bool,
}

/// How a stream ended that did not break.
enum Ended {
    /// Nobody is there any more.
    Over,
    /// Another is to be opened, at once.
    Again,
}

#[derive(Debug)]
pub(crate) struct Subscribing {
    connection: Connection,
    calls: Native,
    wish: Wish,
    window: Arc<Window>,
    batches: mpsc::UnboundedSender<Result<Vec<Taken>>>,
    settlements: Settlements,
    backoff: Backoff,
    /// When the pages could not be read: the log may have been opened anew, and is looked for once more.
    doubted: Option<Instant>,
    /// Nor soon after: messages come over the connection until it breaks.
    carried: bool,
    /// The broker takes this subscription no more: what is left is settled, and nothing is received.
    refused: bool,
    /// When the program was first seen to be gone.
    left: Option<Instant>,
}

impl Subscribing {
    /// Starts the task; returns the program's end of it. The window is in messages and bytes.
    pub(crate) fn start(
        connection: Connection,
        headers: &Headers,
        wish: Wish,
        (messages, bytes): (u32, u64),
        settling: Settling,
    ) -> Received {
        let (batches, received) = mpsc::unbounded_channel();
        let window = Arc::new(Window::new(messages, bytes));
        let leased = matches!(wish.from, From::Group(_));
        let subscribing = Self {
            calls: connection.native(headers),
            connection,
            wish,
            window: window.clone(),
            batches,
            settlements: Settlements::default(),
            backoff: Backoff::default(),
            doubted: None,
            carried: false,
            refused: false,
            left: None,
        };
        tokio::spawn(subscribing.run(settling));
        Received::new(received, window, leased)
    }

    /// Until nobody takes messages and nobody can settle any more.
    async fn run(mut self, mut settling: Settling) {
        loop {
            let closing = self.is_closing();
            let ended = self.stream(closing, &mut settling).await;
            self.settlements.rewind();
            match ended {
                Ok(Ended::Over) => return,
                Ok(Ended::Again) => {}
                Err(error) if may_pass(&error) => {
                    tracing::debug!(%error, "a subscription's stream ended; it is opened again");
                    if self.is_over(&settling) {
                        return;
                    }
                    (self.doubted, self.carried) = (None, false);
                    self.backoff.pause().await;
                }
                Err(error) => {
                    tracing::debug!(%error, "a subscription is refused");
                    // A second one nobody reads any more.
                    let _ = self.batches.send(Err(error));
                    if closing || !self.is_leased() {
                        return;
                    }
                    // What was delivered before may be settled.
                    self.refused = true;
                }
            }
        }
    }

    /// Whether the program is gone, and what is left to settle is nothing, or can no longer be in time.
    fn is_over(&mut self, settling: &Settling) -> bool {
        if !self.batches.is_closed() || !settling.is_abandoned() {
            return false;
        }
        let left = *self.left.get_or_insert_with(Instant::now);
        let is_settled = self.settlements.is_empty() && settling.is_over();
        is_settled || left.elapsed() > self.wish.invisible
    }

    /// Whether streams are only for what is left to settle.
    fn is_closing(&self) -> bool {
        self.refused || self.batches.is_closed()
    }

    async fn stream(&mut self, closing: bool, settling: &mut Settling) -> Result<Ended> {
        // Nothing to say and nothing wanted: no connection is needed.
        if closing && self.settlements.is_empty() {
            match settling.next(true).await {
                Some(settlement) => self.settlements.add(settlement),
                None => return Ok(Ended::Over),
            }
        }
        let reader = match self.wish.mapped && !self.carried && !closing {
            true => mapping::find(&mut self.calls, &self.wish.from).await,
            false => None,
        };
        let (requests, outgoing) = mpsc::channel(OUTGOING);
        let open = Request::Open(self.open(closing, reader.is_some()));
        let gone = || self.connection.silent("the stream broke");
        requests.send(request(open)).await.map_err(|_| gone())?;
        let opened = timeout(OPEN, self.calls.subscribe(ReceiverStream::new(outgoing))).await;
        let opened = opened.map_err(|_| self.connection.silent("the stream did not open"))?;
        let responses = opened.map_err(|status| self.connection.error(status))?;
        let stream = Stream {
            requests,
            responses: responses.into_inner(),
            reader,
            closing,
        };
        self.exchange(stream, settling).await
    }

    fn open(&self, closing: bool, positions: bool) -> Open {
        let credit = match closing {
            true => Amount {
                messages: 0,
                bytes: 1,
            },
            false => self.window.open(),
        };
        Open {
            from: Some(self.wish.from.clone()),
            credit: credit.messages,
            credit_bytes: credit.bytes,
            filter: self.wish.filter.clone(),
            positions,
        }
    }

    async fn exchange(&mut self, mut stream: Stream, settling: &mut Settling) -> Result<Ended> {
        let window = self.window.clone();
        let mut credit = VecDeque::new();
        let mut silent = false;
        loop {
            if silent && self.is_closing() && self.settlements.is_empty() {
                match stream.closing {
                    true => return Ok(Ended::Over),
                    // It has had credit: messages may be on their way.
                    false => break,
                }
            }
            let has_room = self.settlements.has_room();
            let has_words = !credit.is_empty() || self.settlements.is_ready();
            tokio::select! {
                biased;
                response = stream.responses.message() => {
                    let response = response.map_err(|status| self.connection.error(status))?;
                    let response = response.ok_or_else(|| self.connection.silent("the stream ended"))?;
                    if !self.take_in(response, stream.reader.as_ref()).await? {
                        self.doubt();
                        break;
                    }
                    self.backoff.reset();
                }
                room = stream.requests.reserve(), if has_words => {
                    let room = room.map_err(|_| self.connection.silent("the stream broke"))?;
                    let settle = || self.settlements.next_request().map(Request::Settle);
                    if let Some(next) = credit.pop_front().or_else(settle) {
                        room.send(request(next));
                    }
                }
                next = settling.next(has_room), if !silent => match next {
                    Some(settlement) => self.settlements.add(settlement),
                    None => silent = true,
                },
                more = window.due(), if !stream.closing => {
                    credit.extend([Request::Credit(more.messages), Request::CreditBytes(more.bytes)]);
                }
                // What is left to settle goes over another stream.
                () = self.batches.closed(), if !stream.closing => break,
            }
        }
        self.drain(stream).await;
        Ok(Ended::Again)
    }

    /// Ends a stream, and gives back the messages on their way, unseen: the broker takes what has left it for delivered, so they
    /// would be nobody's until their time is over. Those of queues are asked for by their offset.
    async fn drain(&mut self, stream: Stream) {
        if !self.is_leased() {
            return;
        }
        let Stream {
            requests,
            mut responses,
            ..
        } = stream;
        drop(requests);
        let rest = async {
            while let Ok(Some(response)) = responses.message().await {
                if self.give_back(response).is_err() {
                    break;
                }
            }
        };
        // A broker that does not end the stream loses it: what it has sent until then comes back by itself, late.
        let _ = timeout(DRAIN, rest).await;
    }

    /// What a response settles is settled; what it brings goes back, since what came before it may have gone back too.
    fn give_back(&mut self, response: SubscribeResponse) -> Result<()> {
        for settled in response.settled {
            self.settlements.settled(settled)?;
        }
        let carried = response.deliveries.into_iter().map(|delivered| {
            let topic = delivered.topic;
            (topic, delivered.handle)
        });
        let mapped = response.positions.into_iter().flat_map(|run| {
            let topic = run.topic;
            let handles = run.handles.into_iter();
            handles.map(move |handle| (topic.clone(), handle))
        });
        for (topic, handle) in carried.chain(mapped) {
            self.settlements.add(Settlement::release(topic, handle));
        }
        Ok(())
    }

    /// Passes on what a response brings. `false`: a message could not be read from the pages.
    async fn take_in(
        &mut self,
        response: SubscribeResponse,
        reader: Option<&Reader>,
    ) -> Result<bool> {
        for settled in response.settled {
            self.settlements.settled(settled)?;
        }
        if let Some(status) = response.status {
            check(Some(status))?;
            return Err(self.connection.silent("the stream ended"));
        }
        let until = Instant::now() + self.wish.invisible;
        self.carry(response.deliveries, until)?;
        if response.positions.is_empty() {
            return Ok(true);
        }
        let unasked = || Error::Protocol("it sends positions that were not asked for".to_owned());
        let reader = reader.ok_or_else(unasked)?;
        let mapped = mapped::read(reader, response.positions, until).await?;
        Ok(self.map(mapped))
    }

    /// Messages that came over the connection.
    fn carry(&mut self, deliveries: Vec<Delivered>, until: Instant) -> Result<()> {
        let taken = deliveries
            .into_iter()
            .map(|delivered| taken(delivered, until));
        let taken: Vec<Taken> = taken.collect::<Result<_>>()?;
        let queue = |taken: &Taken| (taken.message.topic().to_owned(), taken.message.queue_id());
        let same = |one: &Taken, other: &Taken| same_queue(&one.message, &other.message);
        let ends = taken.chunk_by(same).filter_map(|run| {
            let ((topic, queue), last) = (queue(run.first()?), run.last()?);
            Some((topic, queue, last.message.queue_offset() + 1))
        });
        let ends: Vec<_> = ends.collect();
        self.move_on(ends);
        self.pass_on(taken);
        Ok(())
    }

    /// Messages in the broker's pages. `false`: not all could be read.
    fn map(&mut self, mapped: Mapped) -> bool {
        self.move_on(mapped.ends);
        self.pass_on(mapped.taken);
        let Some(error) = mapped.error else {
            return true;
        };
        tracing::debug!(%error, "a message cannot be read from the pages; it is asked for again");
        for (topic, handle) in mapped.unread {
            self.settlements.add(Settlement::release(topic, handle));
        }
        false
    }

    /// Whether messages are a group's.
    fn is_leased(&self) -> bool {
        matches!(self.wish.from, From::Group(_))
    }

    /// The pages could not be read; if that is so twice within a while, they are left alone. What is read well in between says
    /// nothing of the message that was not.
    fn doubt(&mut self) {
        let before = self.doubted.replace(Instant::now());
        self.carried = before.is_some_and(|at| at.elapsed() < DOUBT);
    }

    /// So far the queues were received.
    fn move_on(&mut self, ends: Vec<(String, u32, u64)>) {
        let From::Queues(queues) = &mut self.wish.from else {
            return;
        };
        for (topic, queue, next) in ends {
            let mut starts = queues.queues.iter_mut();
            let start = starts.find(|start| start.queue_id == queue && start.topic == topic);
            if let Some(start) = start {
                start.queue_offset = next;
            }
        }
    }

    fn pass_on(&mut self, mut taken: Vec<Taken>) {
        if taken.is_empty() {
            return;
        }
        let (mut amount, undone) = (Amount::default(), Arc::<Undone>::default());
        let leased = self.is_leased();
        for taken in &mut taken {
            amount.add(taken.amount);
            if leased && taken.message.message_group().is_some() {
                taken.undone = Some(undone.clone());
            }
        }
        self.window.receive(amount);
        if let Err(mpsc::error::SendError(Ok(unwanted))) = self.batches.send(Ok(taken)) {
            for taken in unwanted
                .into_iter()
                .filter(|taken| !taken.handle.is_empty())
            {
                let topic = taken.message.topic().to_owned();
                self.settlements
                    .add(Settlement::release(topic, taken.handle));
            }
        }
    }
}

/// An open stream.
struct Stream {
    requests: mpsc::Sender<SubscribeRequest>,
    responses: Streaming<SubscribeResponse>,
    /// Where positions are looked up; `None`: messages come whole.
    reader: Option<Reader>,
    /// No messages are wanted: it is for what is left to settle.
    closing: bool,
}

fn taken(mut delivered: Delivered, until: Instant) -> Result<Taken> {
    let (attempt, handle) = (delivered.attempt, std::mem::take(&mut delivered.handle));
    let message = MessageView::carried(delivered)?;
    let bytes = message.body().len() as u64;
    Ok(Taken {
        message,
        attempt,
        handle,
        until,
        amount: Amount { messages: 1, bytes },
        undone: None,
    })
}

fn same_queue(one: &MessageView, other: &MessageView) -> bool {
    one.queue_id() == other.queue_id() && one.topic() == other.topic()
}

fn request(request: Request) -> SubscribeRequest {
    SubscribeRequest {
        request: Some(request),
    }
}

/// Whether the same subscription may be taken later.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Transport { .. } => true,
        _ => matches!(
            error.code(),
            Some(Code::TooManyRequests | Code::InternalServerError | Code::InternalError)
        ),
    }
}
