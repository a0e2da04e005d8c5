//! The vocabulary between the scenarios and the drivers: one JSON object a line for the drivers
//! that are processes. `tests/clients/README.md` describes it for those who write a driver.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Before an expression of a subscription that is SQL92, and not of tags.
pub const SQL_MARK: &str = "sql:";

/// What a driver is asked to do.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Starts a producer.
    StartProducer(Start),
    /// Starts a simple consumer.
    StartSimple(Start),
    /// Starts a push consumer, whose deliveries are reported as they come.
    StartPush(Start),
    /// Shuts a client down.
    Stop {
        /// The client.
        name: String,
    },
    /// Sends messages one after the other, or in one request where `batch` is set.
    Send {
        /// The producer.
        name: String,
        /// What to send.
        messages: Vec<Outgoing>,
        /// Whether all go in one request.
        batch: bool,
    },
    /// Sends a half message, by a producer of transactions.
    SendHalf {
        /// The producer.
        name: String,
        /// What to send.
        message: Box<Outgoing>,
    },
    /// Commits a transaction or rolls it back.
    EndTransaction {
        /// The producer.
        name: String,
        /// The transaction's id.
        transaction: String,
        /// Whether it is committed.
        commit: bool,
    },
    /// Recalls a delayed message.
    Recall {
        /// The producer.
        name: String,
        /// The topic.
        topic: String,
        /// What the send brought.
        recall_handle: String,
    },
    /// Makes one receive call.
    Receive {
        /// The simple consumer.
        name: String,
        /// At most this many messages.
        max: u32,
        /// Milliseconds until an unacknowledged message comes back.
        invisible_ms: u64,
        /// Whether bodies are reported by their SHA-256 alone.
        digest: bool,
    },
    /// Acknowledges messages.
    Ack {
        /// The simple consumer.
        name: String,
        /// The receipt handles.
        handles: Vec<String>,
    },
    /// Subscribes a lite consumer to a lite topic, or no more.
    SubscribeLite {
        /// The consumer.
        name: String,
        /// The lite topic.
        lite: String,
        /// Whether it is subscribed to from now on.
        on: bool,
    },
    /// Changes the time until a message comes back.
    ChangeInvisible {
        /// The simple consumer.
        name: String,
        /// The receipt handle.
        handle: String,
        /// Milliseconds from now.
        invisible_ms: u64,
    },
}

/// How to start a client.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Start {
    /// How later commands name the client.
    pub name: String,
    /// `host:port` of the broker.
    pub endpoint: String,
    /// Whether to connect with TLS.
    pub tls: bool,
    /// The user, where credentials are given at all.
    pub access_key: Option<String>,
    /// The user's secret.
    pub secret_key: Option<String>,
    /// The token that some credentials come with.
    pub session_token: Option<String>,
    /// The namespace of every topic and group that the client names; empty where there is none.
    pub namespace: String,
    /// A producer's topics.
    pub topics: Vec<String>,
    /// Whether a producer is one of transactions. Its checker commits; each question is reported as a delivery.
    pub transactions: bool,
    /// A consumer's group.
    pub group: String,
    /// Topic to tag expression, or SQL92 behind [`SQL_MARK`].
    pub subscriptions: BTreeMap<String, String>,
    /// Milliseconds that a receive call waits for a message.
    pub wait_ms: u64,
    /// A push consumer fails every delivery up to this attempt.
    pub fail_attempts: u32,
    /// Where it is set, a push consumer fails no messages but those with this body.
    pub fail_body: Option<String>,
    /// Whether the consumer is one of lite topics of the topic that it subscribes to.
    pub lite: bool,
    /// A lite push consumer puts each first delivery off for a second.
    pub suspend_first: bool,
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outgoing {
    /// The topic.
    pub topic: String,
    /// The body.
    #[serde(serialize_with = "hexadecimal")]
    pub body: Vec<u8>,
    /// A file whose contents are the body instead.
    pub file: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// The keys.
    pub keys: Vec<String>,
    /// User properties.
    pub properties: BTreeMap<String, String>,
    /// The message group, which makes it a FIFO message.
    pub group: Option<String>,
    /// The priority, which makes it a PRIORITY message.
    pub priority: Option<i32>,
    /// The lite topic, which makes it a LITE message.
    pub lite: Option<String>,
    /// When it is to be delivered, Unix milliseconds; the libraries know seconds.
    pub deliver_ms: Option<i64>,
}

impl Outgoing {
    /// A message with nothing but a body.
    pub fn new(topic: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            body: body.into(),
            ..Self::default()
        }
    }

    /// With a tag.
    #[must_use]
    pub fn tag(self, tag: &str) -> Self {
        Self {
            tag: Some(tag.into()),
            ..self
        }
    }

    /// With one more user property.
    #[must_use]
    pub fn property(mut self, key: &str, value: &str) -> Self {
        self.properties.insert(key.into(), value.into());
        self
    }
}

/// A received message.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Received {
    /// The message id.
    pub id: String,
    /// The topic.
    pub topic: String,
    /// The tag.
    pub tag: Option<String>,
    /// The keys.
    pub keys: Vec<String>,
    /// User properties.
    pub properties: BTreeMap<String, String>,
    /// The body, unless a digest was asked for.
    #[serde(deserialize_with = "from_hexadecimal")]
    pub body: Vec<u8>,
    /// The body's SHA-256, where it was asked for.
    pub sha256: Option<String>,
    /// Which delivery of the message this is, from 1.
    pub attempt: i64,
    /// When the producer made it; Unix milliseconds.
    pub born_ms: i64,
    /// The priority.
    pub priority: Option<i32>,
    /// The lite topic.
    pub lite: Option<String>,
    /// When the producer wanted it delivered; Unix milliseconds, where the library says so.
    pub deliver_ms: Option<i64>,
    /// The receipt handle.
    pub handle: String,
    /// Whether the library found the body's digest wrong.
    pub corrupted: bool,
    /// Topic and message id of a dead letter; only the raw driver sees them.
    pub dead_letter: Option<(String, String)>,
    /// The queue and the offset in it; only the raw driver sees them.
    pub place: Option<(i32, i64)>,
}

/// What a command brought. Which parts are filled depends on the command.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Reply {
    /// Ids of sent or recalled messages, in order.
    pub ids: Vec<String>,
    /// The recall handles of sent messages, in order; empty where there is none, or the library does not tell.
    pub recall_handles: Vec<String>,
    /// The id of a half message's transaction.
    pub transaction: String,
    /// Received messages.
    pub messages: Vec<Received>,
    /// The receipt handle after a change of the invisible time.
    pub handle: String,
}

/// One call of a push consumer's listener, or of a producer's transaction checker.
#[derive(Clone, Debug, Deserialize)]
pub struct Delivery {
    /// The message.
    #[serde(rename = "delivery")]
    pub message: Received,
    /// The push consumer or the producer.
    pub name: String,
    /// Whether the listener failed it on purpose.
    pub failed: bool,
}

/// Why a command failed.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// The protocol's code by name; absent where the library refused by itself or the connection broke.
    pub code: Option<String>,
    /// The library's text.
    pub message: String,
    /// The library's kind of error.
    pub class: String,
}

impl Failure {
    /// A failure that no code of the protocol describes.
    pub fn local(class: &str, message: impl Into<String>) -> Self {
        Self {
            code: None,
            message: message.into(),
            class: class.into(),
        }
    }

    /// Whether the call did not get through at all, as opposed to being refused.
    pub fn is_outage(&self) -> bool {
        let classes = [
            "crash",
            "time limit",
            "grpc",
            "AioRpcError",
            "InactiveRpcError",
        ];
        let texts = ["UNAVAILABLE", "DEADLINE_EXCEEDED", "ECONNREFUSED"];
        classes.contains(&self.class.as_str())
            || texts.iter().any(|text| self.message.contains(text))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.as_deref().unwrap_or("no code");
        write!(formatter, "{} ({code}): {}", self.class, self.message)
    }
}

impl std::error::Error for Failure {}

fn hexadecimal<S: serde::Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let text: String = digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect();
    serializer.serialize_str(&text)
}

fn from_hexadecimal<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let pairs = text
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap_or("-"));
    let bytes = pairs
        .map(|pair| u8::from_str_radix(pair, 16))
        .collect::<Result<_, _>>();
    bytes.map_err(|_| serde::de::Error::custom("the body is not in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_the_line() {
        let sent = Outgoing::new("t", (0..=255).collect::<Vec<u8>>());
        let line = serde_json::to_value(&sent).unwrap();
        let received: Received = serde_json::from_value(line).unwrap();
        assert_eq!(received.body, sent.body);
    }

    #[test]
    fn a_command_is_one_flat_object() {
        let command = Command::Stop { name: "p".into() };
        let text = serde_json::to_string(&command).unwrap();
        assert_eq!(text, r#"{"do":"stop","name":"p"}"#);
    }
}
