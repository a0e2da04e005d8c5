//! What can go wrong between a program and its broker.

use foliomq_proto::v2;
pub use foliomq_proto::v2::Code;

/// The result of every call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint is not of the form `host:port` or `http://host:port`.
    #[error("endpoint {endpoint:?} is not valid: {reason}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates to trust cannot be read or used.
    #[error("TLS: {0}")]
    Tls(String),
    /// No connection, or it broke, or no answer came in time. Whether the broker did what was asked is unknown.
    #[error("no answer from the broker at {endpoint}: {reason}")]
    Transport {
        /// Where the broker was looked for.
        endpoint: String,
        /// What the transport says.
        reason: String,
    },
    /// The broker answered and refused.
    #[error("{text} ({})", code_name(*.code))]
    Refused {
        /// A [`Code`] as a number; compare with [`Error::code`].
        code: i32,
        /// The broker's own words.
        text: String,
    },
    /// The broker refused one message of a batch; nothing after it in the batch was looked at.
    #[error("message {index} of the batch: {text} ({})", code_name(*.code))]
    RefusedMessage {
        /// Counted from 0.
        index: usize,
        /// A [`Code`] as a number.
        code: i32,
        /// The broker's own words.
        text: String,
    },
    /// The publisher or subscriber has ended.
    #[error("it is closed already")]
    Closed,
    /// The answer does not follow the protocol.
    #[error("the broker's answer is not understood: {0}")]
    Protocol(String),
}

impl Error {
    /// The broker's code, where the broker refused and the code is a known one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } | Self::RefusedMessage { code, .. } => {
                Code::try_from(*code).ok()
            }
            _ => None,
        }
    }

    pub(crate) fn refused(code: Code, text: impl Into<String>) -> Self {
        Self::Refused {
            code: code.into(),
            text: text.into(),
        }
    }

    /// From a gRPC status: a refusal with the broker's own code where it says one, and with the nearest one where the call did
    /// not get as far as that; otherwise a broken call.
    pub(crate) fn from_status(endpoint: &str, status: tonic::Status) -> Self {
        if let Some(code) = own_code(&status) {
            return Self::Refused {
                code,
                text: status.message().to_owned(),
            };
        }
        let code = match status.code() {
            tonic::Code::NotFound => Code::NotFound,
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => Code::BadRequest,
            tonic::Code::AlreadyExists | tonic::Code::FailedPrecondition => {
                Code::PreconditionFailed
            }
            tonic::Code::PermissionDenied => Code::Forbidden,
            tonic::Code::Unauthenticated => Code::Unauthorized,
            tonic::Code::ResourceExhausted => Code::TooManyRequests,
            tonic::Code::Unimplemented => Code::NotImplemented,
            tonic::Code::Internal | tonic::Code::DataLoss => Code::InternalError,
            _ => {
                return Self::Transport {
                    endpoint: endpoint.to_owned(),
                    reason: status_text(&status),
                };
            }
        };
        Self::refused(code, status.message())
    }
}

/// The code of `apache.rocketmq.v2` in the status's metadata.
fn own_code(status: &tonic::Status) -> Option<i32> {
    let code = status.metadata().get(foliomq_proto::CODE_KEY)?;
    code.to_str().ok()?.parse().ok()
}

/// OK, or the refusal that a status of the messaging service stands for.
pub(crate) fn check(status: Option<v2::Status>) -> Result<()> {
    match status {
        Some(status) if status.code == i32::from(Code::Ok) => Ok(()),
        Some(status) => Err(Error::Refused {
            code: status.code,
            text: status.message,
        }),
        None => Err(Error::Protocol("it has no status".to_owned())),
    }
}

/// The whole chain of causes in one line: the outermost alone ("transport error") says nothing.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn status_text(status: &tonic::Status) -> String {
    let cause = std::error::Error::source(status).map(chain);
    match cause {
        Some(cause) => cause,
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

fn code_name(code: i32) -> String {
    Code::try_from(code).map_or_else(
        |_| format!("code {code}"),
        |known| known.as_str_name().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_code() {
        let error = check(Some(v2::Status {
            code: 40402,
            message: "no such topic".to_owned(),
        }))
        .unwrap_err();
        assert_eq!(error.to_string(), "no such topic (TOPIC_NOT_FOUND)");
        assert_eq!(error.code(), Some(Code::TopicNotFound));
    }

    #[test]
    fn an_unknown_code_is_shown_as_a_number() {
        let error = check(Some(v2::Status {
            code: 77,
            message: "odd".to_owned(),
        }))
        .unwrap_err();
        assert_eq!(error.to_string(), "odd (code 77)");
        assert_eq!(error.code(), None);
    }

    #[test]
    fn grpc_statuses_split_into_refusals_and_broken_calls() {
        let refusal = Error::from_status("b:1", tonic::Status::not_found("topic t does not exist"));
        assert_eq!(refusal.code(), Some(Code::NotFound));
        let broken = Error::from_status("b:1", tonic::Status::unavailable("gone"));
        assert!(matches!(broken, Error::Transport { .. }), "{broken}");
    }

    #[test]
    fn a_code_of_the_protocol_goes_before_that_of_grpc() {
        let mut status = tonic::Status::not_found("no such topic");
        let metadata = status.metadata_mut();
        metadata.insert(foliomq_proto::CODE_KEY, 40402.into());
        let refusal = Error::from_status("b:1", status.clone());
        assert_eq!(refusal.code(), Some(Code::TopicNotFound));
        // One that is no number is none.
        let metadata = status.metadata_mut();
        metadata.insert(foliomq_proto::CODE_KEY, "x".parse().unwrap());
        let refusal = Error::from_status("b:1", status);
        assert_eq!(refusal.code(), Some(Code::NotFound));
    }

    #[test]
    fn an_answer_without_a_status_is_a_protocol_error() {
        assert!(matches!(check(None), Err(Error::Protocol(_))));
    }
}
