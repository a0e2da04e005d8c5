//! Commands, failures and the line that carries an answer.

use std::collections::BTreeMap;
use std::io::Write;

use rocketmq::error::ClientError;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One command with the number that its answer repeats.
#[derive(Deserialize)]
pub struct Request {
    pub id: u64,
    #[serde(flatten)]
    pub command: Command,
}

/// What this client can do; a command that is not here is answered as unknown.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    StartProducer(Start),
    StartSimple(Start),
    Stop {
        name: String,
    },
    Send {
        name: String,
        messages: Vec<Outgoing>,
        batch: bool,
    },
    SendHalf {
        name: String,
        message: Box<Outgoing>,
    },
    EndTransaction {
        transaction: String,
        commit: bool,
    },
    Receive {
        name: String,
        max: i32,
        invisible_ms: u64,
    },
    Ack {
        name: String,
        handles: Vec<String>,
    },
    #[serde(other)]
    Unsupported,
}

/// How to start a producer or a simple consumer.
#[derive(Deserialize)]
pub struct Start {
    pub name: String,
    pub endpoint: String,
    pub access_key: Option<String>,
    pub secret_key: Option<String>,
    #[serde(default)]
    pub topics: Vec<String>,
    #[serde(default)]
    pub transactions: bool,
    #[serde(default)]
    pub group: String,
    #[serde(default)]
    pub subscriptions: BTreeMap<String, String>,
    #[serde(default)]
    pub wait_ms: u64,
}

/// A message to send; the body is in hexadecimal.
#[derive(Deserialize)]
pub struct Outgoing {
    pub topic: String,
    pub body: String,
    pub tag: Option<String>,
    #[serde(default)]
    pub keys: Vec<String>,
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    pub group: Option<String>,
    pub deliver_ms: Option<i64>,
}

/// Why a command failed; the code is absent where the client refused by itself.
#[derive(Serialize)]
pub struct Failure {
    code: Option<String>,
    message: String,
    class: String,
}

impl Failure {
    pub fn new(class: &str, message: String) -> Self {
        Self {
            code: None,
            message,
            class: class.into(),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = error.context().iter().find(|(key, _)| *key == "code");
        Self {
            code: code.map(|(_, name)| name.clone()),
            message: error.to_string(),
            class: format!("{:?}", error.kind()),
        }
    }
}

/// Writes one line to the harness. Without a reader there is nobody left to work for.
pub fn answer(line: Value) {
    let mut text = line.to_string();
    text.push('\n');
    let mut output = std::io::stdout().lock();
    if output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush())
        .is_err()
    {
        std::process::exit(1);
    }
}
