//! All services on one port, chosen by path.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use foliomq_proto::v1::admin_server::AdminServer;
use foliomq_proto::v1::messaging_server::MessagingServer;
use foliomq_proto::v2::{
    ReceiveMessageRequest, Resource, messaging_service_server::MessagingServiceServer,
};
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use tokio_stream::StreamExt;
use tonic::Status;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::admin::Admin;
use crate::body::Body;
use crate::broker::Broker;
use crate::caller::Caller;
use crate::config::{Config, Encoding};
use crate::delivered::Outgoing;
use crate::encode::Frames;
use crate::encoded;
use crate::incoming::Incoming;
use crate::intake::{Counted, Intake};
use crate::messaging::{Messaging, admit};
use crate::requests::Requests;
use crate::subscribe;
use crate::tasks::Tasks;
use crate::v1::V1;
use crate::wire::Wire;
use crate::{receive, telemetry, v2_admin};

/// Largest request that sends messages, bytes: a batch of full-size messages.
const MAX_SEND_REQUEST: usize = 64 << 20;
/// Largest request of any other kind, and largest command of a telemetry stream.
const MAX_REQUEST: usize = 1 << 20;
/// Largest request of a receive.
const MAX_RECEIVE_REQUEST: usize = 256 << 10;
/// Bytes before a gRPC message: compressed or not 1, length 4.
const PREFIX: usize = 5;
const RECEIVE: &str = "/apache.rocketmq.v2.MessagingService/ReceiveMessage";
const SUBSCRIBE: &str = "/foliomq.v1.Messaging/Subscribe";
const PUBLISH: &str = "/foliomq.v1.Messaging/Publish";
const SEND: &str = "/apache.rocketmq.v2.MessagingService/SendMessage";
const TELEMETRY: &str = "/apache.rocketmq.v2.MessagingService/Telemetry";

/// The services of a broker.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    broker: Arc<Broker>,
    intake: Intake,
    /// For what sends messages: the requests may be large.
    sending: Routes,
    routes: Routes,
}

impl Router {
    pub(crate) async fn new(broker: Arc<Broker>) -> Result<Self, tonic_reflection::server::Error> {
        let messaging = |largest| {
            MessagingServiceServer::new(Messaging(broker.clone()))
                .max_decoding_message_size(largest)
        };
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
        let routes = Routes::new(messaging(MAX_REQUEST))
            .add_service(admin)
            .add_service(v2_admin)
            .add_service(health)
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?);
        let streams =
            |largest| MessagingServer::new(V1(broker.clone())).max_decoding_message_size(largest);
        let routes = routes.add_service(streams(MAX_REQUEST)).prepare();
        let sending = Routes::new(messaging(MAX_SEND_REQUEST))
            .add_service(streams(MAX_SEND_REQUEST))
            .prepare();
        Ok(Self {
            intake: Intake::new(broker.config.max_request_bytes),
            broker,
            sending,
            routes,
        })
    }

    pub(crate) fn config(&self) -> Config {
        self.broker.config.clone()
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.broker.tasks
    }

    pub(crate) fn wire(&self) -> Arc<Wire> {
        self.broker.wire.clone()
    }

    /// Answers one request.
    pub(crate) async fn route(
        self,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let caller = Caller::of(&request);
        if request.uri().path() == RECEIVE {
            return Ok(self
                .receive(request, caller)
                .await
                .unwrap_or_else(|status| status.into_http().map(Body::Tonic)));
        }
        if request.uri().path() == SUBSCRIBE {
            return Ok(self.subscribe(request, caller));
        }
        if request.uri().path() == TELEMETRY {
            return Ok(self.telemetry(request, caller));
        }
        request.extensions_mut().insert(caller);
        let routes = match request.uri().path() {
            SEND | PUBLISH => self.sending,
            _ => self.routes,
        };
        // Held until the answer is there: the handler works on the request's own bytes.
        let share = self.intake.share();
        request.extensions_mut().insert(share.clone());
        let request = request.map(|body| tonic::body::Body::new(Counted::new(body, share.clone())));
        let response = routes.oneshot(request).await?;
        Ok(response.map(Body::Tonic))
    }

    async fn receive(
        self,
        request: Request<Incoming>,
        caller: Caller,
    ) -> Result<Response<Body>, Status> {
        let request = decode(request).await?;
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

fn grpc(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// The one message of a request.
async fn decode(request: Request<Incoming>) -> Result<ReceiveMessageRequest, Status> {
    let body = Limited::new(request.into_body(), MAX_RECEIVE_REQUEST)
        .collect()
        .await;
    let body = body.map_err(|error| {
        let what = format!("the request cannot be read: {error}");
        // As tonic has it for the other methods.
        if error.is::<LengthLimitError>() {
            Status::out_of_range(what)
        } else {
            Status::invalid_argument(what)
        }
    })?;
    decode_message(body.to_bytes())
}

fn decode_message(mut bytes: Bytes) -> Result<ReceiveMessageRequest, Status> {
    if bytes.len() < PREFIX {
        return Err(Status::invalid_argument("the request holds no message"));
    }
    if bytes.get_u8() != 0 {
        return Err(Status::unimplemented(
            "compressed requests are not supported",
        ));
    }
    if bytes.get_u32() as usize != bytes.len() {
        return Err(Status::invalid_argument(
            "the request is not one whole message",
        ));
    }
    ReceiveMessageRequest::decode(bytes)
        .map_err(|error| Status::invalid_argument(format!("malformed request: {error}")))
}
