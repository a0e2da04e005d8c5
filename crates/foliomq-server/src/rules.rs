//! A group's rules: on the wire, and held against what its consumers ask for.

use std::time::Duration;

use foliomq_delivery::{Rules, Start};
use foliomq_proto::v1;
use foliomq_proto::v2::Code;

use crate::properties::{timestamp, unix_ms_of};
use crate::status::Refusal;

pub(crate) fn start_of(start: v1::Start) -> Start {
    match start.at {
        Some(v1::start::At::Edge(edge)) if edge == v1::Edge::Latest as i32 => Start::Latest,
        Some(v1::start::At::Time(time)) => Start::Time(unix_ms_of(&time)),
        Some(v1::start::At::Edge(_)) | None => Start::Earliest,
    }
}

pub(crate) fn start(start: Start) -> v1::Start {
    let at = match start {
        Start::Earliest => v1::start::At::Edge(v1::Edge::Earliest.into()),
        Start::Latest => v1::start::At::Edge(v1::Edge::Latest.into()),
        Start::Time(time) => v1::start::At::Time(timestamp(time)),
    };
    v1::Start { at: Some(at) }
}

pub(crate) fn bounds(rules: &Rules) -> v1::InvisibleBounds {
    v1::InvisibleBounds {
        shortest: *rules.invisible.start(),
        longest: *rules.invisible.end(),
    }
}

/// The invisible time that a consumer of the group asks for, if it may.
pub(crate) fn invisible(rules: &Rules, asked: Option<Duration>) -> Result<Duration, Refusal> {
    let (shortest, longest) = (*rules.invisible.start(), *rules.invisible.end());
    let allowed = Duration::from_secs(shortest.into())..=Duration::from_secs(longest.into());
    let asked = asked.unwrap_or_default();
    if allowed.contains(&asked) {
        return Ok(asked);
    }
    let what =
        format!("an invisible time of {asked:?} is not between {shortest} s and {longest} s");
    Err(Refusal::new(Code::IllegalInvisibleTime, what))
}
