//! Tag expressions.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;

use super::Context;
use crate::driver::Outgoing;
use crate::session::{Session, WAIT};

const ARRIVAL_LIMIT: Duration = Duration::from_secs(40);

/// The tags sent; `AaAa` and `BBBB` have the same hash in Java. Empty stands for no tag.
const TAGS: [&str; 7] = ["A", "B", "C", "a", "AaAa", "BBBB", ""];

/// Expressions, and the tags that each lets through.
const EXPRESSIONS: [(&str, &[&str]); 6] = [
    ("A", &["A"]),
    ("A||B", &["A", "B"]),
    (" A || B ", &["A", "B"]),
    ("a", &["a"]),
    ("AaAa", &["AaAa"]),
    ("*", &TAGS),
];

/// Each expression brings its own messages and no others.
pub async fn tags(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let messages = TAGS.map(|tag| match tag {
        "" => Outgoing::new(&topic, "untagged"),
        tag => Outgoing::new(&topic, tag).tag(tag),
    });
    producer.send_all(messages.into()).await?;
    let checks = EXPRESSIONS
        .iter()
        .enumerate()
        .map(async |(number, (expression, expected))| {
            let group = context.group(&number.to_string());
            let check = brings(&session, &group, &topic, expression, expected).await;
            check.with_context(|| format!("expression {expression:?}"))
        });
    try_join_all(checks).await?;
    Ok(())
}

async fn brings(
    session: &Session,
    group: &str,
    topic: &str,
    expression: &str,
    expected: &[&str],
) -> Result<()> {
    let consumer = session.simple_with(group, topic, expression, WAIT).await?;
    let taken = consumer.take(expected.len(), ARRIVAL_LIMIT).await?;
    let tags = taken
        .into_iter()
        .map(|message| message.tag.unwrap_or_default());
    let tags: BTreeSet<String> = tags.collect();
    let expected: BTreeSet<String> = expected.iter().map(|tag| (*tag).to_owned()).collect();
    ensure!(tags == expected, "it brought {tags:?}");
    consumer.expect_none().await?;
    consumer.stop().await?;
    Ok(())
}
