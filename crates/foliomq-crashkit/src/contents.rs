//! What a file holds at one moment, page by page, sharing what did not change with other moments.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Bytes of a page.
pub(crate) const PAGE: usize = 4096;

/// A page.
pub(crate) type Page = Arc<[u8; PAGE]>;

/// Pages that are not there hold zeros.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contents {
    /// Bytes.
    pub(crate) len: u64,
    pages: Vec<Option<Page>>,
}

impl Contents {
    /// What `file` holds now. Pages that are as `before` are shared with it.
    pub(crate) fn read(file: &File, before: &Self) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let count = len.div_ceil(PAGE as u64) as usize;
        let mut pages = vec![None; count];
        let mut at = 0;
        while let Some(data) = next_data(file, at, len)? {
            at = data.end;
            let first = data.start as usize / PAGE;
            let mut bytes = vec![0; (data.end - first as u64 * PAGE as u64) as usize];
            let read = read_up_to(file, &mut bytes, first as u64 * PAGE as u64)?;
            for (n, chunk) in bytes[..read].chunks(PAGE).enumerate() {
                if let Some(page) = pages.get_mut(first + n) {
                    *page = shared(chunk, before.page(first + n));
                }
            }
        }
        Ok(Self { len, pages })
    }

    /// Whether both are the same moment's.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same = |(one, two): (&Option<Page>, &Option<Page>)| match (one, two) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (None, None) => true,
            _ => false,
        };
        self.len == other.len && self.pages.iter().zip(&other.pages).all(same)
    }

    pub(crate) fn page(&self, number: usize) -> Option<&Page> {
        self.pages.get(number)?.as_ref()
    }

    /// How many pages it may have.
    pub(crate) fn count(&self) -> usize {
        self.pages.len()
    }

    /// Takes over the pages that overlap `range` (bytes).
    pub(crate) fn take(&mut self, other: &Self, range: &Range<u64>) {
        let first = (range.start / PAGE as u64) as usize;
        let end = range.end.div_ceil(PAGE as u64).min(usize::MAX as u64) as usize;
        let end = end.min(self.count().max(other.count()));
        if self.count() < end {
            self.pages.resize(end, None);
        }
        for number in first..end {
            self.pages[number] = other.page(number).cloned();
        }
    }
}

/// The page with these bytes; the one before, if that has them.
fn shared(chunk: &[u8], before: Option<&Page>) -> Option<Page> {
    if let Some(before) = before
        && &before[..chunk.len()] == chunk
        && before[chunk.len()..].iter().all(|&byte| byte == 0)
    {
        return Some(before.clone());
    }
    if chunk.iter().all(|&byte| byte == 0) {
        return None;
    }
    let mut page = [0; PAGE];
    page[..chunk.len()].copy_from_slice(chunk);
    Some(Arc::new(page))
}

/// The next range of a file from `at` on that may hold anything but zeros.
fn next_data(file: &File, at: u64, len: u64) -> io::Result<Option<Range<u64>>> {
    if at >= len {
        return Ok(None);
    }
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some(start..end.min(len)).filter(|data| !data.is_empty()))
}

/// A file may be cut short by another thread meanwhile.
fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
