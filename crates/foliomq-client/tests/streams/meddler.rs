//! Somebody between publisher and broker who says frames twice, and breaks off, before a frame, after it, or instead of its
//! acknowledgement. Which frames are said twice is decided by a seed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foliomq_proto::v1::messaging_client::MessagingClient;
use foliomq_proto::v1::messaging_server::{Messaging, MessagingServer};
use foliomq_proto::v1::{
    LocateRequest, LocateResponse, PublishRequest, PublishResponse, SubscribeRequest,
    SubscribeResponse,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

/// A frame with this body is refused for good, and the stream ended at once: frames before it are not acknowledged.
pub const POISON: &[u8] = b"poison";

pub struct Meddler {
    pub endpoint: String,
    pub deeds: Arc<Deeds>,
    target: Arc<Mutex<String>>,
    task: JoinHandle<()>,
}

/// How often it did what.
#[derive(Debug, Default)]
pub struct Deeds {
    pub duplicates: AtomicUsize,
    pub breaks: AtomicUsize,
    pub swallowed: AtomicUsize,
    pub poisoned: AtomicUsize,
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Meddler {
    pub async fn start(target: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let (target, deeds) = (
            Arc::new(Mutex::new(target.to_owned())),
            Arc::<Deeds>::default(),
        );
        let between = Between {
            target: target.clone(),
            deeds: deeds.clone(),
            random: Arc::new(Mutex::new(StdRng::seed_from_u64(seed))),
            frames: Arc::default(),
            answers: Arc::default(),
        };
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(MessagingServer::new(between));
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self {
            endpoint,
            deeds,
            target,
            task,
        }
    }

    /// Where new streams go.
    pub fn redirect(&self, target: &str) {
        *self.target.lock() = target.to_owned();
    }
}

#[derive(Clone)]
struct Between {
    target: Arc<Mutex<String>>,
    deeds: Arc<Deeds>,
    random: Arc<Mutex<StdRng>>,
    frames: Arc<AtomicUsize>,
    answers: Arc<AtomicUsize>,
}

type Acks = mpsc::Sender<Result<PublishResponse, Status>>;

impl Between {
    /// True once in so many times.
    fn happens(&self, once_in: u32) -> bool {
        self.random.lock().random_range(0..once_in) == 0
    }

    /// Passes frames and acknowledgements on until one side ends, or it breaks off.
    async fn pass(self, mut frames: Streaming<PublishRequest>, acks: Acks) -> Option<()> {
        let endpoint = format!("http://{}", self.target.lock());
        let mut broker = MessagingClient::connect(endpoint).await.ok()?;
        let (to_broker, stream) = mpsc::channel(4);
        let mut answers = broker
            .publish(ReceiverStream::new(stream))
            .await
            .ok()?
            .into_inner();
        // Of each frame that went on: whether its acknowledgement goes back.
        let mut first = VecDeque::new();
        loop {
            tokio::select! {
                frame = frames.message() => {
                    let frame: PublishRequest = frame.ok()??;
                    if frame.messages.iter().any(|message| *message.body == *POISON) {
                        self.deeds.poisoned.fetch_add(1, Ordering::Relaxed);
                        let status = Status::invalid_argument("no such frame");
                        acks.send(Err(status)).await.ok()?;
                        return None;
                    }
                    if self.frames.fetch_add(1, Ordering::Relaxed) % 150 == 70 {
                        self.deeds.breaks.fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                    if self.happens(4) {
                        self.deeds.duplicates.fetch_add(1, Ordering::Relaxed);
                        to_broker.send(frame.clone()).await.ok()?;
                        first.push_back(false);
                    }
                    to_broker.send(frame).await.ok()?;
                    first.push_back(true);
                }
                answer = answers.message() => {
                    let mut answer: PublishResponse = answer.ok()??;
                    if self.answers.fetch_add(1, Ordering::Relaxed) % 20 == 5 {
                        self.deeds.swallowed.fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                    answer.acks.retain(|_| first.pop_front() == Some(true));
                    if !answer.acks.is_empty() {
                        acks.send(Ok(answer)).await.ok()?;
                    }
                }
            }
        }
    }
}

#[tonic::async_trait]
impl Messaging for Between {
    type PublishStream = ReceiverStream<Result<PublishResponse, Status>>;
    type SubscribeStream = tokio_stream::Pending<Result<SubscribeResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (acks, outgoing) = mpsc::channel(4);
        let between = self.clone();
        tokio::spawn(async move {
            let ended = acks.clone();
            between.pass(request.into_inner(), acks).await;
            let _ = ended
                .send(Err(Status::unavailable("the network broke")))
                .await;
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn subscribe(
        &self,
        _: Request<Streaming<SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::unimplemented("only publishers are meddled with"))
    }

    async fn locate(&self, _: Request<LocateRequest>) -> Result<Response<LocateResponse>, Status> {
        Err(Status::unimplemented("only publishers are meddled with"))
    }
}
