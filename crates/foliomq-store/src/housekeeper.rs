//! What is done beside appends and reads: flushing the indexes, dropping old segments, watching the disk.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use event_listener::Listener;
use foliomq_commitlog::{AppendError, SegmentInfo, Usage};
use foliomq_consumequeue::{Emptied, IndexError};

use crate::error::StoreError;
use crate::options::Retention;
use crate::shared::{Cause, Shared, is_full};

/// The indexes are flushed this often, if there is anything new.
const FLUSH_EVERY: Duration = Duration::from_secs(5);
/// And as soon as so many bytes of log were entered since: what a start after a crash has to read again. The flush takes
/// its time, so the mark is at half of the 256 MiB that are promised where the device keeps up.
const FLUSH_BYTES: u64 = 128 << 20;
/// How long after a pass over the topics that could not look at everything the next one begins, at the latest.
const UNFINISHED: Duration = Duration::from_secs(1);
/// How far below the mark use must fall before appends are taken again.
const REFUSE_SLACK: f64 = 0.02;

impl Shared {
    /// The thread: works at intervals until the store closes.
    pub(crate) fn run_housekeeper(&self) {
        let retention = self
            .options
            .retention
            .interval
            .max(Duration::from_millis(10));
        let (mut flush_at, mut retain_at) = (Instant::now() + FLUSH_EVERY, Instant::now());
        self.await_bytes();
        loop {
            let listener = self.wake.listen();
            if self.closing() {
                return;
            }
            let now = Instant::now();
            if now >= retain_at {
                self.report("retention", self.retain());
                let pause = match self.retain_topics(unix_ms()) {
                    true => retention.min(UNFINISHED),
                    false => retention,
                };
                retain_at = now + pause;
            }
            if self.is_far_behind() {
                // The checkpoint of the indexes cannot pass what the log has on the device.
                self.report(
                    "flushing the log",
                    self.log.flush().map_err(StoreError::from),
                );
                self.report("flushing the indexes", self.flush_indexes());
                self.await_bytes();
            }
            if now >= flush_at {
                self.report("flushing the indexes", self.flush_indexes());
                self.await_bytes();
                self.report("compacting the metadata", self.compact_meta());
                flush_at = now + FLUSH_EVERY;
            }
            listener.wait_deadline(flush_at.min(retain_at));
        }
    }

    /// Wakes the housekeeper once the indexes have come far enough: for the dispatcher.
    pub(crate) fn flush_indexes_past(&self, position: u64) {
        if position >= self.flush_at.load(Ordering::Relaxed) {
            self.flush_at.store(u64::MAX, Ordering::SeqCst);
            self.wake.notify(usize::MAX);
        }
    }

    /// Whether the dispatcher has passed the mark.
    fn is_far_behind(&self) -> bool {
        self.flush_at.load(Ordering::SeqCst) == u64::MAX
    }

    /// Sets the mark at which the dispatcher wakes this thread.
    fn await_bytes(&self) {
        // Where the checkpoint did not move, because the device is full, say, there is no use in trying at once again.
        let dispatched = self.dispatched.value();
        let reached = self
            .checkpoint
            .position()
            .max(dispatched.saturating_sub(FLUSH_BYTES / 2));
        self.flush_at.store(reached + FLUSH_BYTES, Ordering::SeqCst);
    }

    /// Makes the indexes durable, and moves the checkpoint: never past what the log itself has on the device. After a
    /// flush that failed for good there is no other: it could succeed without the pages that are lost.
    pub(crate) fn flush_indexes(&self) -> Result<(), StoreError> {
        let for_good = [Cause::Dispatcher, Cause::Index].map(|cause| self.refusal(cause));
        for_good.into_iter().flatten().next().map_or(Ok(()), Err)?;
        let _flushing = self.flushing.lock();
        let position = self.dispatched.value().min(self.log.watermarks().durable);
        if position <= self.checkpoint.position() {
            return Ok(());
        }
        // Whose queues these are: records below the checkpoint are not looked at again to tell.
        self.meta.flush()?;
        let flushed = self.flush_indexes_to(position);
        flushed
            .as_ref()
            .err()
            .filter(|error| !is_full(error))
            .inspect(|error| self.refuse_for_index(error));
        Ok(flushed?)
    }

    fn flush_indexes_to(&self, position: u64) -> Result<(), IndexError> {
        self.queues.flush()?;
        self.keys.flush()?;
        self.checkpoint.advance(position)?;
        Ok(())
    }

    /// Drops what retention asks for, and refuses or admits appends by how full the disk is.
    pub(crate) fn retain(&self) -> Result<(), StoreError> {
        let usage = self
            .usage()
            .map_err(|error| StoreError::Read(format!("disk usage: {error}")))?;
        let segments = self.log.segments();
        let position = drop_before(&self.options.retention, &segments, usage, unix_ms());
        let position = self.unheld(position.unwrap_or(0));
        if segments
            .first()
            .is_some_and(|first| first.base + first.size <= position)
        {
            self.drop_segments(position)?;
        }
        self.watch_disk(usage);
        Ok(())
    }

    fn drop_segments(&self, position: u64) -> Result<(), StoreError> {
        // A restart finds the indexes as they were flushed; none of them may be needed from what is dropped. On a full
        // disk they cannot be flushed: then what they were flushed for goes, which makes room.
        self.report("flushing the indexes", self.flush_indexes());
        let start = self
            .log
            .start_without(position.min(self.checkpoint.position()));
        let emptied = self.queues.emptied_by(start);
        match self.keep_offsets(&emptied) {
            // What goes makes room for it.
            Err(StoreError::Append(AppendError::DiskFull { .. })) => {}
            kept => kept?,
        }
        let start = self
            .log
            .delete_before(start)
            .map_err(|error| StoreError::Read(format!("dropping segments: {error}")))?;
        tracing::info!(start, "old segments were dropped");
        self.queues.trim(start);
        self.keys.trim(start)?;
        self.keep_offsets(&emptied)
    }

    /// Writes down, durably, where queues begin of which retention has taken something. Those that hold nothing must not begin
    /// again at 0 when the segments that told it are gone, even if their index is lost.
    pub(crate) fn keep_offsets(&self, emptied: &[Emptied]) -> Result<(), StoreError> {
        let _changing = self.changing.lock();
        let changes = self.registry.newly_emptied(emptied);
        if !changes.is_empty() {
            self.meta.append_all(&changes)?;
        }
        // What was applied before may not have been flushed. And what is new is seen by nobody until it is: a group that
        // went on from there would not come back for what a power cut brings back.
        self.meta.flush()?;
        changes
            .iter()
            .for_each(|change| self.registry.apply(change));
        Ok(())
    }

    fn watch_disk(&self, usage: Usage) {
        let used = share(usage);
        let mark = self.options.retention.disk_refuse;
        let refusing = self.refuses_for(Cause::Disk);
        if !refusing && used > mark {
            let reason = format!(
                "the file system is {:.1} % full, above the mark of {:.1} %",
                used * 100.0,
                mark * 100.0
            );
            tracing::warn!(%reason, "no more messages are taken");
            let dir = self.log_dir();
            self.set_refusal(Cause::Disk, Some(AppendError::DiskFull { dir, reason }));
        } else if refusing && used < mark - REFUSE_SLACK {
            tracing::info!("there is space again: messages are taken");
            self.set_refusal(Cause::Disk, None);
        }
    }

    /// Writes the metadata again once its log has grown.
    pub(crate) fn compact_meta(&self) -> Result<(), StoreError> {
        if !self.meta.is_large() {
            return Ok(());
        }
        let _changing = self.changing.lock();
        let start = self.log.watermarks().start;
        self.registry.forget_deleted(start);
        self.meta.rewrite(|sink| {
            self.registry.write(start, sink)?;
            self.progress.write(sink)
        })
    }

    pub(crate) fn report(&self, what: &str, result: Result<(), StoreError>) {
        if let Err(error) = result {
            tracing::warn!(%error, "{what} failed; it is tried again");
        }
    }
}

/// The position below which sealed segments are to go, if any are.
fn drop_before(
    retention: &Retention,
    segments: &[SegmentInfo],
    usage: Usage,
    now: u64,
) -> Option<u64> {
    let mut log: u64 = segments.iter().map(|segment| segment.allocated).sum();
    let mut used = share(usage);
    // Hysteresis: once above the high mark, down to the low one.
    let disk = retention
        .disk
        .filter(|&(high, _)| used > high)
        .map(|(_, low)| low);
    let mut position = None;
    for segment in segments.iter().take_while(|segment| segment.sealed) {
        let age = Duration::from_millis(now.saturating_sub(segment.last_store_time));
        let go = retention.age.is_some_and(|limit| age > limit)
            || retention.size.is_some_and(|limit| log > limit)
            || disk.is_some_and(|low| used > low);
        if !go {
            break;
        }
        log -= segment.allocated;
        used -= segment.allocated as f64 / usage.total.max(1) as f64;
        position = Some(segment.base + segment.size);
    }
    position
}

fn share(usage: Usage) -> f64 {
    1.0 - usage.free as f64 / usage.total.max(1) as f64
}

/// Unix milliseconds now.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn segments(count: u64) -> Vec<SegmentInfo> {
        let segment = |n: u64| SegmentInfo {
            base: n * MIB,
            path: Default::default(),
            size: MIB,
            allocated: MIB,
            first_store_time: n * 1000,
            last_store_time: n * 1000 + 999,
            sealed: n + 1 < count,
        };
        (0..count).map(segment).collect()
    }

    fn keep_all() -> Retention {
        Retention {
            age: None,
            size: None,
            disk: None,
            ..Retention::default()
        }
    }

    const EMPTY: Usage = Usage {
        total: 100 * MIB,
        free: 90 * MIB,
    };

    #[test]
    fn nothing_goes_without_a_limit() {
        assert_eq!(
            drop_before(&keep_all(), &segments(5), EMPTY, u64::MAX),
            None
        );
    }

    #[test]
    fn by_age_of_the_newest_record() {
        let retention = Retention {
            age: Some(Duration::from_millis(2000)),
            ..keep_all()
        };
        assert_eq!(
            drop_before(&retention, &segments(5), EMPTY, 4500),
            Some(2 * MIB)
        );
        assert_eq!(
            drop_before(&retention, &segments(5), EMPTY, u64::MAX),
            Some(4 * MIB),
            "the active one stays"
        );
    }

    #[test]
    fn by_total_size() {
        let retention = Retention {
            size: Some(3 * MIB),
            ..keep_all()
        };
        assert_eq!(
            drop_before(&retention, &segments(5), EMPTY, 0),
            Some(2 * MIB)
        );
        assert_eq!(drop_before(&retention, &segments(3), EMPTY, 0), None);
    }

    #[test]
    fn by_the_disk_with_hysteresis() {
        let retention = Retention {
            disk: Some((0.90, 0.88)),
            ..keep_all()
        };
        let usage = |free| Usage {
            total: 100 * MIB,
            free: free * MIB,
        };
        assert_eq!(
            drop_before(&retention, &segments(9), usage(11), 0),
            None,
            "between the marks nothing goes"
        );
        assert_eq!(
            drop_before(&retention, &segments(9), usage(9), 0),
            Some(3 * MIB),
            "from 91 % to 88 %"
        );
    }
}
