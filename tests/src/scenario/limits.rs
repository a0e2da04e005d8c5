//! Messages that are too large or not allowed.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::Context;
use crate::driver::{Kind, Outgoing};
use crate::session::INVISIBLE;

const BODY_LIMIT: usize = 4 << 20;
/// The largest body that fits, with its headers, in the 4 MiB that some clients receive at most.
const LARGEST_RECEIVED: usize = BODY_LIMIT - 2048;
const PROPERTIES: usize = 128;
const PROPERTY_BYTES: usize = 16 << 10;
const ARRIVAL_LIMIT: Duration = Duration::from_secs(40);

/// Bodies and properties up to the limits pass, beyond them they are refused.
pub async fn sizes(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let body: Vec<u8> = (0..LARGEST_RECEIVED)
        .map(|index| (index % 251) as u8)
        .collect();
    producer
        .send(Outgoing::new(&topic, body.clone()))
        .await
        .context("largest body")?;
    let consumer = session.simple(&context.group("big"), &topic).await?;
    let received = consumer.receive_one(INVISIBLE, ARRIVAL_LIMIT).await?;
    ensure!(received.body == body, "the largest body differs");
    ensure!(
        !received.corrupted,
        "the client calls the largest body corrupted"
    );
    consumer.ack(&received).await?;

    let refused = async |message, code, what: &'static str| {
        context
            .expect_refusal(producer.send(message).await, code)
            .context(what)
    };
    let too_large = Outgoing::new(&topic, vec![7; BODY_LIMIT + 1]);
    refused(too_large, "MESSAGE_BODY_TOO_LARGE", "4 MiB and a byte").await?;
    refused(
        Outgoing::new(&topic, []),
        empty_body_code(context.kind),
        "empty body",
    )
    .await?;
    let too_many = with_properties(&topic, PROPERTIES + 1);
    refused(too_many, "MESSAGE_PROPERTIES_TOO_LARGE", "129 properties").await?;
    let long = Outgoing::new(&topic, "x").property("k", &"v".repeat(PROPERTY_BYTES));
    refused(
        long,
        "MESSAGE_PROPERTIES_TOO_LARGE",
        "16 KiB of properties and a byte",
    )
    .await?;
    producer
        .send(with_properties(&topic, PROPERTIES))
        .await
        .context("128 properties")?;
    Ok(())
}

/// The Rust client of this version panics on codes newer than itself, so it gets an older one.
fn empty_body_code(kind: Kind) -> &'static str {
    match kind {
        Kind::Rust => "BAD_REQUEST",
        _ => "MESSAGE_BODY_EMPTY",
    }
}

fn with_properties(topic: &str, count: usize) -> Outgoing {
    let message = Outgoing::new(topic, "x");
    (0..count).fold(message, |message, number| {
        message.property(&format!("p{number}"), "v")
    })
}

/// Names that the protocol does not allow are refused, each with its own code.
pub async fn illegal_names(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let plain = || Outgoing::new(&topic, "x");
    let cases = [
        (Outgoing::new("no spaces", "x"), "ILLEGAL_TOPIC"),
        (plain().tag("a|b"), "ILLEGAL_MESSAGE_TAG"),
        (plain().tag(" "), "ILLEGAL_MESSAGE_TAG"),
        (plain().tag("bell\u{7}"), "ILLEGAL_MESSAGE_TAG"),
        (
            Outgoing {
                keys: vec![" ".into()],
                ..plain()
            },
            "ILLEGAL_MESSAGE_KEY",
        ),
        (
            Outgoing {
                keys: vec!["nul\u{0}".into()],
                ..plain()
            },
            "ILLEGAL_MESSAGE_KEY",
        ),
        (
            plain().property("UNIQ_KEY", "x"),
            "ILLEGAL_MESSAGE_PROPERTY_KEY",
        ),
        (
            plain().property("key", "nul\u{0}"),
            "ILLEGAL_MESSAGE_PROPERTY_KEY",
        ),
    ];
    for (message, code) in cases {
        let description = format!("{message:?}");
        let sent = producer.send(message).await;
        context.expect_refusal(sent, code).context(description)?;
    }
    producer
        .send(plain())
        .await
        .context("a proper message afterwards")?;
    Ok(())
}

/// A topic for normal messages takes no others.
pub async fn wrong_type(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let fifo = Outgoing {
        group: Some("orders".into()),
        ..Outgoing::new(&topic, "x")
    };
    let sent = producer.send(fifo).await;
    context.expect_refusal(sent, "MESSAGE_PROPERTY_CONFLICT_WITH_TYPE")?;
    producer
        .send(Outgoing::new(&topic, "x"))
        .await
        .context("a normal message")?;
    Ok(())
}
