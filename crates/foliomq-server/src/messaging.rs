//! `apache.rocketmq.v2.MessagingService`: each call to the module that knows it.
//!
//! SendMessage, ReceiveMessage, PullMessage and Telemetry do not come this way: the router takes them past tonic's encoder and decoder.

use std::future::Future;
use std::sync::Arc;

use foliomq_proto::v2::{self, messaging_service_server::MessagingService};
use tonic::{Request, Response, Status, Streaming};

use crate::answer::{Answer, answer};
use crate::broker::Broker;
use crate::caller::{Caller, MAX_CLIENT_ID};
use crate::status::{Refusal, ok};
use crate::{hidden, lite, name, offsets, renewal, route, settings, settle};

/// The v2 protocol over a broker.
#[derive(Debug, Clone)]
pub(crate) struct Messaging(pub(crate) Arc<Broker>);

impl Messaging {
    /// Handles a call of a client that says who it is.
    async fn call<Q, R: Answer, F>(
        &self,
        request: Request<Q>,
        handle: impl FnOnce(Caller, Q) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<R, Refusal>>,
    {
        let caller = caller(&request);
        let language = caller.language;
        if let Err(refusal) = admit(&self.0, &caller) {
            return answer(Err(refusal), language);
        }
        answer(handle(caller, request.into_inner()).await, language)
    }
}

/// Refuses a caller without a client id, or with one too long to remember; notes that the others live.
pub(crate) fn admit(broker: &Broker, caller: &Caller) -> Result<(), Refusal> {
    if caller.client_id.is_empty() {
        return Err(Refusal::new(
            v2::Code::ClientIdRequired,
            "the header x-mq-client-id is missing",
        ));
    }
    if !caller.has_id() {
        return Err(Refusal::new(
            v2::Code::BadRequest,
            format!("the header x-mq-client-id is longer than {MAX_CLIENT_ID} bytes"),
        ));
    }
    broker.clients.saw(caller);
    Ok(())
}

/// The router has put it there.
pub(crate) fn caller<Q>(request: &Request<Q>) -> Caller {
    let known = request.extensions().get::<Caller>().cloned();
    known.unwrap_or_else(|| Caller::new(request.metadata().as_ref()))
}

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl MessagingService for Messaging {
    type ReceiveMessageStream = Stream<v2::ReceiveMessageResponse>;
    type PullMessageStream = Stream<v2::PullMessageResponse>;
    type TelemetryStream = Stream<v2::TelemetryCommand>;

    async fn query_route(
        &self,
        request: Request<v2::QueryRouteRequest>,
    ) -> Result<Response<v2::QueryRouteResponse>, Status> {
        self.call(request, |caller, request| async move {
            route::query_route(&self.0, &caller, request).await
        })
        .await
    }

    async fn query_assignment(
        &self,
        request: Request<v2::QueryAssignmentRequest>,
    ) -> Result<Response<v2::QueryAssignmentResponse>, Status> {
        self.call(request, |caller, request| async move {
            route::query_assignment(&self.0, &caller, request).await
        })
        .await
    }

    async fn heartbeat(
        &self,
        request: Request<v2::HeartbeatRequest>,
    ) -> Result<Response<v2::HeartbeatResponse>, Status> {
        self.call(request, |caller, request| async move {
            // Of a group that cannot be, none is noted.
            let group = request.group.as_ref();
            let group = group.and_then(|group| name::group(Some(group), &caller).ok());
            if self.0.clients.heartbeat(&caller, group) {
                settings::tell(&self.0, &caller.client_id, |settings| {
                    // A client that does not read misses it.
                    self.0.clients.send_to(&caller.client_id, settings);
                });
            }
            Ok(v2::HeartbeatResponse { status: Some(ok()) })
        })
        .await
    }

    async fn send_message(
        &self,
        _: Request<v2::SendMessageRequest>,
    ) -> Result<Response<v2::SendMessageResponse>, Status> {
        Err(Status::internal("messages came past the router"))
    }

    async fn receive_message(
        &self,
        _: Request<v2::ReceiveMessageRequest>,
    ) -> Result<Response<Self::ReceiveMessageStream>, Status> {
        Err(Status::internal("a receive came past the router"))
    }

    async fn ack_message(
        &self,
        request: Request<v2::AckMessageRequest>,
    ) -> Result<Response<v2::AckMessageResponse>, Status> {
        self.call(request, |caller, request| async move {
            settle::ack(&self.0, &caller, request)
        })
        .await
    }

    async fn change_invisible_duration(
        &self,
        request: Request<v2::ChangeInvisibleDurationRequest>,
    ) -> Result<Response<v2::ChangeInvisibleDurationResponse>, Status> {
        self.call(request, |caller, request| async move {
            settle::change_invisible(&self.0, &caller, request)
        })
        .await
    }

    async fn forward_message_to_dead_letter_queue(
        &self,
        request: Request<v2::ForwardMessageToDeadLetterQueueRequest>,
    ) -> Result<Response<v2::ForwardMessageToDeadLetterQueueResponse>, Status> {
        self.call(request, |caller, request| async move {
            settle::dead_letter(&self.0, &caller, request).await
        })
        .await
    }

    async fn notify_client_termination(
        &self,
        request: Request<v2::NotifyClientTerminationRequest>,
    ) -> Result<Response<v2::NotifyClientTerminationResponse>, Status> {
        self.call(request, |caller, _| async move {
            self.0.clients.terminate(&caller.client_id);
            renewal::hand_back(&self.0, &caller.client_id).await;
            lite::forget(&self.0, &caller.client_id).await;
            Ok(v2::NotifyClientTerminationResponse { status: Some(ok()) })
        })
        .await
    }

    async fn telemetry(
        &self,
        _: Request<Streaming<v2::TelemetryCommand>>,
    ) -> Result<Response<Self::TelemetryStream>, Status> {
        Err(Status::internal("telemetry came past the router"))
    }

    async fn pull_message(
        &self,
        _: Request<v2::PullMessageRequest>,
    ) -> Result<Response<Self::PullMessageStream>, Status> {
        Err(Status::internal("a pull came past the router"))
    }

    async fn update_offset(
        &self,
        request: Request<v2::UpdateOffsetRequest>,
    ) -> Result<Response<v2::UpdateOffsetResponse>, Status> {
        self.call(request, |caller, request| async move {
            offsets::update_offset(&self.0, &caller, request).await
        })
        .await
    }

    async fn get_offset(
        &self,
        request: Request<v2::GetOffsetRequest>,
    ) -> Result<Response<v2::GetOffsetResponse>, Status> {
        self.call(request, |caller, request| async move {
            offsets::get_offset(&self.0, &caller, request).await
        })
        .await
    }

    async fn query_offset(
        &self,
        request: Request<v2::QueryOffsetRequest>,
    ) -> Result<Response<v2::QueryOffsetResponse>, Status> {
        self.call(request, |caller, request| async move {
            offsets::query_offset(&self.0, &caller, request).await
        })
        .await
    }

    async fn end_transaction(
        &self,
        request: Request<v2::EndTransactionRequest>,
    ) -> Result<Response<v2::EndTransactionResponse>, Status> {
        self.call(request, |caller, request| async move {
            hidden::end_transaction(&self.0, &caller, request).await
        })
        .await
    }

    async fn recall_message(
        &self,
        request: Request<v2::RecallMessageRequest>,
    ) -> Result<Response<v2::RecallMessageResponse>, Status> {
        self.call(request, |caller, request| async move {
            hidden::recall(&self.0, &caller, request).await
        })
        .await
    }

    async fn sync_lite_subscription(
        &self,
        request: Request<v2::SyncLiteSubscriptionRequest>,
    ) -> Result<Response<v2::SyncLiteSubscriptionResponse>, Status> {
        self.call(request, |caller, request| async move {
            lite::sync(&self.0, &caller, request).await
        })
        .await
    }
}
