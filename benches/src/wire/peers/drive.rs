//! A closed loop over any protocol in which answers come in the order of the requests.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::{Buf, BytesMut};
use foliomq_load::process;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    pub warmup: Duration,
    pub time: Duration,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
pub struct Driven {
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
    pub server_cores: f64,
    pub generator_cores: f64,
}

/// Requests of one kind, and their answers.
pub trait Protocol {
    /// Adds the next request; `None` if there is none.
    fn request(&mut self, out: &mut BytesMut) -> bool;
    /// The first whole answer: its bytes, and the messages that it stands for; `None` if more bytes are needed.
    fn answer(&mut self, bytes: &[u8]) -> Result<Option<(usize, u64)>>;
    /// Whether an answer has latency worth telling.
    fn timed(&self) -> bool;
}

/// So many requests in flight, until the time is over or the requests end.
pub async fn run(
    mut stream: TcpStream,
    drive: &Drive,
    window: usize,
    server: u32,
    protocol: &mut impl Protocol,
) -> Result<Driven> {
    let mut sent: VecDeque<Instant> = VecDeque::new();
    let (mut out, mut input) = (BytesMut::new(), BytesMut::with_capacity(1 << 20));
    let mut latency = Histogram::<u64>::new_with_bounds(1, 120_000_000_000, 3)?;
    let (begin, mut measured, mut messages, mut ended) = (Instant::now(), None, 0, false);
    let mut end = begin + drive.warmup + drive.time;
    while !(ended && sent.is_empty()) {
        let now = Instant::now();
        if measured.is_none() && now >= begin + drive.warmup {
            measured = Some((now, process::time(server)?, process::own_time()?));
            end = now + drive.time;
        }
        if now >= end {
            break;
        }
        while !ended && sent.len() < window {
            ended = !protocol.request(&mut out);
            if !ended {
                sent.push_back(now);
            }
        }
        stream.write_all(&out).await?;
        out.clear();
        if !sent.is_empty() {
            input.reserve(256 << 10);
            ensure!(
                stream.read_buf(&mut input).await? > 0,
                "the server closed the connection"
            );
        }
        while let Some((len, of)) = protocol.answer(&input)? {
            input.advance(len);
            let Some(since) = sent.pop_front() else {
                continue;
            };
            if measured.is_some() {
                messages += of;
                latency.saturating_record(since.elapsed().as_nanos() as u64);
            }
        }
    }
    let (from, server_before, own_before) = match measured {
        Some(measured) => measured,
        None => anyhow::bail!("there was nothing left to measure after the warm-up"),
    };
    let seconds = from.elapsed().as_secs_f64();
    let cores = |after: Duration, before| after.saturating_sub(before).as_secs_f64() / seconds;
    let at = |quantile| {
        if protocol.timed() {
            latency.value_at_quantile(quantile) as f64 / 1e3
        } else {
            0.0
        }
    };
    Ok(Driven {
        rate: messages as f64 / seconds,
        p50: at(0.5),
        p99: at(0.99),
        server_cores: cores(process::time(server)?, server_before),
        generator_cores: cores(process::own_time()?, own_before),
    })
}

/// A line without its end, and the bytes that it takes with it.
pub fn line(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..end], end + 2))
}

/// Asks once, and waits for the whole answer.
pub async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    protocol: &mut impl Protocol,
) -> Result<()> {
    stream.write_all(request).await?;
    let mut input = BytesMut::new();
    while protocol.answer(&input)?.is_none() {
        ensure!(
            stream.read_buf(&mut input).await? > 0,
            "the server closed the connection"
        );
    }
    Ok(())
}
