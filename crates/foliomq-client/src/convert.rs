//! Small conversions between Rust's types and the protocol's.

use std::time::{Duration, SystemTime};

use foliomq_proto::v2;

/// Names of this client carry no namespace.
pub(crate) fn resource(name: impl Into<String>) -> v2::Resource {
    v2::Resource {
        resource_namespace: String::new(),
        name: name.into(),
    }
}

/// Durations beyond the protocol's range become its longest.
pub(crate) fn duration(duration: Duration) -> prost_types::Duration {
    let longest = prost_types::Duration {
        seconds: 315_576_000_000,
        nanos: 0,
    };
    prost_types::Duration::try_from(duration).unwrap_or(longest)
}

/// `None` for a time that this platform cannot express.
pub(crate) fn system_time(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(timestamp).ok()
}
