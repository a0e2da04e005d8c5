//! The pieces of a rope.

use std::collections::VecDeque;

use bytes::Bytes;

/// Bytes one after the other; none of them are empty.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// It is a page of the log.
    pub(crate) pinned: bool,
}

/// Pieces in order. The first stands by itself: most ropes have no other, and so need no memory for a list.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    /// Of none there are no others.
    first: Option<Piece>,
    others: VecDeque<Piece>,
}

impl Pieces {
    pub(crate) fn push_back(&mut self, piece: Piece) {
        match self.first {
            None => self.first = Some(piece),
            Some(_) => self.others.push_back(piece),
        }
    }

    pub(crate) fn push_front(&mut self, piece: Piece) {
        if let Some(second) = self.first.replace(piece) {
            self.others.push_front(second);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<Piece> {
        std::mem::replace(&mut self.first, self.others.pop_front())
    }

    pub(crate) fn front(&self) -> Option<&Piece> {
        self.first.as_ref()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut Piece> {
        self.first.as_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.first.iter().chain(&self.others)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Piece> {
        self.first.iter_mut().chain(&mut self.others)
    }
}
