//! The metadata that goes with every call.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Not `RUST`: by that name the broker knows an older client that needs special answers.
const LANGUAGE: &str = "FOLIOMQ";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Tells the broker who calls.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    client_id: AsciiMetadataValue,
}

impl Headers {
    /// Headers with a client id of their own, of the form `host@pid@index@milliseconds`.
    pub(crate) fn unique() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!(
            "{}@{}@{index}@{:x}",
            host_name(),
            std::process::id(),
            unix_millis()
        );
        let client_id =
            AsciiMetadataValue::try_from(id).unwrap_or_else(|_| AsciiMetadataValue::from(index));
        Self { client_id }
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("x-mq-client-id", self.client_id.clone());
        metadata.insert("x-mq-language", AsciiMetadataValue::from_static(LANGUAGE));
        metadata.insert(
            "x-mq-client-version",
            AsciiMetadataValue::from_static(VERSION),
        );
        metadata.insert("x-mq-protocol", AsciiMetadataValue::from_static("v2"));
        Ok(request)
    }
}

/// The machine's name, or `localhost` where it cannot be told.
pub(crate) fn host_name() -> String {
    std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .map(|name| name.trim().to_owned())
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

pub(crate) fn unix_millis() -> u128 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_has_an_id_of_its_own() {
        let (one, other) = (Headers::unique(), Headers::unique());
        assert_ne!(one.client_id, other.client_id);
    }

    #[test]
    fn a_call_carries_id_and_language() {
        let request = Headers::unique().call(Request::new(())).unwrap();
        assert!(request.metadata().contains_key("x-mq-client-id"));
        assert_eq!(request.metadata().get("x-mq-language").unwrap(), "FOLIOMQ");
    }
}
