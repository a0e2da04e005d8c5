//! The broker's own pages, where this process can map them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use foliomq_proto::v1::{Delivered, LocateRequest, Place, QueueStart, open::From};
use foliomq_store::{Reader, ReaderError, Store, StoredMessage};

use crate::client::{Native, within};
use crate::error::{Error, Result};

/// Bytes of a page.
const PAGE: usize = 4096;

/// The reader of the broker's store. `None`, with the reason in the log: on another host, without permission, or with nothing
/// there.
pub(crate) async fn find(calls: &mut Native, from: &From) -> Option<Reader> {
    let queue = match from {
        From::Group(group) => (group.topics.first()?.clone(), 0),
        From::Queues(queues) => {
            let QueueStart {
                topic, queue_id, ..
            } = queues.queues.first()?.clone();
            (topic, queue_id)
        }
    };
    let request = LocateRequest {
        topic: queue.0,
        queue_id: queue.1,
        queue_offset: 0,
        limit: 1,
    };
    let place = match calls.locate(within(request, Duration::ZERO)).await {
        Ok(located) => located.into_inner().place?,
        Err(status) => {
            tracing::debug!(%status, "the broker does not say where its store is");
            return None;
        }
    };
    // Opening maps files: not on a thread of the runtime.
    let opened = tokio::task::spawn_blocking(move || open(&place)).await;
    match opened.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(reader) => Some(reader),
        Err(reason) => {
            tracing::debug!(%reason, "the broker's pages are not mapped; messages come over the connection");
            None
        }
    }
}

fn open(place: &Place) -> std::result::Result<Reader, String> {
    let text = |error: io::Error| error.to_string();
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(text)?;
    if boot_id.trim() != place.boot_id {
        return Err("it is on another host".to_owned());
    }
    let directory = Path::new(&place.directory);
    let found = fs::metadata(directory).map_err(text)?;
    if (found.dev(), found.ino()) != (place.device, place.inode) {
        return Err("another folder is at its place".to_owned());
    }
    Store::open_reader(directory).map_err(|error| error.to_string())
}

/// The messages at these positions, in order, until one cannot be read: with why not. Their pages are in memory after that, so
/// that a look at them waits for nothing.
pub(crate) async fn read(
    reader: &Reader,
    located: Vec<Delivered>,
) -> Result<(Vec<StoredMessage>, Vec<Delivered>, Option<ReaderError>)> {
    let reader = reader.clone();
    let work = move || {
        let mut messages = Vec::with_capacity(located.len());
        for delivered in &located {
            match read_one(&reader, delivered) {
                Ok(message) => messages.push(message),
                Err(error) => return (messages, located, Some(error)),
            }
        }
        (messages, located, None)
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Protocol(format!("a task failed: {error}")))
}

fn read_one(
    reader: &Reader,
    delivered: &Delivered,
) -> std::result::Result<StoredMessage, ReaderError> {
    let message = reader.read_at(delivered.position)?;
    let is_the_one = message.queue_offset() == delivered.queue_offset
        && message.queue_id() == delivered.queue_id
        && message.topic() == delivered.topic;
    if !is_the_one {
        return Err(ReaderError::Invalid {
            position: delivered.position,
            reason: "another message is there".to_owned(),
        });
    }
    let pages = message.body().iter().step_by(PAGE);
    std::hint::black_box(pages.fold(0u8, |sum, byte| sum.wrapping_add(*byte)));
    Ok(message)
}
