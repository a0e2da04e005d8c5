//! Sends a message, receives it, acknowledges it. Start a broker first: `foliomq serve`.

use std::time::Duration;

use foliomq_client::{Client, Message};

const INVISIBLE: Duration = Duration::from_secs(30);
const WAIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> foliomq_client::Result<()> {
    let endpoint = std::env::var("FOLIOMQ_ENDPOINT");
    let client = Client::connect(endpoint.unwrap_or_else(|_| "127.0.0.1:8081".to_owned())).await?;

    let order = Message::new("orders", "one latte, please")
        .tag("hot")
        .key("table-7")
        .property("size", "large");
    let receipt = client.producer().send(order).await?;
    println!("sent {}", receipt.message_id);

    let baristas = client.consumer("baristas", "orders").filter("hot || cold");
    for delivery in baristas.receive(16, INVISIBLE, WAIT).await? {
        let message = &delivery.message;
        println!(
            "received {}: {}",
            message.id,
            String::from_utf8_lossy(&message.body)
        );
        baristas.ack(&delivery).await?;
    }
    baristas.close().await
}
