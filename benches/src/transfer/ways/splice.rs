//! Through a pipe that holds references to pages.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::source::Piece;

use super::{Way, Wire};

/// What anyone may ask for: 256 pages.
const PIPE: usize = 1 << 20;

/// Any number of pieces into the pipe, one call each, as long as it has room; then all of them out by one.
#[derive(Debug)]
pub struct Splice {
    into: OwnedFd,
    out: OwnedFd,
}

impl Splice {
    pub fn new() -> Result<Self> {
        let (out, into) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
        fcntl_setpipe_size(&into, PIPE).context("enlarging the pipe")?;
        Ok(Self { into, out })
    }

    fn fill(&self, wire: &mut Wire<'_>, piece: &Piece, done: usize) -> Result<usize> {
        let file = wire.source.file(piece);
        let mut offset = piece.offset + done as u64;
        let left = (piece.length - done).min(PIPE);
        let flags = SpliceFlags::MOVE;
        let filled =
            wire.call(|| splice(file, Some(&mut offset), &self.into, None, left, flags))?;
        ensure!(filled > 0, "a segment is shorter than its records");
        Ok(filled)
    }

    fn drain(&self, wire: &mut Wire<'_>, mut left: usize) -> Result<()> {
        let socket = wire.socket;
        while left > 0 {
            let sent =
                wire.call(|| splice(&self.out, None, socket, None, left, SpliceFlags::MOVE))?;
            left -= sent;
        }
        Ok(())
    }
}

impl Way for Splice {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        // A batch of several pieces touches at most 64 + 64 + 64 pages: it fits, and filling never waits.
        let mut filled = 0;
        for piece in pieces {
            let mut done = 0;
            while done < piece.length {
                let more = self.fill(wire, piece, done)?;
                (done, filled) = (done + more, filled + more);
                if pieces.len() == 1 {
                    self.drain(wire, filled)?;
                    filled = 0;
                }
            }
        }
        self.drain(wire, filled)
    }
}
