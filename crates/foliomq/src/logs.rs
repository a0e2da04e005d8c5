//! The commit logs below a folder: a store keeps its messages in one, and smaller things in others of the same make.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use foliomq_commitlog::{Checkpoint, Damage, SegmentSurvey, Survey};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::moment;
use crate::output::Output;
use crate::table::Table;
use crate::units::about;

/// A store's logs lie no deeper than this below its folder.
const DEPTH: usize = 3;
/// The folder of a store's key index.
const KEY_INDEX: &str = "keys";
/// The folder of a store's messages.
const COMMIT_LOG: &str = "commitlog";

/// One log on the disk.
#[derive(Debug)]
pub struct Log {
    pub dir: PathBuf,
    pub survey: Survey,
}

/// Surveys every log in `dir` and below, by path.
pub fn survey(dir: &Path, look: fn(&Path) -> io::Result<Survey>) -> anyhow::Result<Vec<Log>> {
    let mut logs = Vec::new();
    collect(dir, DEPTH, look, &mut logs)?;
    if logs.is_empty() {
        return Err(Failure::NotFound(format!("{} holds no store", dir.display())).into());
    }
    logs.sort_by(|one, other| one.dir.cmp(&other.dir));
    Ok(logs)
}

/// Whether the folder is a whole store's, not that of a single log.
pub fn in_store(dir: &Path) -> bool {
    dir.join(COMMIT_LOG).is_dir()
}

/// The folder of the messages' log: `dir` is a store's, or the log's own.
pub fn message_log(dir: &Path) -> PathBuf {
    match in_store(dir) {
        true => dir.join(COMMIT_LOG),
        false => dir.to_owned(),
    }
}

fn collect(
    dir: &Path,
    depth: usize,
    look: fn(&Path) -> io::Result<Survey>,
    logs: &mut Vec<Log>,
) -> anyhow::Result<()> {
    let cannot_read = || format!("cannot read {}", dir.display());
    if holds_log(dir).with_context(cannot_read)? {
        let survey = look(dir).with_context(cannot_read)?;
        logs.push(Log {
            dir: dir.to_owned(),
            survey,
        });
    }
    if depth == 0 {
        return Ok(());
    }
    for entry in fs::read_dir(dir).with_context(cannot_read)? {
        let entry = entry.with_context(cannot_read)?;
        if entry.file_type().with_context(cannot_read)?.is_dir() {
            collect(&entry.path(), depth - 1, look, logs)?;
        }
    }
    Ok(())
}

/// Segments are named by 20 digits; so are the files of one of a store's indexes.
fn holds_log(dir: &Path) -> io::Result<bool> {
    if dir.file_name().is_some_and(|name| name == KEY_INDEX) {
        return Ok(false);
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let name = name.as_encoded_bytes();
        if name.len() == 20 && name.iter().all(u8::is_ascii_digit) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Log {
    /// A heading, then segment by segment.
    pub fn print(&self, out: &mut Output) -> io::Result<()> {
        out.line(format!(
            "log {}: {}",
            self.dir.display(),
            checkpoint(self.survey.checkpoint)
        ))?;
        let mut table = Table::new([
            "SEGMENT", "SIZE", "ON DISK", "USED", "MESSAGES", "CONTROLS", "OLDEST", "NEWEST",
        ]);
        for segment in &self.survey.segments {
            table.row([
                segment.base.to_string(),
                about(segment.size),
                about(segment.allocated),
                about(segment.end.saturating_sub(segment.base)),
                segment.messages.to_string(),
                segment.controls.to_string(),
                time(segment.first_store_time).unwrap_or_else(|| "-".to_owned()),
                time(segment.last_store_time).unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        out.table(&table)?;
        self.survey
            .damage
            .iter()
            .try_for_each(|damage| out.line(lost(damage)))
    }

    pub fn json(&self) -> Value {
        json!({
            "log": self.dir,
            "end": self.survey.end(),
            "sound": self.survey.sound(),
            "checkpoint": self.survey.checkpoint.map(|checkpoint| json!({
                "durable": checkpoint.durable, "clean": checkpoint.clean, "generation": checkpoint.generation,
            })),
            "segments": self.survey.segments.iter().map(segment).collect::<Vec<_>>(),
            "damage": self.survey.damage.iter().map(damage).collect::<Vec<_>>(),
        })
    }

    pub fn messages(&self) -> u64 {
        self.survey
            .segments
            .iter()
            .map(|segment| segment.messages)
            .sum()
    }

    pub fn records(&self) -> u64 {
        self.messages()
            + self
                .survey
                .segments
                .iter()
                .map(|segment| segment.controls)
                .sum::<u64>()
    }
}

/// What is wrong, and where.
pub fn lost(damage: &Damage) -> String {
    let Damage {
        position,
        end,
        segment,
        reason,
    } = damage;
    format!(
        "damaged: position {position} to {end} in {}: {reason}",
        segment.display()
    )
}

/// The same as JSON.
pub fn damage(damage: &Damage) -> Value {
    json!({
        "position": damage.position, "end": damage.end, "segment": damage.segment, "reason": damage.reason,
    })
}

fn segment(segment: &SegmentSurvey) -> Value {
    json!({
        "base": segment.base, "path": segment.path, "size": segment.size, "allocated": segment.allocated,
        "end": segment.end, "messages": segment.messages, "controls": segment.controls,
        "first_stored_at": time(segment.first_store_time), "last_stored_at": time(segment.last_store_time),
    })
}

fn checkpoint(checkpoint: Option<Checkpoint>) -> String {
    match checkpoint {
        Some(Checkpoint {
            durable,
            clean: true,
            ..
        }) => format!("closed at position {durable}"),
        Some(Checkpoint { durable, .. }) => {
            format!("in use or not closed; durable up to position {durable} at least")
        }
        None => "its checkpoint cannot be read".to_owned(),
    }
}

/// Of Unix milliseconds; `None` for 0, which stands for "no record".
fn time(millis: u64) -> Option<String> {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))?;
    (millis > 0).then(|| moment::show(time))
}
