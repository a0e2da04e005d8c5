//! The one place that maps errors to the protocol's codes.

use foliomq_delivery::DeliveryError;
use foliomq_proto::CODE_KEY;
use foliomq_proto::v2::{self, Code};
use foliomq_store::{AppendError, StoreError};
use tonic::metadata::MetadataMap;

use crate::caller::Language;

/// Longest text of a refusal, bytes. It may name what the caller sent, and travels in a header, where more than a few KiB
/// would end the connection.
const MAX_TEXT: usize = 1024;

/// Why a request was refused, as the protocol says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_TEXT {
            let end = (0..=MAX_TEXT).rfind(|&end| message.is_char_boundary(end));
            message.truncate(end.unwrap_or_default());
            message.push_str("...");
        }
        Self { code, message }
    }

    /// What a later version brings.
    pub(crate) fn unsupported(what: &str) -> Self {
        Self::new(
            Code::Unsupported,
            format!("{what} not supported by this version of FolioMQ"),
        )
    }

    /// The status for a client in this language.
    pub(crate) fn status(self, language: Language) -> v2::Status {
        let code = if language == Language::Rust {
            known_to_rust(self.code)
        } else {
            self.code
        };
        v2::Status {
            code: code.into(),
            message: self.message,
        }
    }
}

/// The status of a success.
pub(crate) fn ok() -> v2::Status {
    v2::Status {
        code: Code::Ok.into(),
        message: "OK".to_owned(),
    }
}

/// The official Rust client 5.0.0 panics on codes that came after it: the nearest older one stands in.
fn known_to_rust(code: Code) -> Code {
    match code {
        Code::MessageBodyEmpty
        | Code::IllegalOffset
        | Code::IllegalLiteTopic
        | Code::InvalidClientProperties => Code::BadRequest,
        Code::LiteTopicQuotaExceeded | Code::LiteSubscriptionQuotaExceeded => Code::TooManyRequests,
        Code::OffsetNotFound => Code::NotFound,
        other => other,
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::UnknownTopic { .. } => Code::TopicNotFound,
            StoreError::UnknownQueue { .. } => Code::BadRequest,
            StoreError::Illegal { .. } => Code::BadRequest,
            StoreError::TopicExists { .. } => Code::PreconditionFailed,
            StoreError::BodyTooLarge { .. } | StoreError::Append(AppendError::TooLarge { .. }) => {
                Code::MessageBodyTooLarge
            }
            StoreError::Append(AppendError::DiskFull { .. }) => Code::TooManyRequests,
            StoreError::Append(_)
            | StoreError::Lost { .. }
            | StoreError::Deleted { .. }
            | StoreError::Read(_)
            | StoreError::Index(_) => Code::InternalServerError,
        };
        let hint = match &error {
            StoreError::Append(AppendError::DiskFull { .. }) => {
                "; sending goes on by itself once there is space"
            }
            StoreError::Append(AppendError::Closed) => "; the broker is shutting down",
            _ => "",
        };
        Self::new(code, format!("{error}{hint}"))
    }
}

impl From<DeliveryError> for Refusal {
    fn from(error: DeliveryError) -> Self {
        let code = match error {
            DeliveryError::Store(error) => return error.into(),
            DeliveryError::IllegalGroup { .. } => Code::IllegalConsumerGroup,
            DeliveryError::UnknownGroup { .. } => Code::ConsumerGroupNotFound,
            DeliveryError::IllegalSetting { .. } => Code::BadRequest,
            DeliveryError::IllegalLiteTopic { .. } => Code::IllegalLiteTopic,
            DeliveryError::LiteTopicQuota { .. } => Code::LiteTopicQuotaExceeded,
            DeliveryError::LiteSubscriptionQuota { .. } => Code::LiteSubscriptionQuotaExceeded,
            DeliveryError::IllegalFilter { .. } => Code::IllegalFilterExpression,
            DeliveryError::InvalidHandle { .. } => Code::InvalidReceiptHandle,
            DeliveryError::IllegalTime { .. } => Code::IllegalDeliveryTime,
            DeliveryError::InvalidRecall { .. } => Code::BadRequest,
            DeliveryError::InvalidTransaction { .. } => Code::InvalidTransactionId,
            DeliveryError::NotWaiting { .. } => Code::MessageNotFound,
            DeliveryError::TooMany { .. } => Code::TooManyRequests,
            DeliveryError::Journal(_) => Code::InternalServerError,
        };
        Self::new(code, error.to_string())
    }
}

/// For calls without a status in their answer: the nearest gRPC status, and the protocol's own code in its metadata.
pub(crate) fn grpc_status(refusal: Refusal) -> tonic::Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE_KEY, (refusal.code as i32).into());
    tonic::Status::with_metadata(grpc_code(refusal.code), refusal.message, metadata)
}

fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::PreconditionFailed => tonic::Code::AlreadyExists,
        Code::TopicNotFound
        | Code::ConsumerGroupNotFound
        | Code::MessageNotFound
        | Code::NotFound => tonic::Code::NotFound,
        // A client that was asked something; the call itself came to its end.
        Code::RequestTimeout => tonic::Code::FailedPrecondition,
        Code::TooManyRequests
        | Code::LiteTopicQuotaExceeded
        | Code::LiteSubscriptionQuotaExceeded => tonic::Code::ResourceExhausted,
        Code::Unsupported => tonic::Code::Unimplemented,
        Code::Forbidden => tonic::Code::PermissionDenied,
        Code::InternalServerError => tonic::Code::Internal,
        _ => tonic::Code::InvalidArgument,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short() {
        let refusal = Refusal::new(Code::BadRequest, "é".repeat(5000));
        assert_eq!(refusal.message.len(), MAX_TEXT + 3);
        assert_eq!(Refusal::new(Code::BadRequest, "no").message, "no");
    }

    #[test]
    fn rust_gets_no_code_that_it_does_not_know() {
        let newer = [40019, 40020, 40021, 40404, 41302, 42901, 42902];
        for code in newer.map(|code| Code::try_from(code).unwrap()) {
            assert!(!newer.contains(&Refusal::new(code, "").status(Language::Rust).code));
            assert_eq!(
                Refusal::new(code, "").status(Language::Node).code,
                code as i32
            );
        }
    }
}
