//! `foliomq group`.

use std::io;

use clap::{Args, Subcommand};
use foliomq_client::{Admin, Group, GroupOrder, GroupQueue, GroupStart, ResetTo};
use serde_json::{Value, json};

use crate::arguments::{Format, Remote};
use crate::moment;
use crate::output::Output;
use crate::table::Table;

#[derive(Debug, Args)]
pub struct Groups {
    #[command(subcommand)]
    action: Action,

    #[command(flatten)]
    remote: Remote,

    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all groups
    List,
    /// Show how far a group is, queue by queue
    Describe {
        /// The group
        group: String,
    },
    /// Change a group's settings; creates it if it is not there
    Update {
        /// The group
        group: String,
        /// Deliveries of one message before it goes to the dead-letter topic %DLQ%GROUP
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), required_unless_present_any = ["backoff", "order", "start", "invisible"])]
        max_attempts: Option<u32>,
        /// Pauses between deliveries: seconds one after the other (1,5,30), or FIRST..LONGESTxFACTOR (1..3600x2)
        #[arg(long, value_name = "PAUSES", value_parser = pauses)]
        backoff: Option<Pauses>,
        /// What a message that is not done holds back: auto (its queue in FIFO topics, else nothing), free, queue, or
        /// message-group
        #[arg(long, value_parser = order)]
        order: Option<GroupOrder>,
        /// Where it begins in a topic that it has not read before: earliest, latest, a time, or how long ago
        #[arg(long, value_name = "WHERE", value_parser = start)]
        start: Option<GroupStart>,
        /// Shortest and longest invisible time that its receives may ask for, seconds from 1 to 43200 (10..43200)
        #[arg(long, value_name = "SHORTEST..LONGEST", value_parser = bounds)]
        invisible: Option<(u32, u32)>,
    },
    /// Forget a group with its progress and settings; none of its clients may be connected. Its dead letters stay
    Delete {
        /// The group
        group: String,
        /// What it has of this topic only: it reads that anew then
        #[arg(long)]
        topic: Option<String>,
    },
    /// Give a group its dead letters again: the original messages, in their places, from attempt 1
    Redrive {
        /// The group
        group: String,
        /// At most this many, oldest first
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        max: Option<u64>,
    },
    /// Move a group within a topic; what it has in flight there is forgotten
    Reset {
        /// The group
        group: String,
        /// The topic
        topic: String,
        /// earliest, latest, a time (2026-11-23T10:15:00Z), how long ago (15m), or an offset (42)
        #[arg(long, value_name = "WHERE", value_parser = reset_to)]
        to: ResetTo,
    },
}

impl Groups {
    pub async fn run(self) -> anyhow::Result<()> {
        let admin = self.remote.connect().await?.admin();
        let mut out = Output::new(self.format.json);
        let shown = match self.action {
            Action::List => {
                print_all(&admin.groups().await?, &mut out)?;
                return Ok(out.flush()?);
            }
            Action::Describe { group } => admin.group(&group).await?,
            Action::Update {
                group,
                max_attempts,
                backoff,
                order,
                start,
                invisible,
            } => {
                if start.is_some() || invisible.is_some() {
                    admin.set_group_rules(&group, start, invisible).await?;
                }
                update(&admin, &group, max_attempts, backoff, order).await?
            }
            Action::Delete { group, topic } => {
                admin.delete_group(&group, topic.as_deref()).await?;
                print_deleted(&group, topic.as_deref(), &mut out)?;
                return Ok(out.flush()?);
            }
            Action::Redrive { group, max } => {
                let (back, kept) = admin.redrive_group(&group, max).await?;
                if out.is_json() {
                    out.json(&json!({ "group": group, "back": back, "kept": kept }))?;
                } else {
                    out.line(format!(
                        "group {group}: {back} back, {kept} kept (their originals are gone)"
                    ))?;
                }
                return Ok(out.flush()?);
            }
            Action::Reset { group, topic, to } => admin.reset_group(&group, &topic, to).await?,
        };
        print_one(&shown, &mut out)?;
        Ok(out.flush()?)
    }
}

fn print_deleted(group: &str, topic: Option<&str>, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&json!({ "deleted": group, "topic": topic }));
    }
    out.line(match topic {
        Some(topic) => format!("group {group} has nothing of topic {topic} any more"),
        None => format!("deleted group {group}"),
    })
}

/// Seconds, and a factor where they are the first and the longest.
#[derive(Debug, Clone, PartialEq)]
struct Pauses(Vec<u32>, Option<f32>);

async fn update(
    admin: &Admin,
    group: &str,
    max_attempts: Option<u32>,
    backoff: Option<Pauses>,
    order: Option<GroupOrder>,
) -> foliomq_client::Result<Group> {
    let mut updated = None;
    if let Some(Pauses(seconds, factor)) = backoff {
        updated = Some(admin.set_backoff(group, seconds, factor).await?);
    }
    if let Some(order) = order {
        updated = Some(admin.order_group(group, order).await?);
    }
    match (max_attempts, updated) {
        (None, Some(updated)) => Ok(updated),
        (attempts, _) => admin.update_group(group, attempts.unwrap_or(0)).await,
    }
}

fn pauses(text: &str) -> Result<Pauses, String> {
    let wrong = || "expected seconds (1,5,30) or FIRST..LONGESTxFACTOR (1..3600x2)".to_owned();
    let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    if let Some((first, rest)) = text.split_once("..") {
        let (longest, factor) = rest.split_once('x').ok_or_else(wrong)?;
        let factor = factor.trim().parse().map_err(|_| wrong())?;
        return Ok(Pauses(vec![number(first)?, number(longest)?], Some(factor)));
    }
    let seconds = text.split(',').map(number).collect::<Result<_, _>>()?;
    Ok(Pauses(seconds, None))
}

/// As it is given on the command line.
fn show_pauses((seconds, factor): &(Vec<u32>, Option<f32>)) -> String {
    match (factor, &seconds[..]) {
        (Some(factor), [first, longest]) => format!("{first}..{longest}x{factor}"),
        _ => seconds
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(","),
    }
}

fn order(text: &str) -> Result<GroupOrder, String> {
    let all = [
        GroupOrder::Auto,
        GroupOrder::Free,
        GroupOrder::Queue,
        GroupOrder::MessageGroup,
    ];
    all.into_iter()
        .find(|order| order.as_str() == text)
        .ok_or_else(|| "expected auto, free, queue, or message-group".to_owned())
}

fn start(text: &str) -> Result<GroupStart, String> {
    match text {
        "earliest" => Ok(GroupStart::Earliest),
        "latest" => Ok(GroupStart::Latest),
        time => moment::parse(time)
            .map(GroupStart::Time)
            .map_err(|_| format!("expected earliest, latest, or {}", moment::FORMS)),
    }
}

fn show_start(start: GroupStart) -> String {
    match start {
        GroupStart::Earliest => "earliest".to_owned(),
        GroupStart::Latest => "latest".to_owned(),
        GroupStart::Time(time) => moment::show(time),
    }
}

fn bounds(text: &str) -> Result<(u32, u32), String> {
    let number = |text: &str| text.trim().parse().ok();
    let bounds = text
        .split_once("..")
        .and_then(|(shortest, longest)| Some((number(shortest)?, number(longest)?)));
    bounds.ok_or_else(|| "expected two numbers of seconds: 10..43200".to_owned())
}

fn reset_to(text: &str) -> Result<ResetTo, String> {
    match text {
        "earliest" => Ok(ResetTo::Earliest),
        "latest" => Ok(ResetTo::Latest),
        offset if offset.bytes().all(|byte| byte.is_ascii_digit()) && !offset.is_empty() => offset
            .parse()
            .map(ResetTo::Offset)
            .map_err(|error| error.to_string()),
        time => moment::parse(time)
            .map(ResetTo::Time)
            .map_err(|_| format!("expected earliest, latest, an offset, or {}", moment::FORMS)),
    }
}

fn print_all(groups: &[Group], out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&groups.iter().map(object).collect::<Vec<_>>());
    }
    let mut table = Table::new(["GROUP", "MAX ATTEMPTS", "TOPICS", "LAG", "IN FLIGHT"]);
    for group in groups {
        let mut topics: Vec<_> = group.queues.iter().map(|queue| &queue.topic).collect();
        topics.sort();
        topics.dedup();
        table.row([
            group.name.clone(),
            group.max_attempts.to_string(),
            topics.len().to_string(),
            group
                .queues
                .iter()
                .map(GroupQueue::lag)
                .sum::<u64>()
                .to_string(),
            group
                .queues
                .iter()
                .map(|queue| queue.in_flight)
                .sum::<u64>()
                .to_string(),
        ]);
    }
    out.table(&table)
}

fn print_one(group: &Group, out: &mut Output) -> io::Result<()> {
    if out.is_json() {
        return out.json(&object(group));
    }
    out.line(format!(
        "group {}, max attempts {}, order {}",
        group.name,
        group.max_attempts,
        group.order.as_str()
    ))?;
    out.line(format!("pauses {} s", show_pauses(&group.backoff)))?;
    let (shortest, longest) = group.invisible;
    out.line(format!(
        "begins at {}, invisible times {shortest}..{longest} s",
        show_start(group.start)
    ))?;
    let mut table = Table::new([
        "TOPIC",
        "QUEUE",
        "DONE BELOW",
        "NEXT",
        "END",
        "LAG",
        "IN FLIGHT",
    ]);
    for queue in &group.queues {
        table.row([
            queue.topic.clone(),
            queue.queue_id.to_string(),
            queue.committed.to_string(),
            queue.next.to_string(),
            queue.max_offset.to_string(),
            queue.lag().to_string(),
            queue.in_flight.to_string(),
        ]);
    }
    out.table(&table)?;
    for lite in &group.lite {
        let (topic, count) = (&lite.topic, lite.lite_topics);
        let (ready, in_flight) = (lite.ready, lite.in_flight);
        out.line(format!(
            "lite topics of {topic}: {count}, with {ready} messages never delivered and {in_flight} in flight"
        ))?;
    }
    Ok(())
}

fn object(group: &Group) -> Value {
    let queues = group.queues.iter().map(|queue| {
        json!({
            "topic": queue.topic, "queue_id": queue.queue_id, "committed": queue.committed, "next": queue.next,
            "max_offset": queue.max_offset, "lag": queue.lag(), "in_flight": queue.in_flight,
        })
    });
    let lite = group.lite.iter().map(|lite| {
        json!({
            "topic": lite.topic, "lite_topics": lite.lite_topics, "ready": lite.ready, "in_flight": lite.in_flight,
        })
    });
    json!({
        "group": group.name, "max_attempts": group.max_attempts, "order": group.order.as_str(),
        "backoff": show_pauses(&group.backoff), "start": show_start(group.start),
        "invisible_seconds": [group.invisible.0, group.invisible.1], "queues": queues.collect::<Vec<_>>(),
        "lite": lite.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_read_and_shown() {
        for text in ["1,5,30", "7", "1..3600x2", "2..9x1.5"] {
            let Pauses(seconds, factor) = pauses(text).unwrap();
            assert_eq!(show_pauses(&(seconds, factor)), text);
        }
        for bad in ["", "a", "1,,2", "1..2", "1..x2", "1..2xy", "-1"] {
            assert!(pauses(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rules_are_read() {
        assert_eq!(start("latest"), Ok(GroupStart::Latest));
        assert!(matches!(start("15m"), Ok(GroupStart::Time(_))));
        assert!(start("42").is_err() && start("").is_err());
        assert_eq!(bounds("1..60"), Ok((1, 60)));
        assert!(bounds("1").is_err() && bounds("1..").is_err() && bounds("a..b").is_err());
    }

    #[test]
    fn places_to_reset_to() {
        assert_eq!(reset_to("earliest"), Ok(ResetTo::Earliest));
        assert_eq!(reset_to("latest"), Ok(ResetTo::Latest));
        assert_eq!(reset_to("42"), Ok(ResetTo::Offset(42)));
        assert!(matches!(reset_to("15m"), Ok(ResetTo::Time(_))));
        assert!(matches!(
            reset_to("2026-11-23T10:15:00Z"),
            Ok(ResetTo::Time(_))
        ));
        for bad in ["", "-1", "middle", "99999999999999999999999"] {
            assert!(reset_to(bad).is_err(), "{bad}");
        }
    }
}
