//! Who calls: what the metadata of a request tells.

use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Request};

/// Names that clients give their languages, in the spelling of the protocol.
const LANGUAGES: [&str; 13] = [
    "JAVA",
    "CPP",
    "DOT_NET",
    "GOLANG",
    "RUST",
    "PYTHON",
    "PHP",
    "NODE_JS",
    "RUBY",
    "OBJECTIVE_C",
    "DART",
    "KOTLIN",
    // Our own.
    "FOLIOMQ",
];
/// Longest client id, bytes: ids are remembered for as long as their clients live.
pub(crate) const MAX_CLIENT_ID: usize = 1024;
/// Of a client's version so much is kept, bytes.
const MAX_VERSION: usize = 32;

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
    /// Its language as the protocol spells it; empty if it says none that is known.
    pub(crate) language_name: &'static str,
    /// `x-mq-client-version`, cut where it is long.
    pub(crate) version: String,
    /// Where it calls from.
    pub(crate) peer: Option<SocketAddr>,
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
        let own_name = text("x-mq-language");
        let language = match own_name {
            "HTTP" | "NODE_JS" | "NODEJS" => Language::Node,
            "RUST" => Language::Rust,
            "PYTHON" => Language::Python,
            _ => Language::Other,
        };
        Self {
            client_id: text("x-mq-client-id").to_owned(),
            language,
            language_name: language_name(own_name),
            version: short(text("x-mq-client-version")),
            peer: None,
            namespace: text("x-mq-namespace").to_owned(),
            timeout: parse_timeout(text("grpc-timeout")),
        }
    }

    /// Whether its id can be remembered.
    pub(crate) fn has_id(&self) -> bool {
        (1..=MAX_CLIENT_ID).contains(&self.client_id.len())
    }

    /// Of a request that came over the wire, from `peer`.
    pub(crate) fn of<B>(request: &Request<B>, peer: SocketAddr) -> Self {
        Self {
            peer: Some(peer),
            ..Self::new(request.headers())
        }
    }
}

fn language_name(text: &str) -> &'static str {
    let text = match text {
        "HTTP" | "NODEJS" => "NODE_JS",
        text => text,
    };
    let known = LANGUAGES.iter().find(|known| **known == text);
    known.copied().unwrap_or_default()
}

/// The beginning of a text that has nothing but visible ASCII.
fn short(text: &str) -> String {
    text[..text.len().min(MAX_VERSION)].to_owned()
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
        headers.insert("x-mq-client-version", "5".repeat(90).parse().unwrap());
        let caller = Caller::new(&headers);
        assert_eq!(
            (caller.language_name, caller.version.len()),
            ("NODE_JS", 32)
        );
        assert_eq!(
            (caller.client_id.as_str(), caller.language),
            ("host@1", Language::Node)
        );
        assert_eq!(Caller::new(&HeaderMap::new()).client_id, "");
    }
}
