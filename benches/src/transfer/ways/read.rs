//! Through a buffer of the program: `pread`, then `write`.

use anyhow::{Result, ensure};

use crate::source::Piece;

use super::{BATCH_BYTES, Way, Wire};

/// The textbook's "traditional" way.
#[derive(Debug)]
pub struct Read {
    buffer: Vec<u8>,
    gather: bool,
}

impl Read {
    /// With a buffer of [`BATCH_BYTES`]; larger pieces take several turns, as a careful program would have it, since a
    /// buffer that leaves the processor's cache costs more than a few calls.
    pub fn new(gather: bool) -> Self {
        Self {
            buffer: vec![0; BATCH_BYTES],
            gather,
        }
    }

    /// One piece, by as many turns as it takes.
    fn copy(&mut self, wire: &mut Wire<'_>, piece: &Piece) -> Result<()> {
        let mut done = 0;
        while done < piece.length {
            let room = (piece.length - done).min(self.buffer.len());
            let read = read(wire, piece, done, &mut self.buffer[..room])?;
            wire.write_all(&self.buffer[..read])?;
            done += read;
        }
        Ok(())
    }
}

impl Way for Read {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        if !self.gather || pieces.len() == 1 {
            return pieces.iter().try_for_each(|piece| self.copy(wire, piece));
        }
        let mut filled = 0;
        for piece in pieces {
            let mut done = 0;
            while done < piece.length {
                let room = filled..filled + piece.length - done;
                let read = read(wire, piece, done, &mut self.buffer[room])?;
                (done, filled) = (done + read, filled + read);
            }
        }
        wire.write_all(&self.buffer[..filled])
    }
}

fn read(wire: &mut Wire<'_>, piece: &Piece, done: usize, buffer: &mut [u8]) -> Result<usize> {
    let (file, offset) = (wire.source.file(piece), piece.offset + done as u64);
    let read = wire.call(|| rustix::io::pread(file, &mut *buffer, offset))?;
    ensure!(read > 0, "a segment is shorter than its records");
    Ok(read)
}
