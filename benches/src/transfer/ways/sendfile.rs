//! From the page cache to the socket, without the program seeing the bytes.

use anyhow::{Result, ensure};

use crate::source::Piece;

use super::{Way, Wire};

/// One call for each piece: it takes one range of one file.
#[derive(Debug)]
pub struct Sendfile;

impl Way for Sendfile {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        let (socket, source) = (wire.socket, wire.source);
        for piece in pieces {
            let (mut offset, mut left) = (piece.offset, piece.length);
            while left > 0 {
                let file = source.file(piece);
                let sent =
                    wire.call(|| rustix::fs::sendfile(socket, file, Some(&mut offset), left))?;
                ensure!(sent > 0, "a segment is shorter than its records");
                left -= sent;
            }
        }
        Ok(())
    }
}
