//! A store's folder looked at without opening the store. Nothing in it is changed.

mod compare;
mod report;
mod walk;

use std::io;
use std::path::Path;

use foliomq_commitlog::Survey;
use foliomq_consumequeue::Checkpoint;
use foliomq_segment::{Folder, FolderError};

pub use report::{Finding, LogReport, Part, Report, TopicReport};

use crate::change::decode;
use crate::error::OpenError;
use crate::registry::Registry;
use crate::shared::{CHECKPOINT, COMMIT_LOG, META};

/// Counts what is in the store in `dir`, by the records' headers. The store may be open meanwhile.
///
/// # Errors
///
/// If there is no store, or it cannot be read. What is damaged is a finding, not an error.
pub fn inspect(dir: &Path) -> Result<Report, OpenError> {
    let survey = foliomq_commitlog::inspect(&log_dir(dir)?).map_err(unreadable(dir))?;
    Ok(begin(dir, &survey)?.0)
}

/// Checks all of the store in `dir`: every record's checksum and place, that the offsets of each queue are contiguous,
/// and that the indexes say what the log says. The indexes are opened in a copy, since to open is to recover; the copy
/// takes their room once more in the folder for temporary files.
///
/// # Errors
///
/// If there is no store, it is open in a process, or it cannot be read. What is damaged is a finding, not an error.
pub fn verify(dir: &Path) -> Result<Report, OpenError> {
    let log = log_dir(dir)?;
    let _lock = Folder::lock(&log).map_err(|error| match error {
        FolderError::Locked(_) => OpenError::invalid(format!(
            "{error}; stop it, or look at the store with inspect"
        )),
        error => OpenError::invalid(error.to_string()),
    })?;
    let survey = foliomq_commitlog::verify(&log).map_err(unreadable(dir))?;
    let (mut report, registry) = begin(dir, &survey)?;
    compare::compare(dir, &survey, &registry, &mut report)?;
    Ok(report)
}

/// The report without the comparison, and the topics.
fn begin(dir: &Path, survey: &Survey) -> Result<(Report, Registry), OpenError> {
    let mut report = Report {
        log: LogReport::new(survey),
        topics: Vec::new(),
        indexed: 0,
        compared: 0,
        findings: Vec::new(),
        more_findings: 0,
    };
    add_damage(&mut report, Part::Log, survey);
    let registry = metadata(dir, &mut report)?;
    let topics = registry.all();
    report.topics = topics
        .iter()
        .map(|state| TopicReport {
            name: state.meta.name.clone(),
            kind: state.kind(),
            queues: state.queues(),
        })
        .collect();
    let checkpoint = dir.join(CHECKPOINT);
    // Opening would create it.
    if checkpoint.exists() {
        match Checkpoint::open(&checkpoint) {
            Ok(checkpoint) => report.indexed = checkpoint.position(),
            Err(error) => report.add(Part::Index, None, error.to_string()),
        }
    }
    Ok((report, registry))
}

fn add_damage(report: &mut Report, part: Part, survey: &Survey) {
    for damage in &survey.damage {
        let (segment, end) = (damage.segment.display(), damage.end);
        let what = format!("{} (up to {end}, in {segment})", damage.reason);
        report.add(part, Some(damage.position), what);
    }
    if survey.checkpoint.is_none() && !survey.segments.is_empty() {
        report.add(part, None, "its checkpoint cannot be read");
    }
}

/// Replays the metadata as they are on the disk.
fn metadata(dir: &Path, report: &mut Report) -> Result<Registry, OpenError> {
    let registry = Registry::default();
    let meta = dir.join(META);
    if !meta.is_dir() {
        report.add(Part::Metadata, None, "the folder is missing");
        return Ok(registry);
    }
    let survey = foliomq_commitlog::verify(&meta).map_err(unreadable(&meta))?;
    add_damage(report, Part::Metadata, &survey);
    let replayed = walk::walk(&survey, |record| {
        for change in decode(&record.message) {
            match change {
                Ok(change) => registry.apply(&change),
                Err(error) => report.add(Part::Metadata, Some(record.position), error),
            }
        }
    });
    replayed.map_err(unreadable(&meta))?;
    Ok(registry)
}

fn log_dir(dir: &Path) -> Result<std::path::PathBuf, OpenError> {
    let log = dir.join(COMMIT_LOG);
    if log.is_dir() {
        return Ok(log);
    }
    Err(OpenError::invalid(format!(
        "{} holds no store: there is no folder {COMMIT_LOG} in it",
        dir.display()
    )))
}

fn unreadable(dir: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let dir = dir.display().to_string();
    move |error| OpenError::invalid(format!("cannot read {dir}: {error}"))
}
