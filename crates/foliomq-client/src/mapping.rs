//! The broker's own pages, where this process can map them.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use foliomq_proto::v1::{LocateRequest, Place, QueueStart, open::From};
use foliomq_store::{Reader, Store};

use crate::client::{Native, within};

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

fn open(place: &Place) -> Result<Reader, String> {
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
