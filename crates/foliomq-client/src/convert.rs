//! Small conversions between Rust's types and the protocol's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foliomq_proto::v2;

/// Before the name of a group, and its namespace, that makes the topic of its dead letters.
const DEAD_LETTERS: &str = "%DLQ%";

/// What the protocol has for a name as the broker stores it: `namespace/name`, or the name alone.
pub(crate) fn resource(name: impl Into<String>) -> v2::Resource {
    let name: String = name.into();
    let prefix = if name.starts_with(DEAD_LETTERS) {
        DEAD_LETTERS
    } else {
        ""
    };
    let (namespace, name) = match name[prefix.len()..].split_once('/') {
        Some((namespace, rest)) => (namespace.to_owned(), format!("{prefix}{rest}")),
        None => (String::new(), name),
    };
    v2::Resource {
        resource_namespace: namespace,
        name,
    }
}

/// The other way round.
pub(crate) fn stored_name(resource: v2::Resource) -> String {
    let namespace = resource.resource_namespace;
    match resource.name.strip_prefix(DEAD_LETTERS) {
        _ if namespace.is_empty() => resource.name,
        Some(group) => format!("{DEAD_LETTERS}{namespace}/{group}"),
        None => format!("{namespace}/{}", resource.name),
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

/// The first whole Unix millisecond that is not before a time.
pub(crate) fn not_before(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// `None` for a time that this platform cannot express.
pub(crate) fn system_time(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(timestamp).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_begin_with_its_namespace() {
        let parts = |name: &str| {
            let resource = resource(name);
            assert_eq!(stored_name(resource.clone()), name);
            (resource.resource_namespace, resource.name)
        };
        let pair = |namespace: &str, name: &str| (namespace.to_owned(), name.to_owned());
        assert_eq!(parts("orders"), pair("", "orders"));
        assert_eq!(parts("a%b"), pair("", "a%b"));
        assert_eq!(parts("space/orders"), pair("space", "orders"));
        assert_eq!(parts("%DLQ%space/group"), pair("space", "%DLQ%group"));
    }
}
