//! Responses that carry their status within.

use foliomq_proto::v2;
use tonic::{Response, Status};

use crate::caller::Language;
use crate::status::Refusal;

/// A response of which a refusal can be made.
pub(crate) trait Answer: Default {
    /// The response with this status and nothing else.
    fn with_status(status: v2::Status) -> Self;
}

macro_rules! answers {
    ($($response:ident),* $(,)?) => {
        $(impl Answer for v2::$response {
            fn with_status(status: v2::Status) -> Self {
                let mut response = Self::default();
                response.status = Some(status);
                response
            }
        })*
    };
}

answers!(
    QueryRouteResponse,
    HeartbeatResponse,
    SendMessageResponse,
    QueryAssignmentResponse,
    AckMessageResponse,
    ForwardMessageToDeadLetterQueueResponse,
    UpdateOffsetResponse,
    GetOffsetResponse,
    QueryOffsetResponse,
    EndTransactionResponse,
    NotifyClientTerminationResponse,
    ChangeInvisibleDurationResponse,
    RecallMessageResponse,
    SyncLiteSubscriptionResponse,
);

/// The gRPC call succeeds in either case: a client would take a gRPC error for a broken connection.
pub(crate) fn answer<R: Answer>(
    result: Result<R, Refusal>,
    language: Language,
) -> Result<Response<R>, Status> {
    let response = result.unwrap_or_else(|refusal| {
        tracing::debug!(
            code = refusal.code.as_str_name(),
            message = refusal.message,
            "refused"
        );
        R::with_status(refusal.status(language))
    });
    Ok(Response::new(response))
}
