//! `foliomq.v1.Messaging/Locate`: positions, for readers that open the store's folder themselves.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::{fs, io};

use foliomq_proto::v1::{LocateRequest, LocateResponse, Located, Place};
use foliomq_proto::v2::Code;

use crate::broker::Broker;
use crate::caller::Caller;
use crate::name;
use crate::status::Refusal;
use crate::topic_settings::readable;

/// Most positions of one answer.
const MOST: usize = 4096;

pub(crate) async fn locate(
    broker: &Broker,
    caller: &Caller,
    request: LocateRequest,
) -> Result<LocateResponse, Refusal> {
    let topic = name::topic(Some(&name::resource(&request.topic)), caller)?;
    broker.topic(&topic).await?;
    readable(broker, &topic)?;
    let (queue, from) = (request.queue_id, request.queue_offset);
    let most = match request.limit as usize {
        0 => MOST,
        limit => limit.min(MOST),
    };
    let work = move |handles: &crate::broker::Handles| {
        let store = &handles.store;
        let offsets = store.offsets(&topic, queue)?;
        let mut entries = Vec::new();
        let read = store.entries(&topic, queue, from, most, &mut entries)?;
        let located = entries
            .iter()
            .zip(read)
            .map(|(entry, queue_offset)| Located {
                queue_offset,
                position: entry.position,
                size: entry.size,
                store_unix_ms: entry.store_time,
            });
        Ok(LocateResponse {
            place: Some(place(&store.options().dir).map_err(unknown)?),
            min_offset: offsets.start,
            max_offset: offsets.end,
            located: located.collect(),
        })
    };
    broker.blocking(work).await
}

/// Where the store is.
fn place(dir: &Path) -> io::Result<Place> {
    let dir = fs::canonicalize(dir)?;
    let metadata = fs::metadata(&dir)?;
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(Place {
        directory: dir.to_string_lossy().into_owned(),
        device: metadata.dev(),
        inode: metadata.ino(),
        boot_id: boot_id.trim().to_owned(),
    })
}

fn unknown(error: io::Error) -> Refusal {
    let what = format!("the store's folder cannot be looked at: {error}");
    Refusal::new(Code::InternalServerError, what)
}
