//! What of the log is in memory, as the command line asks for it.

use foliomq_proto::v1;
use foliomq_proto::v2::Code;
use foliomq_store::{SegmentResidency, Store};

use crate::status::Refusal;

/// Most segments of one answer.
const MAX_SEGMENTS: usize = 1000;

/// The segments that `request` asks for.
pub(super) fn listed(
    store: &Store,
    request: &v1::ListSegmentsRequest,
) -> Result<v1::ListSegmentsResponse, Refusal> {
    let limit = match request.limit as usize {
        0 => MAX_SEGMENTS,
        limit => limit.min(MAX_SEGMENTS),
    };
    let unseen = |error| Refusal::new(Code::InternalServerError, format!("page cache: {error}"));
    let mut all = store.residency().map_err(unseen)?;
    all.retain(|segment| segment.base >= request.from);
    all.sort_by_key(|segment| segment.base);
    let more = all.len() > limit;
    let segments = all.into_iter().take(limit).map(segment).collect();
    Ok(v1::ListSegmentsResponse { segments, more })
}

fn segment(segment: SegmentResidency) -> v1::Segment {
    let pages = segment.pages;
    let dirty = pages.heat.iter().map(|part| part.dirty);
    v1::Segment {
        base: segment.base,
        size: segment.size,
        deleted: segment.deleted,
        mapped: pages.mapped,
        resident: pages.resident,
        dirty: pages.dirty,
        writeback: pages.writeback,
        locked: pages.locked.unwrap_or(0),
        pins: pages.pins.unwrap_or(0),
        resident_shares: pages.heat.iter().map(|part| part.resident).collect(),
        dirty_shares: dirty.collect::<Option<_>>().unwrap_or_default(),
    }
}
