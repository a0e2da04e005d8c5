//! All services on one port, chosen by path.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use foliomq_proto::v1::admin_server::AdminServer;
use foliomq_proto::v1::messaging_server::MessagingServer;
use foliomq_proto::v2::{
    PullMessageRequest, ReceiveMessageRequest, Resource, SendMessageRequest,
    messaging_service_server::MessagingServiceServer,
};
use http::{HeaderValue, Request, Response, header};
use prost::{DecodeError, Message};
use tokio_stream::StreamExt;
use tonic::Status;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::admin::Admin;
use crate::answer::answer;
use crate::body::Body;
use crate::broker::Broker;
use crate::caller::Caller;
use crate::config::{Config, Encoding};
use crate::delivered::Outgoing;
use crate::encode::Frames;
use crate::encoded;
use crate::framed::Framed;
use crate::incoming::Incoming;
use crate::intake::{Counted, Intake};
use crate::message::put_framed;
use crate::messaging::{Messaging, admit};
use crate::metrics::Calls;
use crate::requests::Requests;
use crate::tasks::Tasks;
use crate::v1::V1;
use crate::wire::Wire;
use crate::{publish, pull, receive, send, subscribe, telemetry, v2_admin};

/// Largest request, or frame of a stream, that sends messages, bytes: a batch of full-size messages.
const MAX_SEND_REQUEST: usize = 64 << 20;
/// Largest request of any other kind, and largest command of a telemetry stream.
const MAX_REQUEST: usize = 1 << 20;
/// Largest question about a symbol, bytes: an answer that it is not known repeats it in a header, where more than a few
/// KiB would end the connection.
const MAX_SYMBOL: usize = 2 << 10;
/// Largest request of a receive or a pull.
const MAX_RECEIVE_REQUEST: usize = 256 << 10;
const RECEIVE: &str = "/apache.rocketmq.v2.MessagingService/ReceiveMessage";
const PULL: &str = "/apache.rocketmq.v2.MessagingService/PullMessage";
const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";
const PUBLISH: &str = "/foliomq.v1.Messaging/Publish";
const SEND: &str = "/apache.rocketmq.v2.MessagingService/SendMessage";
const TELEMETRY: &str = "/apache.rocketmq.v2.MessagingService/Telemetry";

/// The services of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    broker: Arc<Broker>,
    intake: Intake,
    routes: Routes,
}

impl Router {
    pub(crate) async fn new(broker: Arc<Broker>) -> Result<Self, tonic_reflection::server::Error> {
        let messaging = MessagingServiceServer::new(Messaging(broker.clone()))
            .max_decoding_message_size(MAX_REQUEST);
        let admin = AdminServer::new(Admin(broker.clone()));
        let v2_admin =
            foliomq_proto::v2::admin_server::AdminServer::new(v2_admin::Admin(broker.clone()));
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter
            .set_serving::<MessagingServiceServer<Messaging>>()
            .await;
        reporter.set_serving::<AdminServer<Admin>>().await;
        reporter.set_serving::<MessagingServer<V1>>().await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(foliomq_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let routes = Routes::new(messaging)
            .add_service(admin)
            .add_service(v2_admin)
            .add_service(health)
            .add_service(
                reflection()
                    .build_v1()?
                    .max_decoding_message_size(MAX_SYMBOL),
            )
            .add_service(
                reflection()
                    .build_v1alpha()?
                    .max_decoding_message_size(MAX_SYMBOL),
            );
        let streams =
            MessagingServer::new(V1(broker.clone())).max_decoding_message_size(MAX_REQUEST);
        let routes = routes.add_service(streams).prepare();
        Ok(Self {
            intake: Intake::new(broker.config.max_request_bytes),
            broker,
            routes,
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.broker.config
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.broker.tasks
    }

    pub(crate) fn calls(&self) -> &Arc<Calls> {
        &self.broker.calls
    }

    pub(crate) fn wire(&self) -> Arc<Wire> {
        self.broker.wire.clone()
    }

    /// Answers one request, which came from `peer`.
    ///
    /// What sends messages comes first, and by itself: the futures of all others are many times as large, and are made on
    /// the heap when they are needed.
    pub(crate) async fn route(
        self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        let caller = Caller::of(&request, peer);
        if request.uri().path() == SEND {
            return Ok(answered(self.send(request, caller).await));
        }
        Box::pin(self.route_other(request, caller)).await
    }

    async fn route_other(
        self,
        mut request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Infallible> {
        match request.uri().path() {
            RECEIVE => return Ok(answered(self.receive(request, caller).await)),
            PULL => return Ok(answered(self.pull(request, caller).await)),
            SUBSCRIBE => return Ok(self.subscribe(request, caller)),
            PUBLISH => return Ok(self.publish(request, caller)),
            TELEMETRY => return Ok(self.telemetry(request, caller)),
            _ => {}
        }
        request.extensions_mut().insert(caller);
        // Held until the answer is there: the handler works on the request's own bytes.
        let share = self.intake.share();
        request.extensions_mut().insert(share.clone());
        let request = request.map(|body| tonic::body::Body::new(Counted::new(body, share.clone())));
        let response = self.routes.oneshot(request).await?;
        Ok(response.map(Body::Tonic))
    }

    /// SendMessage, past tonic: bodies are slices of what has arrived.
    async fn send(
        self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Status> {
        // Held until the answer is there.
        let share = self.intake.share();
        let body = Counted::new(request.into_body(), share.clone());
        let message = Framed::new(body, MAX_SEND_REQUEST).only().await?;
        let request = SendMessageRequest::decode(message).map_err(malformed)?;
        let result = match admit(&self.broker, &caller) {
            Ok(()) => send::send(&self.broker, &caller, request).await,
            Err(refusal) => Err(refusal),
        };
        let response = answer(result, caller.language)?.into_inner();
        Ok(grpc(Body::Unary(unary(&response))))
    }

    async fn receive(
        self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Status> {
        let request: ReceiveMessageRequest = decode(request).await?;
        let encoding = self.broker.config.encoding;
        let frames = match admit(&self.broker, &caller) {
            Ok(()) => receive::receive(self.broker, &caller, request).await,
            Err(refusal) => {
                let status = refusal.status(caller.language);
                Frames::empty(self.broker, Resource::default(), status)
            }
        };
        Ok(grpc(match encoding {
            Encoding::Own => Body::Receive(frames),
            Encoding::Tonic => encoded::body(tokio_stream::iter(frames.responses().map(Ok))),
        }))
    }

    async fn pull(
        self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Status> {
        let request: PullMessageRequest = decode(request).await?;
        let encoding = self.broker.config.encoding;
        let pulled = match admit(&self.broker, &caller) {
            Ok(()) => pull::pull(self.broker, &caller, request).await,
            Err(refusal) => pull::refused(self.broker, refusal, &caller, None),
        };
        Ok(grpc(match encoding {
            Encoding::Own => Body::Pull(pulled),
            Encoding::Tonic => encoded::body(tokio_stream::iter(pulled.responses().map(Ok))),
        }))
    }

    fn telemetry(self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        if let Err(refusal) = admit(&self.broker, &caller) {
            let status = Status::invalid_argument(refusal.message);
            return status.into_http().map(Body::Tonic);
        }
        let requests = Requests::new(request.into_body(), &self.intake, MAX_REQUEST);
        grpc(encoded::body(telemetry::open(
            self.broker,
            caller,
            requests,
        )))
    }

    fn publish(self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        let share = self.intake.share();
        let body = Counted::new(request.into_body(), share.clone());
        let frames = Framed::new(body, MAX_SEND_REQUEST);
        grpc(encoded::body(publish::open(
            self.broker,
            caller,
            share,
            frames,
        )))
    }

    fn subscribe(self, request: Request<Incoming>, caller: Caller) -> Response<Body> {
        let requests = Requests::new(request.into_body(), &self.intake, MAX_REQUEST);
        let encoding = self.broker.config.encoding;
        let responses = subscribe::open(self.broker, caller, requests);
        grpc(match encoding {
            Encoding::Own => Body::Subscribe(responses),
            Encoding::Tonic => encoded::body(responses.map(Outgoing::into_message)),
        })
    }
}

/// The answer, or the status of a call that got none.
fn answered(answer: Result<Response<Body>, Status>) -> Response<Body> {
    answer.unwrap_or_else(|status| status.into_http().map(Body::Tonic))
}

fn grpc(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// A message with its prefix.
fn unary(message: &impl Message) -> Bytes {
    let mut bytes = BytesMut::new();
    put_framed(&mut bytes, message);
    bytes.freeze()
}

fn malformed(error: DecodeError) -> Status {
    Status::invalid_argument(format!("malformed request: {error}"))
}

/// The one message of a receive or a pull.
async fn decode<M: Message + Default>(request: Request<Incoming>) -> Result<M, Status> {
    let message = Framed::new(request.into_body(), MAX_RECEIVE_REQUEST).only();
    M::decode(message.await?).map_err(malformed)
}
