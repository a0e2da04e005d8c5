//! One run: a sender on one core, a consumer on another, one new connection.

use std::ffi::CStr;
use std::net::{Shutdown, TcpStream};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_name};
use serde::{Deserialize, Serialize};

use crate::consumer::{self, Check, Received, Schedule};
use crate::counters::{Counters, KernelThreads, Packets};
use crate::network::{Delay, Network};
use crate::raw::{self, Usage};
use crate::results::Place;
use crate::source::{Pattern, Piece, Source};
use crate::ways::{BATCH_BYTES, BATCH_PIECES, Notices, Wire};

/// What the threads are called.
pub const SENDER: &CStr = c"sender";
/// The same.
pub const CONSUMER: &CStr = c"consumer";
/// How long after the threads are ready the first paced message is due.
const LEAD: Duration = Duration::from_millis(5);

/// The cores of sender and consumer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Cores {
    /// The sender's.
    pub sender: usize,
    /// The consumer's.
    pub consumer: usize,
}

impl Cores {
    /// The last two that this process may use; `None` if there is only one, or the kernel does not say.
    pub fn choose() -> Option<Self> {
        let allowed = sched_getaffinity(None).ok()?;
        let mut last = (0..CpuSet::MAX_CPU)
            .rev()
            .filter(|core| allowed.is_set(*core));
        let (consumer, sender) = (last.next()?, last.next()?);
        Some(Self { sender, consumer })
    }
}

/// What stays the same over all runs.
#[derive(Debug)]
pub struct Bench<'a> {
    /// What is sent.
    pub source: &'a Source,
    /// Where threads run; anywhere if `None`.
    pub cores: Option<Cores>,
    /// The kernel's network threads of these cores.
    pub kernel_threads: KernelThreads,
}

/// What is sent, and where.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The network, which is that of the place.
    pub network: &'a Network,
    /// What the run belongs to.
    pub place: Place,
    /// The pieces, all of one size.
    pub pieces: &'a [Piece],
}

/// What one timed run measured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// From the first call to the last byte in the consumer's buffer.
    #[serde(serialize_with = "raw::micro")]
    pub seconds: f64,
    /// Bytes that arrived.
    pub bytes: u64,
    /// Pieces that arrived.
    pub pieces: u64,
    /// The sender's system calls.
    pub calls: u64,
    /// The consumer's system calls.
    pub consumer_calls: u64,
    /// What the sender's thread used, network work done on its behalf included.
    pub sender: Usage,
    /// What the consumer's thread used, likewise.
    pub consumer: Usage,
    /// Processor seconds of the kernel's network threads on both cores.
    #[serde(serialize_with = "raw::micro")]
    pub kernel_threads: f64,
    /// Packets that TCP sent again.
    pub again: u64,
    /// What the kernel said about zero-copy calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<Notices>,
}

impl Sample {
    /// Bytes per second.
    pub fn throughput(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }

    /// Processor seconds of the sender for 10^9 bytes.
    pub fn sender_cost(&self) -> f64 {
        self.sender.time / self.bytes as f64 * 1e9
    }

    /// Processor seconds of everyone for 10^9 bytes.
    pub fn cost(&self) -> f64 {
        (self.sender.time + self.consumer.time + self.kernel_threads) / self.bytes as f64 * 1e9
    }
}

/// What a run found in which every byte was compared.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Checked {
    /// Pieces that were sent.
    pub pieces: u64,
    /// Their bytes, all of which arrived as they were.
    pub bytes: u64,
    /// System calls by the program's own counting.
    pub calls: u64,
    /// System calls of the sender's thread by the kernel's counting; `None` where it may not be asked.
    pub kernel_calls: Option<u64>,
    /// Page faults of the sender's thread.
    pub faults: u64,
    /// Packets that were handed to the device; `None` where the kernel may not be asked.
    pub packets: Option<Packets>,
    /// What the kernel said about zero-copy calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notices: Option<Notices>,
}

/// When a sender stops.
#[derive(Debug, Clone, Copy)]
enum Until<'a> {
    /// All pieces were sent, once.
    Sent(Option<&'a Counters>),
    /// This long has passed; the pieces are sent over and over.
    Passed(Duration),
}

/// What the sender's thread reports.
struct Sent {
    begin: Instant,
    pieces: u64,
    bytes: u64,
    calls: u64,
    kernel_calls: Option<u64>,
    usage: Usage,
    again: u64,
    notices: Option<Notices>,
}

impl Bench<'_> {
    /// Sends for as long as asked, at full speed.
    pub fn time(&self, job: Job<'_>, run: Duration) -> Result<Sample> {
        let before = self.kernel_threads.time();
        let (sent, received) = self.transfer(job, Until::Passed(run))?;
        Ok(Sample {
            seconds: received.at.duration_since(sent.begin).as_secs_f64(),
            bytes: received.bytes,
            pieces: sent.pieces,
            calls: sent.calls,
            consumer_calls: received.calls,
            sender: sent.usage,
            consumer: received.usage,
            kernel_threads: self.kernel_threads.time() - before,
            again: sent.again,
            notices: sent.notices,
        })
    }

    /// Sends each piece once; the consumer compares every byte, and the kernel counts, where it may be asked.
    pub fn check(&self, job: Job<'_>, counters: Option<&Counters>) -> Result<Checked> {
        let packets = || {
            counters
                .map(|counters| counters.packets(job.place.network))
                .transpose()
        };
        let before = packets()?;
        let (sent, _) = self.transfer(job, Until::Sent(counters))?;
        Ok(Checked {
            pieces: sent.pieces,
            bytes: sent.bytes,
            calls: sent.calls,
            kernel_calls: sent.kernel_calls,
            faults: sent.usage.minor_faults,
            packets: packets()?.zip(before).map(|(after, before)| after - before),
            notices: sent.notices,
        })
    }

    fn transfer(&self, job: Job<'_>, until: Until<'_>) -> Result<(Sent, Received)> {
        let (sender, receiver) = job.network.connect(Delay::Corked)?;
        let start = Barrier::new(2);
        let check = matches!(until, Until::Sent(_)).then(|| Check::new(self.source, job.pieces));
        let (sent, received) = self.two_threads(
            || {
                let sent = self.send(&sender, job, until, &start);
                if sent.is_err() {
                    let _ = sender.shutdown(Shutdown::Both);
                }
                sent
            },
            || {
                start.wait();
                let received =
                    consumer::consume(&receiver, check, job.place.pattern == Pattern::Polled);
                if received.is_err() {
                    let _ = receiver.shutdown(Shutdown::Both);
                }
                received
            },
        )?;
        ensure!(
            sent.bytes == received.bytes,
            "{} bytes sent, {} received",
            sent.bytes,
            received.bytes
        );
        Ok((sent, received))
    }

    fn send(
        &self,
        socket: &TcpStream,
        job: Job<'_>,
        until: Until<'_>,
        start: &Barrier,
    ) -> Result<Sent> {
        let ready = job.place.way.ready(socket);
        let counter = match until {
            Until::Sent(counters) => counters.map(Counters::system_calls).transpose(),
            Until::Passed(_) => Ok(None),
        };
        start.wait();
        let (mut way, counter) = (ready?, counter?);
        let before = Usage::of_thread()?;
        let counted = counter
            .as_ref()
            .map(|counter| counter.count())
            .transpose()?;
        let begin = Instant::now();
        let mut wire = Wire {
            socket,
            source: self.source,
            calls: 0,
        };
        let (mut sent, mut bytes) = (0, 0);
        'over: loop {
            for batch in batches(job.pieces) {
                way.send(&mut wire, batch)?;
                sent += batch.len() as u64;
                bytes += batch.iter().map(|piece| piece.length as u64).sum::<u64>();
                if matches!(until, Until::Passed(run) if begin.elapsed() >= run) {
                    break 'over;
                }
            }
            if matches!(until, Until::Sent(_)) {
                break;
            }
        }
        // First the end, so that TCP holds nothing back for more to come; the kernel gives its pages back after that.
        socket
            .shutdown(Shutdown::Write)
            .context("ending the connection")?;
        way.finish(&mut wire)?;
        let kernel_calls = counter.map(|counter| counter.count()).transpose()?;
        // A look counts itself, so the second one is one call too many; so is the one that ends the connection.
        let kernel_calls = kernel_calls
            .zip(counted)
            .map(|(after, before)| after - before - 2);
        let usage = Usage::of_thread()? - before;
        let again = raw::sent_again(socket)?;
        Ok(Sent {
            begin,
            pieces: sent,
            bytes,
            calls: wire.calls,
            kernel_calls,
            usage,
            again,
            notices: way.notices(),
        })
    }

    /// Sends single messages at fixed times; how long after it was due each was in the consumer's buffer.
    pub fn pace(
        &self,
        job: Job<'_>,
        (interval, messages): (Duration, u32),
    ) -> Result<Histogram<u64>> {
        let (sender, receiver) = job.network.connect(Delay::None)?;
        let schedule = Schedule {
            begin: Instant::now() + LEAD,
            interval,
            messages,
        };
        let (_, histogram) = self.two_threads(
            || {
                let sent = self.send_paced(&sender, job, schedule);
                sender
                    .shutdown(Shutdown::Write)
                    .context("ending the connection")?;
                sent
            },
            || consumer::time(&receiver, schedule, job.place.size),
        )?;
        Ok(histogram)
    }

    fn send_paced(&self, socket: &TcpStream, job: Job<'_>, schedule: Schedule) -> Result<()> {
        let mut way = job.place.way.ready(socket)?;
        let mut wire = Wire {
            socket,
            source: self.source,
            calls: 0,
        };
        for (message, piece) in (0..schedule.messages).zip(job.pieces.iter().cycle()) {
            while Instant::now() < schedule.due(message) {
                std::hint::spin_loop();
            }
            way.send(&mut wire, std::slice::from_ref(piece))?;
        }
        way.finish(&mut wire)
    }

    /// Runs both ends on threads of their own, each on its core.
    fn two_threads<A: Send, B: Send>(
        &self,
        send: impl FnOnce() -> Result<A> + Send,
        consume: impl FnOnce() -> Result<B> + Send,
    ) -> Result<(A, B)> {
        thread::scope(|scope| {
            let sender = scope.spawn(|| {
                pin(SENDER, self.cores.map(|cores| cores.sender));
                send()
            });
            let consumer = scope.spawn(|| {
                pin(CONSUMER, self.cores.map(|cores| cores.consumer));
                consume()
            });
            let (sent, received) = (sender.join(), consumer.join());
            let sent = sent.map_err(|_| anyhow!("the sender panicked"))?;
            let received = received.map_err(|_| anyhow!("the consumer panicked"))?;
            // An end that finds wrong bytes closes the connection, and the other only sees that.
            match (sent, received) {
                (Ok(sent), Ok(received)) => Ok((sent, received)),
                (Err(error), Ok(_)) | (_, Err(error)) => Err(error),
            }
        })
    }
}

/// Best effort: a thread that is not on its core only makes the figures less steady. It gets its name there, where
/// whoever watches that core sees it.
fn pin(name: &CStr, core: Option<usize>) {
    if let Some(core) = core {
        let mut set = CpuSet::new();
        set.set(core);
        let _ = sched_setaffinity(None, &set);
    }
    let _ = set_name(name);
}

/// Cuts pieces into batches of at most [`BATCH_PIECES`] and, unless a piece alone is larger, [`BATCH_BYTES`].
fn batches(pieces: &[Piece]) -> impl Iterator<Item = &[Piece]> {
    let size = pieces.first().map_or(1, |piece| piece.length.max(1));
    pieces.chunks((BATCH_BYTES / size).clamp(1, BATCH_PIECES))
}
