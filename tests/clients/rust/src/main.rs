//! Drives the official Rust client: commands come in as JSON lines, answers leave as JSON lines.
//! The vocabulary is described in `../README.md`.
#![forbid(unsafe_code)]

mod clients;
mod message;
mod transaction;
mod wire;

use std::sync::Arc;

use clients::Clients;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use wire::{Failure, Request, answer};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let clients = Arc::new(Clients::default());
    answer(json!({ "ready": "rust", "version": "5.0.0" }));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        tokio::spawn(respond(clients.clone(), line));
    }
    Ok(())
}

/// Runs one command on a task of its own, since the client panics where others return an error.
async fn respond(clients: Arc<Clients>, line: String) {
    let request: Request = match serde_json::from_str(&line) {
        Ok(request) => request,
        Err(error) => return eprintln!("not a command: {error}: {line}"),
    };
    let id = request.id;
    let outcome = match tokio::spawn(async move { clients.run(request.command).await }).await {
        Ok(outcome) => outcome,
        Err(panic) => Err(Failure::new("panic", panic.to_string())),
    };
    answer(line_of(id, outcome));
}

fn line_of(id: u64, outcome: Result<Value, Failure>) -> Value {
    match outcome {
        Ok(reply) => json!({ "id": id, "ok": reply }),
        Err(failure) => json!({ "id": id, "error": failure }),
    }
}
