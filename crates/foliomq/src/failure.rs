//! From an error to its text, a hint and an exit code.

use std::io;
use std::process::ExitCode;

use foliomq_client::Code;
use foliomq_commitlog::OpenError as LogError;
use foliomq_load::LoadError;
use foliomq_server::ServeError;

use crate::settings::Invalid;

const REFUSED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;
const DAMAGED: u8 = 4;
const IN_USE: u8 = 5;
const STOPPED: u8 = 130;

/// An error of the command itself, with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked for cannot be.
    #[error("{0}")]
    Usage(String),
    /// Nothing is there.
    #[error("{0}")]
    NotFound(String),
    /// A check found damage.
    #[error("{0}")]
    Damaged(String),
    /// A signal ended it.
    #[error("{0}")]
    Stopped(String),
    /// Another process has it.
    #[error("{0}")]
    InUse(String),
}

/// Says on standard error what went wrong and what to do. A reader of our output that went away is no failure.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    eprintln!("foliomq: {}", text(error));
    if let Some(hint) = hint(error) {
        eprintln!("hint: {hint}");
    }
    ExitCode::from(code(error))
}

/// The chain of causes in one line; a cause that its effect already tells is not repeated.
fn text(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if parts.iter().all(|part| !part.contains(&cause)) {
            parts.push(cause);
        }
    }
    parts.join(": ")
}

fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(REFUSED)
}

fn code_of(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if cause.is::<Invalid>() {
        return Some(USAGE);
    }
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(match failure {
            Failure::Usage(_) => USAGE,
            Failure::NotFound(_) => REFUSED,
            Failure::Damaged(_) => DAMAGED,
            Failure::Stopped(_) => STOPPED,
            Failure::InUse(_) => IN_USE,
        });
    }
    if let Some(error) = cause.downcast_ref::<foliomq_client::Error>() {
        return match error {
            foliomq_client::Error::Transport { .. } => Some(UNREACHABLE),
            foliomq_client::Error::Endpoint { .. } | foliomq_client::Error::Tls(_) => Some(USAGE),
            _ => Some(REFUSED),
        };
    }
    if let Some(error) = cause.downcast_ref::<LoadError>() {
        return Some(match error {
            LoadError::Connect { .. } => UNREACHABLE,
            LoadError::Plan(_) => USAGE,
            _ => REFUSED,
        });
    }
    if let Some(error) = cause.downcast_ref::<ServeError>() {
        return match error {
            ServeError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => {
                Some(IN_USE)
            }
            ServeError::Advertise(_) => Some(USAGE),
            _ => None,
        };
    }
    match log_error(cause)? {
        LogError::Locked { .. } => Some(IN_USE),
        LogError::Corrupt { .. } => Some(DAMAGED),
        _ => None,
    }
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(hint_of)
}

fn hint_of(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<foliomq_client::Error>() {
        return client_hint(error).map(str::to_owned);
    }
    if let Some(LoadError::Connect { .. }) = cause.downcast_ref() {
        return Some(
            "without --endpoint, or with --spawn, the bench starts a broker of its own".to_owned(),
        );
    }
    if let Some(ServeError::Listen { source, .. }) = cause.downcast_ref::<ServeError>() {
        return listen_hint(source.kind()).map(str::to_owned);
    }
    if let Some(LogError::Locked { .. }) = log_error(cause) {
        return Some(
            "stop the broker that has it, or choose another folder with --store-dir".to_owned(),
        );
    }
    None
}

fn client_hint(error: &foliomq_client::Error) -> Option<&'static str> {
    match (error, error.code()) {
        (foliomq_client::Error::Transport { .. }, _) => {
            Some("is a broker running there? `foliomq serve` starts one; --endpoint names another")
        }
        (_, Some(Code::TopicNotFound)) => {
            Some("`foliomq topic create TOPIC` makes it; `foliomq topic list` shows what is there")
        }
        (_, Some(Code::MessageBodyTooLarge)) => Some("the broker's limit is its setting max-body"),
        _ => None,
    }
}

fn listen_hint(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some(
            "another process has that port; choose another with --listen (port 0 takes a free one)",
        ),
        io::ErrorKind::AddrNotAvailable => {
            Some("that address is not one of this machine; 0.0.0.0 stands for all of them")
        }
        io::ErrorKind::PermissionDenied => {
            Some("ports below 1024 are for privileged processes; choose another with --listen")
        }
        _ => None,
    }
}

/// The log's error, also where a transparent wrapper shows it as its own.
fn log_error<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a LogError> {
    match cause.downcast_ref::<foliomq_store::OpenError>() {
        Some(foliomq_store::OpenError::Log(error)) => Some(error),
        _ => cause.downcast_ref::<LogError>(),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut io = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn opened(error: LogError) -> anyhow::Error {
        anyhow::Error::new(foliomq_store::OpenError::Log(error)).context("cannot open the store")
    }

    #[test]
    fn each_class_has_its_code() {
        let transport = foliomq_client::Error::Transport {
            endpoint: "b:1".to_owned(),
            reason: "refused".to_owned(),
        };
        assert_eq!(code(&transport.into()), UNREACHABLE);
        let refused = foliomq_client::Error::Refused {
            code: Code::TopicNotFound.into(),
            text: "no".to_owned(),
        };
        assert_eq!(code(&refused.into()), REFUSED);
        assert_eq!(code(&Failure::Usage(String::new()).into()), USAGE);
        assert_eq!(code(&Failure::Damaged(String::new()).into()), DAMAGED);
        assert_eq!(
            code(&opened(LogError::Locked {
                path: PathBuf::new()
            })),
            IN_USE
        );
        let in_use = io::Error::from(io::ErrorKind::AddrInUse);
        let listen = ServeError::Listen {
            listen: ([127, 0, 0, 1], 1).into(),
            source: in_use,
        };
        assert_eq!(code(&listen.into()), IN_USE);
        assert_eq!(code(&anyhow::anyhow!("anything else")), REFUSED);
    }

    #[test]
    fn a_damaged_store_says_how_to_salvage() {
        let error = opened(LogError::Corrupt {
            position: 4096,
            segment: PathBuf::from("s"),
            durable: 8192,
            reason: "checksum".to_owned(),
            dir: PathBuf::from("d"),
        });
        assert_eq!(code(&error), DAMAGED);
        assert!(
            text(&error).contains("foliomq verify --salvage d"),
            "{}",
            text(&error)
        );
    }

    #[test]
    fn causes_are_told_once() {
        let error = anyhow::anyhow!("disk full")
            .context("cannot write: disk full")
            .context("sending line 3");
        assert_eq!(text(&error), "sending line 3: cannot write: disk full");
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        assert!(is_broken_pipe(
            &io::Error::from(io::ErrorKind::BrokenPipe).into()
        ));
        assert!(!is_broken_pipe(
            &io::Error::from(io::ErrorKind::NotFound).into()
        ));
    }
}
