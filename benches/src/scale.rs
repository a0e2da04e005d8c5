//! How much is measured: the whole, a quick look, or just enough to see that it runs.

use std::time::Duration;

use serde::Serialize;

/// Messages of one body size.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Load {
    /// Bytes of a body.
    pub body: usize,
    /// Messages in a run.
    pub messages: u64,
}

/// Sizes and durations of every experiment.
#[derive(Debug, Clone, Serialize)]
pub struct Scale {
    /// Its name in the report.
    pub name: &'static str,
    /// Counted rounds; one more comes first and is not counted.
    pub rounds: usize,
    /// Appends of a run, async.
    pub append: [Load; 3],
    /// How long a run with synchronous flush lasts.
    pub sync_time: Duration,
    /// Messages that the read experiment stores.
    pub read: [Load; 3],
    /// Bytes of a segment, where rolls are not the point.
    pub segment: u64,
    /// Bytes of a segment in the preheat experiment.
    pub roll_segment: u64,
    /// Segments that a run of the preheat experiment fills at full speed.
    pub rolls: u64,
    /// How long its open loop lasts.
    pub tail_time: Duration,
    /// Appends per second of the open loop.
    pub rate: u64,
    /// Bytes of a segment in the experiments that count device bytes.
    pub device_segment: u64,
    /// Log bytes that a run of them appends.
    pub device_bytes: u64,
    /// Log bytes that a sustained run appends.
    pub sustained_bytes: u64,
    /// Log bytes between two write-outs of the file system.
    pub write_out_every: u64,
    /// Log bytes per second of them.
    pub device_rate: u64,
    /// Single flushed appends before and after a restart.
    pub restart_appends: u64,
    /// Seconds that a run lasts in which another process looks on.
    pub watched: f64,
    /// Queues of the store with many.
    pub queues: u32,
    /// Messages that are spread over them.
    pub spread: u64,
    /// Bytes of log, most of them holes, of the store that is opened again.
    pub large: u64,
    /// Memory limit of the cold scan; the history is twice as large.
    pub cold_limit: u64,
    /// Bytes of a segment in it.
    pub cold_segment: u64,
    /// How long one of its runs lasts.
    pub cold_time: Duration,
    /// How long to wait, before an experiment, for the machine to become quiet.
    pub patience: Duration,
}

const SIZES: [usize; 3] = [128, 1 << 10, 16 << 10];
const MIB: u64 = 1 << 20;

fn loads(messages: [u64; 3]) -> [Load; 3] {
    std::array::from_fn(|i| Load {
        body: SIZES[i],
        messages: messages[i],
    })
}

impl Scale {
    /// Messages that another process looks at, when so many come in a second.
    pub fn seen(&self, rate: u64) -> u64 {
        (rate as f64 * self.watched) as u64
    }

    /// About six minutes.
    pub fn full() -> Self {
        Self {
            name: "full",
            rounds: 5,
            append: loads([4_000_000, 1_000_000, 64_000]),
            sync_time: Duration::from_millis(1000),
            read: loads([600_000, 200_000, 16_000]),
            segment: 512 * MIB,
            roll_segment: 256 * MIB,
            rolls: 4,
            tail_time: Duration::from_secs(60),
            rate: 100_000,
            device_segment: 256 * MIB,
            device_bytes: 512 * MIB,
            sustained_bytes: 8 << 30,
            write_out_every: 128 * MIB,
            device_rate: 512 * MIB,
            restart_appends: 4_000,
            watched: 5.0,
            queues: 1_000_000,
            spread: 2_000_000,
            large: 20 << 30,
            cold_limit: 512 * MIB,
            cold_segment: 128 * MIB,
            cold_time: Duration::from_secs(10),
            patience: Duration::from_secs(20),
        }
    }

    /// Under a minute.
    pub fn quick() -> Self {
        Self {
            name: "quick",
            rounds: 3,
            append: loads([1_000_000, 200_000, 12_000]),
            sync_time: Duration::from_millis(300),
            read: loads([100_000, 50_000, 4_000]),
            segment: 256 * MIB,
            rolls: 3,
            tail_time: Duration::from_secs(5),
            roll_segment: 32 * MIB,
            device_segment: 64 * MIB,
            device_bytes: 128 * MIB,
            sustained_bytes: 512 * MIB,
            write_out_every: 64 * MIB,
            restart_appends: 1_000,
            watched: 0.8,
            spread: 1_000_000,
            large: 2 << 30,
            cold_limit: 256 * MIB,
            cold_segment: 64 * MIB,
            cold_time: Duration::from_secs(2),
            patience: Duration::from_secs(1),
            ..Self::full()
        }
    }

    /// A few seconds, for the test that the program runs; its figures mean nothing.
    pub fn smoke() -> Self {
        Self {
            name: "smoke",
            rounds: 2,
            append: loads([500, 200, 50]),
            sync_time: Duration::from_millis(10),
            read: loads([500, 200, 50]),
            segment: 16 * MIB,
            roll_segment: 16 * MIB,
            rolls: 1,
            tail_time: Duration::from_millis(50),
            rate: 500_000,
            device_segment: 16 * MIB,
            device_bytes: 2 * MIB,
            sustained_bytes: 2 * MIB,
            write_out_every: MIB,
            restart_appends: 5,
            watched: 0.01,
            queues: 2_000,
            spread: 2_000,
            large: 32 * MIB,
            cold_limit: 64 * MIB,
            cold_segment: 16 * MIB,
            cold_time: Duration::from_millis(100),
            patience: Duration::ZERO,
            ..Self::full()
        }
    }
}
