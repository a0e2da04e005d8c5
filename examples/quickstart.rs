//! Sends a message, receives it, acknowledges it. Start a broker first: `foliomq serve`.
//! `cargo run -p foliomq-examples --example quickstart [ADDRESS]`

use std::{env, process::ExitCode, time::Duration};

use foliomq_client::{Client, Message};

/// How long a message is ours before it goes to somebody else.
const INVISIBLE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    let endpoint = env::args().nth(1);
    match greet(endpoint.as_deref().unwrap_or("127.0.0.1:8081")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn greet(endpoint: &str) -> foliomq_client::Result<()> {
    let client = Client::connect(endpoint).await?;

    let message = Message::new("greetings", "Hello from Rust").tag("hello");
    let receipt = client.producer().send(message).await?;
    println!("sent {}", receipt.message_id);

    let consumer = client.simple_consumer("rust-readers", "greetings");
    for delivery in consumer.receive(16, INVISIBLE, WAIT).await? {
        let message = &delivery.message;
        println!(
            "received {}: {}",
            message.id,
            String::from_utf8_lossy(&message.body)
        );
        consumer.ack(&delivery).await?;
    }
    consumer.close().await
}
