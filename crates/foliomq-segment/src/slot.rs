//! A range of a log that its holder alone may write.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::publication::Publication;

/// Memory of the log that its holder alone may write, and nobody reads before it is published.
#[derive(Debug)]
pub struct Space<'a> {
    start: NonNull<u8>,
    len: usize,
    life: PhantomData<&'a mut [u8]>,
}

// SAFETY: a space is an exclusive borrow of plain bytes, like `&mut [u8]`.
unsafe impl Send for Space<'_> {}

impl<'a> Space<'a> {
    /// # Safety
    ///
    /// For `'a` the `len` bytes at `start` are mapped and writable, and nobody else reads or writes them.
    pub(crate) unsafe fn new(start: NonNull<u8>, len: usize) -> Self {
        let life = PhantomData;
        Self { start, len, life }
    }

    /// The same bytes for another time.
    ///
    /// # Safety
    ///
    /// As [`new`](Self::new), for the life of `_keeper`.
    pub(crate) unsafe fn for_as_long_as<'b>(self, _keeper: &'b Publication) -> Space<'b> {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { Space::new(self.start, self.len) }
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is in it now.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the memory is mapped and initialised (a file's, or zeros), and nobody writes it while `self`, its
        // only holder, is borrowed.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// Copies `bytes` to `at`, counted from the space's start. Panics if they do not fit.
    #[inline]
    pub fn write(&mut self, at: usize, bytes: &[u8]) {
        let fits = at <= self.len && bytes.len() <= self.len - at;
        assert!(fits, "a write of {} bytes past its slot", bytes.len());
        // SAFETY: the range lies in the space, which is the holder's alone. `bytes` cannot lie in it: a slice of it borrows
        // `self`. The blocks behind it are reserved, so that a store finds a page.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.start.as_ptr().add(at), bytes.len())
        }
    }
}

/// A range of the log that its holder alone may write, until it is published.
///
/// Dropped without [`publish`](Self::publish) it poisons the log: what follows could never be read.
#[derive(Debug)]
#[must_use = "a slot that is dropped unpublished poisons the log"]
pub struct Slot<'a> {
    publication: &'a Publication,
    space: Space<'a>,
    sequence: u64,
    end: u64,
    published: bool,
}

impl<'a> Slot<'a> {
    pub(crate) fn new(
        publication: &'a Publication,
        space: Space<'a>,
        sequence: u64,
        end: u64,
    ) -> Self {
        Self {
            publication,
            space,
            sequence,
            end,
            published: false,
        }
    }

    /// Position of its first byte.
    pub fn position(&self) -> u64 {
        self.end - self.space.len() as u64
    }

    /// The memory to write. Borrowed from the slot, so that it is gone when the slot is published.
    pub fn space(&mut self) -> Space<'_> {
        // SAFETY: the slot's own space, for as long as the slot is borrowed exclusively.
        unsafe { Space::new(self.space.start, self.space.len) }
    }

    /// Makes the slot readable once all before it are.
    pub fn publish(mut self) {
        self.published = true;
        self.publication.publish(self.sequence, self.end);
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        if !self.published {
            self.publication.poison();
        }
    }
}
