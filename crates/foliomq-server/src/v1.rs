//! `foliomq.v1.Messaging`: each call to the module that knows it.
//!
//! Publish and Subscribe do not come this way: the router takes them past tonic's decoder and encoder.

use std::sync::Arc;

use foliomq_proto::v1::{self, messaging_server::Messaging};
use tonic::{Request, Response, Status, Streaming};

use crate::broker::Broker;
use crate::locate;
use crate::messaging::caller;
use crate::status::grpc_status;

/// Our own protocol over a broker.
#[derive(Debug, Clone)]
pub(crate) struct V1(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl Messaging for V1 {
    type PublishStream = tokio_stream::Pending<Result<v1::PublishResponse, Status>>;
    type SubscribeStream = tokio_stream::Pending<Result<v1::SubscribeResponse, Status>>;

    async fn publish(
        &self,
        _: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        Err(Status::internal("a stream of frames came past the router"))
    }

    async fn subscribe(
        &self,
        _: Request<Streaming<v1::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        Err(Status::internal("a subscription came past the router"))
    }

    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        let caller = caller(&request);
        let located = locate::locate(&self.0, &caller, request.into_inner()).await;
        located.map(Response::new).map_err(grpc_status)
    }
}
