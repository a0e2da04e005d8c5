//! Who calls: what the metadata of a request tells.

use std::time::Duration;

use http::HeaderMap;

/// Which client library calls, as far as that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    /// The Node.js client; it calls itself `HTTP`.
    Node,
    /// The official Rust client. Its 5.0.0 panics on codes that it does not know.
    Rust,
    /// Its push consumer knows a back-off in steps alone, and it takes MESSAGE_NOT_FOUND for success.
    Python,
    Other,
}

/// What every handler may want to know of its caller.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    /// `x-mq-client-id`; empty if there is none.
    pub(crate) client_id: String,
    pub(crate) language: Language,
    /// `x-mq-namespace`: for the requests whose resources do not name one.
    pub(crate) namespace: String,
    /// How long the client waits for the whole answer, from its `grpc-timeout`.
    pub(crate) timeout: Option<Duration>,
}

impl Caller {
    pub(crate) fn new(headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        let language = match text("x-mq-language") {
            "HTTP" | "NODE_JS" | "NODEJS" => Language::Node,
            "RUST" => Language::Rust,
            "PYTHON" => Language::Python,
            _ => Language::Other,
        };
        Self {
            client_id: text("x-mq-client-id").to_owned(),
            language,
            namespace: text("x-mq-namespace").to_owned(),
            timeout: parse_timeout(text("grpc-timeout")),
        }
    }
}

/// At most eight digits and a unit, as the gRPC protocol has it.
fn parse_timeout(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let digits = &text[..text.len() - unit.len_utf8()];
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        'H' => Some(Duration::from_secs(count * 3600)),
        'M' => Some(Duration::from_secs(count * 60)),
        'S' => Some(Duration::from_secs(count)),
        'm' => Some(Duration::from_millis(count)),
        'u' => Some(Duration::from_micros(count)),
        'n' => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        assert_eq!(parse_timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(
            parse_timeout("31536000S"),
            Some(Duration::from_secs(31_536_000))
        );
        assert_eq!(
            parse_timeout("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(parse_timeout("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "3", "123456789S", "-1S", "3ä", "3 S"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn callers() {
        let mut headers = HeaderMap::new();
        headers.insert("x-mq-client-id", "host@1".parse().unwrap());
        headers.insert("x-mq-language", "HTTP".parse().unwrap());
        headers.insert("x-mq-namespace", "".parse().unwrap());
        let caller = Caller::new(&headers);
        assert_eq!(
            (caller.client_id.as_str(), caller.language),
            ("host@1", Language::Node)
        );
        assert_eq!(Caller::new(&HeaderMap::new()).client_id, "");
    }
}
