//! What this machine does in the same run with nothing of the store in the way: no goal can be met past that.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use foliomq_segment::{Folder, Folios, Lobby, Publication, SegmentFile, WriterKind};
use hdrhistogram::Histogram;

use crate::payload::{Payload, Random, touch};
use crate::plainfile::{PlainFile, Way};
use crate::scale::Load;
use crate::written::{Meter, Written};

/// Bytes that are made ready at a time.
const STEP: u64 = 2 << 20;
/// A hand-over comes this long after the one before, so that whoever waits sleeps.
const PAUSE: Duration = Duration::from_micros(200);
/// In the word that is handed over: no more will come.
const OVER: u64 = u64::MAX;

/// Copies and checksums every body of `load` into a new mapped file, whose pages a second thread makes ready: what any
/// log in mapped files costs at least, without a header, an index or a reader.
pub fn fresh_pages(folder: &Path, load: Load) -> Result<Duration> {
    let size = (load.body as u64 * load.messages).next_multiple_of(STEP);
    let folder = Folder::lock(folder)?;
    let (publication, mut reserver) = Publication::new(0);
    let segment = SegmentFile::create(&folder, 0, size)?.map(&publication)?;
    let writer = WriterKind::Mapped.open(&segment)?;
    reserver.go_on(writer.clone())?;
    let payload = Payload::new(load.body);
    let begin = Instant::now();
    thread::scope(|scope| {
        let ahead = scope.spawn(|| {
            let mut steps = (0..size).step_by(STEP as usize);
            steps.try_for_each(|at| writer.preheat(at..at + STEP, Folios::Large).map(drop))
        });
        for index in 0..load.messages {
            let body = payload.body(index);
            reserver.put(body.len(), |space| {
                space.write(0, body);
                black_box(crc_fast::crc32_iscsi(space.bytes()));
            })?;
        }
        ahead.join().expect("preheating does not panic")?;
        Ok(begin.elapsed())
    })
}

/// `fdatasync` after each `write` of `body` bytes into a reserved file, for a time: flushes per second.
pub fn flushes(folder: &Path, body: usize, time: Duration, reserved: u64) -> Result<f64> {
    let file = PlainFile::create(folder, Way::EachFlushed, reserved)?;
    let payload = Payload::new(body);
    let (begin, mut flushes) = (Instant::now(), 0);
    while begin.elapsed() < time && (flushes + 1) * (body as u64) <= reserved {
        file.append(payload.body(flushes))?;
        flushes += 1;
    }
    Ok(flushes as f64 / begin.elapsed().as_secs_f64())
}

/// Bytes written for each byte, by `fdatasync` after each `write` of `body` bytes into a reserved file.
pub fn flushed(folder: &Path, meter: Meter<'_>, body: usize, count: u64) -> Result<Written> {
    let file = PlainFile::create(folder, Way::EachFlushed, body as u64 * count)?;
    let payload = Payload::new(body);
    for index in 0..count {
        file.append(payload.body(index))?;
    }
    meter.per(body as u64 * count)
}

/// Kept to three digits, up to a minute.
fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).context("making a histogram")
}

/// How late a thread finds itself that does nothing but look at the clock until each time that is due: what the
/// hypervisor, interrupts and other programs take from it.
pub fn lateness(per_second: u64, time: Duration) -> Result<Histogram<u64>> {
    let mut latencies = histogram()?;
    let start = Instant::now();
    for index in 0..(time.as_secs_f64() * per_second as f64) as u64 {
        let due = start + Duration::from_nanos(index * 1_000_000_000 / per_second);
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        latencies.saturating_record(due.elapsed().as_nanos() as u64);
    }
    Ok(latencies)
}

/// Bodies in memory, touched whole in random order by their offsets in a table: per second.
pub fn random_touch(load: Load) -> f64 {
    let bytes = vec![1_u8; load.body * load.messages as usize];
    let offsets: Vec<u64> = (0..load.messages).map(|n| n * load.body as u64).collect();
    let mut random = Random::new(0xB00C);
    let (begin, mut sum) = (Instant::now(), 0);
    for _ in 0..load.messages {
        let at = offsets[random.below(load.messages) as usize] as usize;
        sum += touch(&bytes[at..at + load.body]);
    }
    let took = begin.elapsed();
    black_box(sum);
    load.messages as f64 / took.as_secs_f64()
}

/// Nanoseconds from before one thread changes a word until another sees it, asleep on a futex or spinning.
pub fn hand_over(asleep: bool, count: u64) -> Result<Histogram<u64>> {
    let (word, lobby) = (Arc::new(AtomicU64::new(0)), Arc::new(Lobby::default()));
    let (begin, ready) = (Instant::now(), Arc::new(Barrier::new(2)));
    let waiter = {
        let (word, lobby, ready) = (word.clone(), lobby.clone(), ready.clone());
        thread::spawn(move || -> Result<Histogram<u64>> {
            let mut latencies = histogram()?;
            let mut last = 0;
            ready.wait();
            loop {
                let stamp = word.load(Ordering::SeqCst);
                if stamp == OVER {
                    break;
                }
                if stamp != last {
                    latencies.saturating_record(begin.elapsed().as_nanos() as u64 - stamp);
                    last = stamp;
                } else if asleep {
                    lobby.sleep_if(|| word.load(Ordering::SeqCst) == last);
                }
            }
            Ok(latencies)
        })
    };
    ready.wait();
    for index in 0..count {
        while begin.elapsed() < PAUSE * index as u32 {
            std::hint::spin_loop();
        }
        word.store(begin.elapsed().as_nanos() as u64, Ordering::SeqCst);
        lobby.wake_all();
    }
    word.store(OVER, Ordering::SeqCst);
    lobby.wake_all();
    waiter.join().expect("looking at a word does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = Load {
        body: 1024,
        messages: 3000,
    };

    #[test]
    fn every_floor_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        assert!(fresh_pages(dir.path(), LOAD).unwrap() > Duration::ZERO);
        assert!(flushes(dir.path(), 1024, Duration::from_millis(5), 1 << 20).unwrap() > 0.0);
        let late = lateness(1000, Duration::from_millis(10)).unwrap();
        assert_eq!(late.len(), 10);
        assert!(random_touch(LOAD) > 0.0);
        for asleep in [false, true] {
            assert!(!hand_over(asleep, 2000).unwrap().is_empty());
        }
    }
}
