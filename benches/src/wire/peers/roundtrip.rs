//! Messages that leave over one connection at a rate, and come back over another, where they are acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::{Buf, BytesMut};
use foliomq_load::{Pace, process};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::drive::{Drive, Driven};

/// What a producer and a consumer of one queue say and hear.
pub trait Passing {
    /// Adds the next message.
    fn send(&mut self, out: &mut BytesMut);
    /// The first whole answer to a message: its bytes.
    fn sent(&mut self, bytes: &[u8]) -> Result<Option<usize>>;
    /// What the consumer says after what has come: that it has it, and that it wants more.
    fn ask(&mut self, out: &mut BytesMut);
    /// The first whole answer to the consumer: its bytes, and the messages in it.
    fn came(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>>;
}

/// How long each message takes, from the moment at which it was meant to leave, since the warm-up.
struct Times {
    since: Instant,
    due: VecDeque<Instant>,
    latency: Histogram<u64>,
}

impl Times {
    fn new(since: Instant) -> Result<Self> {
        Ok(Self {
            since,
            due: VecDeque::new(),
            latency: Histogram::new_with_bounds(1, 120_000_000_000, 3)?,
        })
    }

    fn came(&mut self, messages: u64) -> Result<()> {
        for _ in 0..messages {
            let Some(due) = self.due.pop_front() else {
                bail!("more messages came than were sent")
            };
            if due >= self.since {
                let time = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.latency.saturating_record(time);
            }
        }
        Ok(())
    }
}

/// A producer's connection, and a consumer's.
struct Sides {
    out: OwnedWriteHalf,
    acks: OwnedReadHalf,
    back: OwnedWriteHalf,
    messages: OwnedReadHalf,
    sending: BytesMut,
    sent: BytesMut,
    came: BytesMut,
}

impl Sides {
    fn new((out, back): (TcpStream, TcpStream)) -> Self {
        let (acks, out) = out.into_split();
        let (messages, back) = back.into_split();
        Self {
            out,
            acks,
            back,
            messages,
            sending: BytesMut::new(),
            sent: BytesMut::new(),
            came: BytesMut::new(),
        }
    }

    /// Sends the next message if it is time to, or takes what has come.
    async fn step(
        &mut self,
        pace: &mut Pace,
        passing: &mut impl Passing,
        times: &mut Times,
    ) -> Result<()> {
        passing.ask(&mut self.sending);
        if !self.sending.is_empty() {
            self.back.write_all_buf(&mut self.sending).await?;
        }
        let read = tokio::select! {
            due = pace.next() => {
                times.due.push_back(due?);
                passing.send(&mut self.sending);
                self.out.write_all_buf(&mut self.sending).await?;
                None
            }
            read = self.acks.read_buf(&mut self.sent) => Some(read?),
            read = self.messages.read_buf(&mut self.came) => Some(read?),
        };
        ensure!(read != Some(0), "the server closed the connection");
        self.take(passing, times)
    }

    fn take(&mut self, passing: &mut impl Passing, times: &mut Times) -> Result<()> {
        while let Some(len) = passing.sent(&self.sent)? {
            self.sent.advance(len);
        }
        while let Some((len, messages)) = passing.came(&self.came)? {
            self.came.advance(len);
            times.came(messages)?;
        }
        Ok(())
    }
}

/// So many messages a second, until the time is over.
pub async fn run(
    connections: (TcpStream, TcpStream),
    drive: &Drive,
    rate: f64,
    server: u32,
    passing: &mut impl Passing,
) -> Result<Driven> {
    let begin = Instant::now();
    let (mut sides, mut pace) = (Sides::new(connections), Pace::new(rate, begin)?);
    let mut times = Times::new(begin + drive.warmup)?;
    while Instant::now() < times.since {
        sides.step(&mut pace, passing, &mut times).await?;
    }
    let before = (process::time(server)?, process::own_time()?);
    while begin.elapsed() < drive.warmup + drive.time {
        sides.step(&mut pace, passing, &mut times).await?;
    }
    let seconds = times.since.elapsed().as_secs_f64();
    let cores = |after: Duration, before| after.saturating_sub(before).as_secs_f64() / seconds;
    let at = |quantile| times.latency.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Driven {
        rate: times.latency.len() as f64 / seconds,
        p50: at(0.5),
        p99: at(0.99),
        server_cores: cores(process::time(server)?, before.0),
        generator_cores: cores(process::own_time()?, before.1),
    })
}
