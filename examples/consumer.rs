//! Publishes a hundred orders over one stream, and consumes them over another. Start a broker first: `foliomq serve`.
//! `cargo run -p foliomq-examples --example consumer [ADDRESS]`

use std::{env, process::ExitCode, time::Duration};

use foliomq_client::{Client, ConsumerOptions, Message, PublisherOptions};

const ORDERS: usize = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let endpoint = env::args().nth(1);
    match run(endpoint.as_deref().unwrap_or("127.0.0.1:8081")).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(endpoint: &str) -> foliomq_client::Result<()> {
    let client = Client::connect(endpoint).await?;

    // Sends are put on their way one after the other; their acknowledgements come behind.
    let publisher = client.publisher(PublisherOptions::default());
    let mut answers = Vec::new();
    for n in 0..ORDERS {
        let order = Message::new("orders", format!("order {n}")).message_group("table 4");
        answers.push(publisher.send(order).await?);
    }
    for answer in answers {
        answer.await?;
    }

    let options = ConsumerOptions {
        mapped: true, // read from the broker's own pages, where this process can
        ..ConsumerOptions::default()
    };
    let mut consumer = client.consumer("baristas", ["orders"], options);
    for n in 0..ORDERS {
        let order = consumer.next().await?;
        println!("{}", String::from_utf8_lossy(order.message().body()));
        match n % 10 {
            // Not now: somebody gets it again in a while.
            9 => order.nack(Duration::from_secs(10)).await?,
            _ => order.ack().await?,
        }
    }
    Ok(())
}
