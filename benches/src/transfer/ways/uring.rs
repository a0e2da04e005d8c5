//! io_uring: one request for each piece, one system call for all of them.

use anyhow::{Context, Result};

use crate::raw::Ring;
use crate::source::Piece;

use super::{Notices, Way, Wire};

/// `send`, or `send_zc`, from the mapping.
pub struct Uring {
    ring: Ring,
    zero_copy: bool,
}

impl Uring {
    /// An error if the kernel refuses.
    pub fn new(zero_copy: bool) -> Result<Self> {
        let ring = Ring::new(zero_copy).context("the kernel refuses io_uring")?;
        Ok(Self { ring, zero_copy })
    }
}

impl Way for Uring {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        let bytes: Vec<&[u8]> = pieces
            .iter()
            .map(|piece| wire.source.bytes(piece))
            .collect();
        let sent = self
            .ring
            .send(wire.socket, &bytes)
            .context("sending through io_uring");
        wire.calls += self.ring.take_calls();
        sent
    }

    fn finish(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        let finished = self.ring.finish().context("waiting for the ring's notices");
        wire.calls += self.ring.take_calls();
        finished
    }

    fn notices(&self) -> Option<Notices> {
        let (calls, copied) = self.ring.noticed();
        self.zero_copy.then_some(Notices { calls, copied })
    }
}
