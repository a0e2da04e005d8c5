//! Why a load could not be run.

use std::io;

/// Why a load could not be run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nobody listens there, or the address is none.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// As it was given.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Http(#[from] h2::Error),
    /// A gRPC error.
    #[error("the broker answered with the gRPC status {code}: {text}")]
    Status {
        /// Of gRPC.
        code: i32,
        /// The broker's own words.
        text: String,
    },
    /// The broker refused a message or a request.
    #[error("the broker refused: {text} (code {code})")]
    Refused {
        /// Of the protocol, as a number.
        code: i32,
        /// The broker's own words.
        text: String,
    },
    /// An answer that does not follow the protocol.
    #[error("the broker's answer is not understood: {0}")]
    Protocol(String),
    /// The native client's own words.
    #[error(transparent)]
    Client(#[from] foliomq_client::Error),
    /// A plan that cannot be carried out.
    #[error("{0}")]
    Plan(String),
    /// A broker of its own did not start, or could not be looked at.
    #[error("{what}: {source}")]
    Process {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<prost::DecodeError> for LoadError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// OK, or the refusal that a status of the protocol stands for.
pub(crate) fn check(status: Option<&foliomq_proto::v2::Status>) -> Result<(), LoadError> {
    use foliomq_proto::v2::Code;
    match status {
        Some(status) if status.code == i32::from(Code::Ok) => Ok(()),
        Some(status) => Err(LoadError::Refused {
            code: status.code,
            text: status.message.clone(),
        }),
        None => Err(LoadError::Protocol("it has no status".to_owned())),
    }
}
