//! tonic with nothing behind it: it decodes the same requests and sends answers of the same shape.
//!
//! The connection has the settings of the broker's, so that what differs is the broker.

use std::convert::Infallible;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use foliomq_proto::v1::{
    Delivered, DescribeTopicRequest, PublishAck, PublishRequest, PublishResponse, Queue,
    SubscribeRequest, SubscribeResponse, Topic,
};
use foliomq_proto::v2::{
    Code, Message, SendMessageRequest, SendMessageResponse, SendResultEntry, Status,
};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, StreamingService, UnaryService};
use tonic::{Response as Answer, Streaming};
use tonic_prost::ProstCodec;

type Future<T> =
    Pin<Box<dyn std::future::Future<Output = Result<Answer<T>, tonic::Status>> + Send>>;
type Responses<T> = Pin<Box<dyn Stream<Item = Result<T, tonic::Status>> + Send>>;

/// Bodies of one response of a subscription, as the broker has it.
const RESPONSE: usize = 64 << 10;
const MOST: usize = 64;

/// Listens on a free port, says so, and serves.
pub fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listening")?;
        println!("bare ready on {}", listener.local_addr()?);
        std::io::stdout().flush()?;
        accept(listener).await
    })
}

/// Serves whoever connects, in the background.
pub async fn accept(listener: TcpListener) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("accepting")?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream));
    }
}

async fn connection(stream: TcpStream) {
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(4096)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_frame_size(256 << 10)
        .serve_connection(TokioIo::new(stream), service_fn(route));
    // A client that goes away is no failure.
    let _ = served.await;
}

async fn route(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    let request = request.map(Body::new);
    Ok(match path.rsplit('/').next() {
        Some("SendMessage") => {
            Grpc::new(ProstCodec::default())
                .unary(SendOne, request)
                .await
        }
        Some("Publish") => {
            Grpc::new(ProstCodec::default())
                .streaming(Publish, request)
                .await
        }
        Some("Subscribe") => {
            Grpc::new(ProstCodec::default())
                .streaming(Subscribe, request)
                .await
        }
        Some("DescribeTopic") => {
            Grpc::new(ProstCodec::default())
                .unary(Describe, request)
                .await
        }
        _ => tonic::Status::unimplemented("no such method here").into_http(),
    })
}

fn ok() -> Option<Status> {
    Some(Status {
        code: Code::Ok.into(),
        message: "OK".to_owned(),
    })
}

struct SendOne;

impl UnaryService<SendMessageRequest> for SendOne {
    type Response = SendMessageResponse;
    type Future = Future<SendMessageResponse>;

    fn call(&mut self, request: tonic::Request<SendMessageRequest>) -> Self::Future {
        Box::pin(async move {
            let entry = |message: Message| SendResultEntry {
                status: ok(),
                message_id: message.system_properties.unwrap_or_default().message_id,
                ..SendResultEntry::default()
            };
            let messages = request.into_inner().messages;
            let entries = messages.into_iter().map(entry).collect();
            let status = ok();
            Ok(Answer::new(SendMessageResponse { status, entries }))
        })
    }
}

struct Publish;

impl StreamingService<PublishRequest> for Publish {
    type Response = PublishResponse;
    type ResponseStream = Responses<PublishResponse>;
    type Future = Future<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<Streaming<PublishRequest>>) -> Self::Future {
        let acknowledge = |frame: Result<PublishRequest, tonic::Status>| {
            frame.map(|frame| PublishResponse {
                acks: vec![PublishAck {
                    sequence: frame.sequence,
                    count: frame.messages.len() as u32,
                    status: ok(),
                    ..PublishAck::default()
                }],
            })
        };
        Box::pin(async move {
            let acks: Self::ResponseStream = Box::pin(request.into_inner().map(acknowledge));
            Ok(Answer::new(acks))
        })
    }
}

/// Sends the same response without end; the size of its bodies is the name of the topic.
struct Subscribe;

impl StreamingService<SubscribeRequest> for Subscribe {
    type Response = SubscribeResponse;
    type ResponseStream = Responses<SubscribeResponse>;
    type Future = Future<Self::ResponseStream>;

    fn call(&mut self, request: tonic::Request<Streaming<SubscribeRequest>>) -> Self::Future {
        Box::pin(async move {
            let first = request
                .into_inner()
                .next()
                .await
                .transpose()?
                .unwrap_or_default();
            let response = Arc::new(response(size_of(&first)));
            let same = std::iter::repeat_with(move || Ok((*response).clone()));
            let responses: Self::ResponseStream = Box::pin(tokio_stream::iter(same));
            Ok(Answer::new(responses))
        })
    }
}

fn size_of(request: &SubscribeRequest) -> usize {
    use foliomq_proto::v1::{open::From, subscribe_request::Request::Open};
    let Some(Open(open)) = &request.request else {
        return 1;
    };
    let Some(From::Queues(source)) = &open.from else {
        return 1;
    };
    let topic = source.queues.first().map(|queue| queue.topic.as_str());
    topic.and_then(|topic| topic.parse().ok()).unwrap_or(1)
}

/// As the broker delivers messages: with a message id and what else it stores.
fn response(body: usize) -> SubscribeResponse {
    let delivered = Delivered {
        topic: body.to_string(),
        queue_offset: 1 << 20,
        position: 1 << 30,
        store_unix_ms: 1 << 40,
        message: Some(Message {
            system_properties: Some(foliomq_proto::v2::SystemProperties {
                message_id: "0".repeat(34),
                ..foliomq_proto::v2::SystemProperties::default()
            }),
            body: vec![7; body].into(),
            ..Message::default()
        }),
        ..Delivered::default()
    };
    SubscribeResponse {
        deliveries: vec![delivered; RESPONSE.div_ceil(body.max(1)).clamp(1, MOST)],
        ..SubscribeResponse::default()
    }
}

struct Describe;

impl UnaryService<DescribeTopicRequest> for Describe {
    type Response = Topic;
    type Future = Future<Topic>;

    fn call(&mut self, request: tonic::Request<DescribeTopicRequest>) -> Self::Future {
        let topic = request.into_inner().topic;
        let queue = Queue {
            max_offset: 1 << 40,
            ..Queue::default()
        };
        let queues = vec![queue];
        Box::pin(async move {
            Ok(Answer::new(Topic {
                topic,
                queues,
                ..Topic::default()
            }))
        })
    }
}
