//! The one who puts entries, and gives back what is no longer needed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use crate::entry::{Entry, MARK, QueueNumber, WORDS};
use crate::error::IndexError;
use crate::expiry::Expiry;
use crate::extent::{Extent, LAST_CLASS};
use crate::page::{Cell, Next, Page, QUEUES};
use crate::pool::Pool;
use crate::queues::{Pages, place};

/// What only one thread at a time works with.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) pool: Pool,
    pub(crate) expiry: Expiry,
    /// The cells of each page, to put by without the page's lock.
    pub(crate) cells: Vec<Option<Arc<[Cell]>>>,
}

/// Puts entries, one after the other, for as long as it is held. Meanwhile readers go on, and flushes, trims and removals
/// wait.
#[derive(Debug)]
pub struct Writer<'a> {
    pub(crate) pages: &'a Pages,
    pub(crate) state: MutexGuard<'a, State>,
}

impl Writer<'_> {
    /// Adds the entry of `offset`. The first put of an empty queue may be any offset; a repeat of one that is there is
    /// ignored (the log is the same, so the entry is).
    ///
    /// # Errors
    ///
    /// [`IndexError::Gap`] if an offset is left out, `Io` if no file can be made for it.
    #[inline]
    pub fn put(&mut self, queue: QueueNumber, offset: u64, entry: Entry) -> Result<(), IndexError> {
        if self.put_in_room(queue, offset, entry) {
            return Ok(());
        }
        if self.make_room(queue, offset, entry.position)? && !self.put_in_room(queue, offset, entry)
        {
            return Err(IndexError::Gap {
                queue,
                expected: self.end(queue),
                offset,
            });
        }
        Ok(())
    }

    /// Adds the entry if it is the next of its queue, and the last extent has room.
    #[inline]
    fn put_in_room(&mut self, queue: QueueNumber, offset: u64, entry: Entry) -> bool {
        let (page, index) = place(queue);
        let State { pool, cells, .. } = &mut *self.state;
        let Some(Some(cells)) = cells.get(page) else {
            return false;
        };
        let cell = &cells[index];
        let next = cell.next();
        if !next.is_ready() || cell.end.load(Ordering::Relaxed) != offset {
            return false;
        }
        let Some(words) = pool.files.get(next.file()) else {
            return false;
        };
        let at = next.slot() * WORDS;
        let values = entry.to_words(queue, offset);
        for word in [0, 2, 3, MARK] {
            words.store(at + word, values[word]);
        }
        pool.mark_dirty(next.file());
        cell.set_next(next.after());
        cell.end.store(offset + 1, Ordering::Release);
        true
    }

    fn end(&self, queue: QueueNumber) -> u64 {
        let (page, index) = place(queue);
        let cells = self.state.cells.get(page).and_then(Option::as_ref);
        cells.map_or(0, |cells| cells[index].end.load(Ordering::Relaxed))
    }

    /// Sees to it that the queue has room for `offset`, unless that is there already (`false`) or not the next.
    fn make_room(
        &mut self,
        queue: QueueNumber,
        offset: u64,
        position: u64,
    ) -> Result<bool, IndexError> {
        let (number, index) = place(queue);
        let mut slot = self.pages.grow_to(number).write();
        let state = &mut *self.state;
        let page = slot.get_or_insert_with(|| state.add_page(number));
        let cell = &page.cells[index];
        let (end, next) = (cell.end.load(Ordering::Relaxed), cell.next());
        let last = page.extents[index].as_slice().last().copied();
        if last.is_some() && offset != end {
            return Ok(offset > end);
        }
        if next.is_dormant() {
            state.expiry.add(queue, position);
            cell.set_next(next.awake());
        }
        if next.room() > 0 {
            return Ok(true);
        }
        let class = last.map_or(0, |last: Extent| (last.place.class() + 1).min(LAST_CLASS));
        let extent = state.pool.allocate(queue, offset, class)?;
        page.extents[index].push(extent);
        match last {
            Some(_) => cell.set_next(Next::of(&extent, offset)),
            None => {
                state.expiry.add(queue, position);
                cell.set(offset..offset, Next::of(&extent, offset));
            }
        }
        Ok(true)
    }

    /// Forgets a queue and frees its room.
    pub(crate) fn remove(&mut self, queue: QueueNumber) {
        let (number, index) = place(queue);
        let Some(slot) = self.pages.get(number) else {
            return;
        };
        let mut slot = slot.write();
        let Some(page) = slot.as_mut() else { return };
        let extents = std::mem::take(&mut page.extents[index]);
        let places = extents.as_slice().iter().map(|extent| extent.place);
        places.for_each(|place| self.state.pool.release(place));
        page.cells[index].set(0..0, Next::NONE);
        if page.is_unused() {
            *slot = None;
            self.state.cells[number] = None;
        }
    }

    /// Frees what of the queue lies below `log_start`, and lists it for the next time. Returns its end if nothing of it
    /// is left.
    pub(crate) fn trim(&mut self, queue: QueueNumber, log_start: u64) -> Option<u64> {
        let (number, index) = place(queue);
        let mut slot = self.pages.get(number)?.write();
        let page = slot.as_mut()?;
        let State { pool, expiry, .. } = &mut *self.state;
        if page.extents[index].as_slice().is_empty() {
            return None;
        }
        let view = page.view(queue, &pool.files, log_start);
        let (offsets, expired) = (view.offsets(), view.expired());
        let freed = page.extents[index].take_front(expired);
        freed.iter().for_each(|extent| pool.release(extent.place));
        let cell = &page.cells[index];
        cell.start.store(offsets.start, Ordering::Release);
        if offsets.is_empty() {
            // One that was removed and came back may be listed twice; it is emptied once.
            let already = cell.next().is_dormant();
            cell.set_next(cell.next().dormant());
            return (!already).then_some(offsets.end);
        }
        let due = page.view(queue, &pool.files, log_start).next_expiry();
        expiry.add(queue, due);
        None
    }
}

impl State {
    /// A new page, whose cells the writer knows.
    pub(crate) fn add_page(&mut self, number: usize) -> Page {
        let page = Page::default();
        if self.cells.len() <= number {
            self.cells.resize(number + 1, None);
        }
        self.cells[number] = Some(page.cells.clone());
        page
    }
}

const _: () = assert!(QUEUES.is_power_of_two());
