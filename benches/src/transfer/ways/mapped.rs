//! From the mapping, by reference: the kernel copies the bytes from the page cache into its own buffers.

use std::io::IoSlice;

use anyhow::Result;

use crate::source::Piece;

use super::{Way, Wire};

/// One `write` for each piece.
#[derive(Debug)]
pub struct Write;

impl Way for Write {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        let source = wire.source;
        pieces
            .iter()
            .try_for_each(|piece| wire.write_all(source.bytes(piece)))
    }
}

/// One `writev` for all.
#[derive(Debug)]
pub struct Writev;

impl Way for Writev {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        let (socket, source) = (wire.socket, wire.source);
        let mut slices: Vec<_> = pieces
            .iter()
            .map(|piece| IoSlice::new(source.bytes(piece)))
            .collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let sent = wire.call(|| rustix::io::writev(socket, left))?;
            IoSlice::advance_slices(&mut left, sent);
        }
        Ok(())
    }
}
