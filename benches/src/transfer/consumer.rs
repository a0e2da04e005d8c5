//! The other end: reads everything into a buffer, and compares it with what was to come, or notes when it came.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::raw::Usage;
use crate::source::{Piece, Source};

/// Bytes of the buffer.
const BUFFER: usize = 256 << 10;

/// The longest time that is told from longer ones, nanoseconds.
pub const LATEST: u64 = 10_000_000_000;

/// What the consumer had when the sender was done.
#[derive(Debug)]
pub struct Received {
    /// Bytes.
    pub bytes: u64,
    /// System calls.
    pub calls: u64,
    /// When the last byte was in its buffer.
    pub at: Instant,
    /// What its thread used.
    pub usage: Usage,
}

/// Reads until the sender ends; sleeps in `recv`, or asks over and over if `polling`.
pub fn consume(
    socket: &TcpStream,
    mut check: Option<Check<'_>>,
    polling: bool,
) -> Result<Received> {
    let mut buffer = vec![0; BUFFER];
    let before = Usage::of_thread()?;
    let flags = if polling {
        RecvFlags::DONTWAIT
    } else {
        RecvFlags::empty()
    };
    let (mut bytes, mut calls) = (0, 0);
    loop {
        calls += 1;
        let received = match recv(socket, buffer.as_mut_slice(), flags) {
            Ok((received, _)) => received,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            Err(error) => return Err(error).context("receiving"),
        };
        if received == 0 {
            break;
        }
        bytes += received as u64;
        if let Some(check) = &mut check {
            check.compare(&buffer[..received])?;
        }
    }
    let (at, usage) = (Instant::now(), Usage::of_thread()? - before);
    Ok(Received {
        bytes,
        calls,
        at,
        usage,
    })
}

/// What is still to come, byte for byte.
#[derive(Debug)]
pub struct Check<'a> {
    source: &'a Source,
    pieces: std::slice::Iter<'a, Piece>,
    left: &'a [u8],
}

impl<'a> Check<'a> {
    /// Expects these pieces.
    pub fn new(source: &'a Source, pieces: &'a [Piece]) -> Self {
        Self {
            source,
            pieces: pieces.iter(),
            left: &[],
        }
    }

    fn compare(&mut self, mut received: &[u8]) -> Result<()> {
        while !received.is_empty() {
            if self.left.is_empty() {
                let piece = self
                    .pieces
                    .next()
                    .context("more bytes came than were sent")?;
                self.left = self.source.bytes(piece);
            }
            let both = received.len().min(self.left.len());
            ensure!(
                received[..both] == self.left[..both],
                "other bytes came than were sent"
            );
            (received, self.left) = (&received[both..], &self.left[both..]);
        }
        Ok(())
    }
}

/// When messages are due: the first at `begin`, then one every `interval`.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// When the first is sent.
    pub begin: Instant,
    /// Between two.
    pub interval: Duration,
    /// How many.
    pub messages: u32,
}

impl Schedule {
    /// When a message is to be sent.
    pub fn due(&self, message: u32) -> Instant {
        self.begin + self.interval * message
    }
}

/// Reads messages of one size without ever sleeping, and notes how long after it was due each was there, nanoseconds.
pub fn time(socket: &TcpStream, schedule: Schedule, size: usize) -> Result<Histogram<u64>> {
    let mut buffer = vec![0; BUFFER];
    let mut histogram = Histogram::new_with_max(LATEST, 3)?;
    let (mut bytes, mut message) = (0usize, 0);
    while message < schedule.messages {
        match recv(socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((0, _)) => break,
            Ok((received, _)) => bytes += received,
            Err(Errno::AGAIN | Errno::INTR) => continue,
            Err(error) => return Err(error).context("receiving"),
        }
        let now = Instant::now();
        while message < schedule.messages && bytes >= size {
            let late = now.saturating_duration_since(schedule.due(message));
            histogram.saturating_record(late.as_nanos() as u64);
            (bytes, message) = (bytes - size, message + 1);
        }
    }
    ensure!(
        message == schedule.messages,
        "only {message} of {} messages came",
        schedule.messages
    );
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use crate::plan::Plan;
    use crate::source::Pattern;

    use super::*;

    #[test]
    fn a_byte_that_differs_is_found_however_the_stream_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let source = Source::write(folder.path(), &Plan::smoke()).unwrap();
        let pieces = &source.pieces(Pattern::Scattered, 128)[..8];
        let mut sent: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| source.bytes(piece).to_vec())
            .collect();
        let compare = |bytes: &[u8]| {
            let mut check = Check::new(&source, pieces);
            bytes.chunks(100).try_for_each(|chunk| check.compare(chunk))
        };
        assert!(compare(&sent).is_ok());
        sent[700] ^= 1;
        assert!(
            compare(&sent)
                .unwrap_err()
                .to_string()
                .contains("other bytes")
        );
        sent[700] ^= 1;
        sent.push(0);
        assert!(
            compare(&sent)
                .unwrap_err()
                .to_string()
                .contains("more bytes")
        );
    }
}
