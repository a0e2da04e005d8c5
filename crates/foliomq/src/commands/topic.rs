//! `foliomq topic`.

use std::io;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use foliomq_client::{Topic, TopicKind, TopicSettings, TopicUpdate};
use serde_json::{Value, json};

use super::topic_update::{self, Settings, Update};
use crate::arguments::{Format, Remote};
use crate::moment;
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Args)]
pub struct Topics {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a topic; one that is there with the same settings, as far as they are named, is fine
    Create(Box<Create>),
    /// List all topics
    List,
    /// Show a topic queue by queue
    Describe {
        /// The topic
        topic: String,
    },
    /// Change a topic, at once: what is not named stays as it is
    Update(Box<Update>),
    /// Delete a topic with its messages
    Delete {
        /// The topic
        topic: String,
    },
}

#[derive(Debug, Args)]
struct Create {
    /// 1 to 127 of a-z A-Z 0-9 % | _ -
    topic: String,
    /// How many queues, or levels of priority; 0 stands for the broker's default
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1024))]
    queues: u32,
    /// Which messages it takes: with lite, those of its lite topics; with priority, the highest comes first
    #[arg(long = "type", default_value = "any", value_parser = kinds(), value_name = "TYPE")]
    kind: String,
    #[command(flatten)]
    settings: Settings,
}

impl Create {
    fn topic(&self) -> TopicUpdate {
        TopicUpdate {
            queues: Some(self.queues),
            kind: self.kind.parse().ok(),
            ..self.settings.update()
        }
    }
}

impl Topics {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let mut out = Output::new(self.format.json);
        match self.action {
            Action::Create(create) => {
                let created = admin.create_topic_with(&create.topic, create.topic());
                print_made(&created.await?, &mut out)?;
            }
            Action::List => print_all(&admin.topics().await?, &mut out)?,
            Action::Describe { topic } => print_one(&admin.topic(&topic).await?, &mut out)?,
            Action::Update(update) => {
                let changed = admin.update_topic(&update.topic, update.update());
                print_settings(&changed.await?, &mut out)?;
            }
            Action::Delete { topic } => {
                admin.delete_topic(&topic).await?;
                print_deleted(&topic, &mut out)?;
            }
        }
        Ok(out.flush()?)
    }
}

pub(super) fn kinds() -> Vec<&'static str> {
    TopicKind::ALL.iter().map(|(_, name)| *name).collect()
}

fn print_created(topic: &Topic, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&object(topic));
    }
    let (name, queues, kind) = (&topic.name, topic.queues.len(), topic.kind.name());
    out.line(format!("topic {name}: {queues} queues, type {kind}"))
}

fn print_made(topic: &Topic, out: &mut Output) -> io::Result<()> {
    match topic.settings == TopicSettings::default() {
        true => print_created(topic, out),
        false => print_settings(topic, out),
    }
}

fn print_settings(topic: &Topic, out: &mut Output) -> io::Result<()> {
    print_created(topic, out)?;
    if out.is_json() {
        return Ok(());
    }
    topic_update::lines(topic)
        .into_iter()
        .try_for_each(|line| out.line(line))
}

fn print_all(topics: &[Topic], out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&topics.iter().map(object).collect::<Vec<_>>());
    }
    let mut table = Table::new(["TOPIC", "TYPE", "QUEUES", "MESSAGES", "NEWEST"]);
    for topic in topics {
        let messages: u64 = topic
            .queues
            .iter()
            .map(|queue| queue.max_offset.saturating_sub(queue.min_offset))
            .sum();
        let newest = topic
            .queues
            .iter()
            .filter_map(|queue| queue.last_stored_at)
            .max();
        table.row([
            topic.name.clone(),
            topic.kind.name().to_owned(),
            topic.queues.len().to_string(),
            messages.to_string(),
            shown(newest),
        ]);
    }
    out.table(&table)
}

fn print_one(topic: &Topic, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&object(topic));
    }
    let lite = match topic.lite_topics {
        0 => String::new(),
        count => format!(", {count} lite topics"),
    };
    out.line(format!(
        "topic {}, type {}{lite}",
        topic.name,
        topic.kind.name()
    ))?;
    for line in topic_update::lines(topic) {
        out.line(line)?;
    }
    let mut table = Table::new(["QUEUE", "OLDEST", "NEXT", "MESSAGES", "NEWEST"]);
    for queue in &topic.queues {
        table.row([
            queue.id.to_string(),
            queue.min_offset.to_string(),
            queue.max_offset.to_string(),
            queue
                .max_offset
                .saturating_sub(queue.min_offset)
                .to_string(),
            shown(queue.last_stored_at),
        ]);
    }
    out.table(&table)
}

fn print_deleted(topic: &str, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&json!({ "deleted": topic }));
    }
    out.line(format!("deleted topic {topic}"))
}

fn object(topic: &Topic) -> Value {
    let queues = topic.queues.iter().map(|queue| {
        json!({
            "id": queue.id, "min_offset": queue.min_offset, "max_offset": queue.max_offset,
            "last_stored_at": queue.last_stored_at.map(moment::show),
        })
    });
    json!({
        "topic": topic.name, "type": topic.kind.name(), "lite_topics": topic.lite_topics,
        "settings": topic_update::object(&topic.settings), "queues": queues.collect::<Vec<_>>(),
    })
}

fn shown(time: Option<SystemTime>) -> String {
    time.map_or_else(|| "-".to_owned(), moment::show)
}
