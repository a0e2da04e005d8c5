//! Bytes in several pieces, which go out in one `writev`.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

use crate::unsent::Unsent;

/// A sequence of byte slices, none of them copied: the data type of every response body.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: VecDeque<Bytes>,
    remaining: usize,
    /// Whose bytes these are; given back if the rope is dropped before its end.
    unsent: Option<Unsent>,
}

impl Rope {
    /// Adds a piece; an empty one is left out.
    pub(crate) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.remaining += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// The pieces not yet consumed.
    #[cfg(test)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter()
    }
}

impl From<Bytes> for Rope {
    fn from(piece: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(piece);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in out.iter_mut().zip(&self.pieces) {
            *slot = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        assert!(
            count <= self.remaining,
            "advance by {count} of {}",
            self.remaining
        );
        self.remaining -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else {
                break;
            };
            let step = count.min(front.len());
            front.advance(step);
            count -= step;
            if front.is_empty() {
                // Lets go of the page as soon as it is written.
                self.pieces.pop_front();
            }
        }
        if self.remaining == 0
            && let Some(unsent) = self.unsent.take()
        {
            unsent.sent();
        }
    }
}

/// Puts a rope together: what is small goes into one buffer, what is large stays where it is.
#[derive(Debug, Default)]
pub(crate) struct RopeBuilder {
    rope: Rope,
    scratch: BytesMut,
}

impl RopeBuilder {
    /// Where small pieces are written to, one after the other.
    pub(crate) fn scratch(&mut self) -> &mut BytesMut {
        &mut self.scratch
    }

    /// Adds a piece by reference.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.rope.push(self.scratch.split().freeze());
        self.rope.push(piece);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.rope.remaining + self.scratch.len()
    }

    /// The rope, which carries these deliveries.
    pub(crate) fn finish(mut self, unsent: Option<Unsent>) -> Rope {
        self.rope.push(self.scratch.freeze());
        self.rope.unsent = unsent;
        self.rope
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rope_reads_as_its_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20), step in 1..60usize) {
            let expected: Vec<u8> = pieces.concat();
            let mut builder = RopeBuilder::default();
            for (n, piece) in pieces.into_iter().enumerate() {
                if n % 2 == 0 { builder.push(piece.into()) } else { builder.scratch().extend_from_slice(&piece) }
            }
            prop_assert_eq!(builder.len(), expected.len());
            let mut rope = builder.finish(None);
            let mut read = Vec::new();
            while rope.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 4];
                prop_assert!(rope.chunks_vectored(&mut slices) > 0);
                prop_assert_eq!(&*slices[0], rope.chunk());
                let count = step.min(rope.remaining());
                read.extend_from_slice(&rope.copy_to_bytes(count));
            }
            prop_assert_eq!(read, expected);
        }
    }
}
