//! Administration: what of a broker's log is in memory.

use std::iter;
use std::time::Duration;

use foliomq_proto::v1;
use foliomq_store::{Heat, Residency, SegmentResidency};

use crate::admin::Admin;
use crate::client::within;
use crate::error::Result;

impl Admin {
    /// What of each segment of the broker's log is mapped, resident, dirty, locked and pinned by readers, oldest segment
    /// first; those that are deleted and still held by readers too.
    pub async fn segments(&self) -> Result<Vec<SegmentResidency>> {
        let mut segments: Vec<SegmentResidency> = Vec::new();
        loop {
            let from = segments.last().map_or(0, |last| last.base + 1);
            let request = within(v1::ListSegmentsRequest { from, limit: 0 }, Duration::ZERO);
            let page = self.answer(self.calls.clone().list_segments(request).await)?;
            let more = page.more && !page.segments.is_empty();
            segments.extend(page.segments.into_iter().map(segment));
            if !more {
                return Ok(segments);
            }
        }
    }
}

fn segment(segment: v1::Segment) -> SegmentResidency {
    let dirty = segment.dirty_shares.into_iter().map(Some);
    let shares = segment.resident_shares.into_iter();
    let heat = shares
        .zip(dirty.chain(iter::repeat(None)))
        .map(|(resident, dirty)| Heat { resident, dirty });
    SegmentResidency {
        base: segment.base,
        size: segment.size,
        deleted: segment.deleted,
        pages: Residency {
            mapped: segment.mapped,
            resident: segment.resident,
            dirty: segment.dirty,
            writeback: segment.writeback,
            locked: Some(segment.locked),
            pins: Some(segment.pins),
            heat: heat.collect(),
        },
    }
}
