//! Tag and SQL92 expressions.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;

use super::Context;
use crate::driver::{Outgoing, SQL_MARK};
use crate::session::{INVISIBLE, Session, WAIT};

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

/// Bodies of the messages sent, with a price where it is a number.
const BODIES: [&str; 5] = ["10", "20", "30.5", "free", "none"];

/// Conditions, and the bodies that each lets through.
const CONDITIONS: [(&str, &[&str]); 8] = [
    ("price > 20", &["30.5"]),
    ("price BETWEEN 10 AND 20", &["10", "20"]),
    ("price IN ('20', 'free')", &["20", "free"]),
    ("price IS NULL", &["none"]),
    ("unknown = 'x' OR NOT unknown = 'x'", &[]),
    (
        "price STARTSWITH 'f' OR TAGS = 'tag-none'",
        &["free", "none"],
    ),
    ("even = TRUE AND price >= -1.5E1", &["10", "30.5"]),
    ("NOT (price <= 20) OR price = 'free'", &["30.5", "free"]),
];

/// Each condition brings its own messages and no others; one that cannot be read is refused.
pub async fn sql(context: &Context<'_>) -> Result<()> {
    let topic = context.topic().await?;
    let session = context.session().await?;
    let producer = session.producer(&[&topic]).await?;
    let messages = BODIES.iter().enumerate().map(|(number, body)| {
        let mut message = Outgoing::new(&topic, *body).tag(&format!("tag-{body}"));
        let even = (number % 2 == 0).to_string();
        message.properties.insert("even".to_owned(), even);
        if *body != "none" {
            message
                .properties
                .insert("price".to_owned(), (*body).to_owned());
        }
        message
    });
    producer.send_all(messages.collect()).await?;
    let checks = CONDITIONS
        .iter()
        .enumerate()
        .map(async |(number, (condition, expected))| {
            let group = context.group(&number.to_string());
            let check = selects(&session, &group, &topic, condition, expected).await;
            check.with_context(|| format!("condition {condition:?}"))
        });
    try_join_all(checks).await?;
    let group = context.group("broken");
    let broken = format!("{SQL_MARK}price > AND 3");
    let consumer = session.simple_with(&group, &topic, &broken, WAIT).await?;
    let refused = consumer.receive(1, INVISIBLE).await;
    context.expect_refusal(refused, "ILLEGAL_FILTER_EXPRESSION")?;
    consumer.stop().await?;
    Ok(())
}

async fn selects(
    session: &Session,
    group: &str,
    topic: &str,
    condition: &str,
    expected: &[&str],
) -> Result<()> {
    let expression = format!("{SQL_MARK}{condition}");
    let consumer = session.simple_with(group, topic, &expression, WAIT).await?;
    let taken = consumer.take(expected.len(), ARRIVAL_LIMIT).await?;
    let bodies: BTreeSet<String> = taken
        .into_iter()
        .map(|message| String::from_utf8(message.body))
        .collect::<Result<_, _>>()?;
    let expected: BTreeSet<String> = expected.iter().map(|body| (*body).to_owned()).collect();
    ensure!(bodies == expected, "it brought {bodies:?}");
    consumer.expect_none().await?;
    consumer.stop().await?;
    Ok(())
}
