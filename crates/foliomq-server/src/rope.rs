//! Bytes in several pieces, which go out in one `writev`.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use crate::pieces::{Piece, Pieces};
use crate::unsent::Unsent;
use crate::wire::{Share, Wire};

/// A sequence of byte slices, none of them copied: the data type of every response body.
#[derive(Debug, Default)]
pub(crate) struct Rope {
    pieces: Pieces,
    remaining: usize,
    /// Bytes of the pieces that are pages.
    pinned: usize,
    /// Whose bytes these are; given back if the rope is dropped before its end.
    unsent: Option<Unsent>,
    share: Option<Share>,
}

impl Rope {
    /// Adds a piece; an empty one is left out.
    fn push(&mut self, bytes: Bytes, pinned: bool) {
        if !bytes.is_empty() {
            self.remaining += bytes.len();
            self.pinned += if pinned { bytes.len() } else { 0 };
            self.pieces.push_back(Piece { bytes, pinned });
        }
    }

    /// Counted from here on, until it is dropped.
    pub(crate) fn counted(mut self, wire: &Arc<Wire>) -> Self {
        if self.share.is_none() {
            self.share = Some(Share::new(wire.clone(), self.remaining, self.pinned));
        }
        self
    }

    /// The first `count` bytes, at most all. The deliveries stay with the last of them.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        if count >= self.remaining {
            return std::mem::take(self);
        }
        let mut first = Self::default();
        while let Some(mut piece) = self.pieces.pop_front() {
            let left = count - first.remaining;
            if piece.bytes.len() > left {
                let bytes = piece.bytes.split_to(left);
                first.push(bytes, piece.pinned);
                self.pieces.push_front(piece);
                break;
            }
            first.push(piece.bytes, piece.pinned);
        }
        self.remaining -= first.remaining;
        self.pinned -= first.pinned;
        let share = |share: &mut Share| share.split(first.remaining, first.pinned);
        first.share = self.share.as_mut().map(share);
        first
    }

    /// Copies what are pages of the log, and lets go of these.
    pub(crate) fn unpin(&mut self) {
        for piece in self.pieces.iter_mut().filter(|piece| piece.pinned) {
            piece.bytes = Bytes::copy_from_slice(&piece.bytes);
            piece.pinned = false;
        }
        self.pinned = 0;
        if let Some(share) = &mut self.share {
            share.unpin();
        }
    }

    /// Bytes that are pages of the log.
    #[cfg(test)]
    pub(crate) fn pinned(&self) -> usize {
        self.pinned
    }

    /// The pieces not yet consumed.
    #[cfg(test)]
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Bytes> {
        self.pieces.iter().map(|piece| &piece.bytes)
    }
}

impl From<Bytes> for Rope {
    fn from(piece: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(piece, false);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| &piece.bytes)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for (slot, piece) in out.iter_mut().zip(self.pieces.iter()) {
            *slot = IoSlice::new(&piece.bytes);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, count: usize) {
        assert!(
            count <= self.remaining,
            "advance by {count} of {}",
            self.remaining
        );
        let (mut left, mut pinned) = (count, 0);
        while left > 0 {
            let Some(front) = self.pieces.front_mut() else {
                break;
            };
            let step = left.min(front.bytes.len());
            front.bytes.advance(step);
            pinned += if front.pinned { step } else { 0 };
            left -= step;
            if front.bytes.is_empty() {
                // Lets go of the page as soon as it is written.
                self.pieces.pop_front();
            }
        }
        self.remaining -= count;
        self.pinned -= pinned;
        if let Some(share) = &mut self.share {
            share.shrink(count, pinned);
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

    /// Adds a piece by reference, which may be a page of the log.
    pub(crate) fn push(&mut self, piece: Bytes, pinned: bool) {
        self.rope.push(self.scratch.split().freeze(), false);
        self.rope.push(piece, pinned);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.rope.remaining + self.scratch.len()
    }

    /// The rope, which carries these deliveries.
    pub(crate) fn finish(mut self, unsent: Option<Unsent>) -> Rope {
        self.rope.push(self.scratch.freeze(), false);
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
                if n % 2 == 0 { builder.push(piece.into(), true) } else { builder.scratch().extend_from_slice(&piece) }
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

        /// Cut, copied, written in part or dropped: what is counted is what is there.
        #[test]
        fn the_parts_of_a_rope_are_counted_until_each_is_gone(pieces in prop::collection::vec((1..50usize, any::<bool>()), 1..20), steps in prop::collection::vec((0..90usize, 0..4u8), 0..20)) {
            let wire = Arc::new(Wire::default());
            let mut builder = RopeBuilder::default();
            let mut expected = Vec::new();
            for (n, (len, pinned)) in pieces.into_iter().enumerate() {
                let piece = vec![n as u8; len];
                expected.extend_from_slice(&piece);
                builder.push(piece.into(), pinned);
            }
            let mut rope = builder.finish(None).counted(&wire);
            let (mut parts, mut read): (Vec<Rope>, Vec<u8>) = (Vec::new(), Vec::new());
            for (count, what) in steps {
                match what {
                    0 if !rope.has_remaining() => {}
                    0 => parts.push(rope.split_to(count)),
                    1 => rope.unpin(),
                    2 => if let Some(first) = parts.first_mut() {
                        let count = count.min(first.remaining());
                        read.extend_from_slice(&first.copy_to_bytes(count));
                        if !first.has_remaining() { parts.remove(0); }
                    },
                    _ => {}
                }
                let all = || parts.iter().chain([&rope]);
                prop_assert_eq!(wire.unread(), all().map(|rope| rope.remaining() as u64).sum::<u64>());
                prop_assert_eq!(wire.pinned(), all().map(|rope| rope.pinned() as u64).sum::<u64>());
            }
            for mut part in parts.into_iter().chain([rope]) {
                read.extend_from_slice(&part.copy_to_bytes(part.remaining()));
            }
            prop_assert_eq!(read, expected);
            prop_assert_eq!((wire.unread(), wire.pinned()), (0, 0));
        }
    }
}
