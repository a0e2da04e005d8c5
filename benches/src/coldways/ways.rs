//! The ways to read a block of a file that is not in memory, and to be done with it.

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use foliomq_benches::payload::touch;
use rustix::fs::{Advice as FileAdvice, OFlags, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use rustix::mm::Advice;

use crate::raw::Mapping;

/// Bytes that are read at a time: the store's block.
pub const BLOCK: usize = 256 << 10;
/// Blocks that stay in memory behind the reader where a way gives them back: 64 MiB, the store's default.
const KEPT: usize = 256;
/// `RWF_DONTCACHE` of `linux/fs.h` (Linux 6.14): the page cache drops what was read once it was copied.
const DONT_CACHE: u32 = 0x80;
/// Memory for `O_DIRECT` is aligned to a page.
const ALIGNED: usize = 4096;

/// A way to read history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Touch it: a page fault brings in what the device's read-ahead takes.
    Fault,
    /// Populate each block, and leave the rest to the kernel.
    Populate,
    /// Populate, and give back what is 64 MiB behind: unmapped, and dropped from the page cache. The store's way.
    GiveBack,
    /// Populate, and call what is behind cold: `MADV_COLD`.
    Cold,
    /// Populate, and have what is behind reclaimed: `MADV_PAGEOUT`.
    PageOut,
    /// `pread` into a buffer.
    Read,
    /// The same by `RWF_DONTCACHE`.
    ReadUncached,
    /// The same by `O_DIRECT`.
    ReadDirect,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Fault,
        Self::Populate,
        Self::GiveBack,
        Self::Cold,
        Self::PageOut,
        Self::Read,
        Self::ReadUncached,
        Self::ReadDirect,
    ];

    /// As the page calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fault => "touch, page by page",
            Self::Populate => "populate",
            Self::GiveBack => "populate, give back 64 MiB later (the store)",
            Self::Cold => "populate, `MADV_COLD` 64 MiB later",
            Self::PageOut => "populate, `MADV_PAGEOUT` 64 MiB later",
            Self::Read => "`pread`",
            Self::ReadUncached => "`preadv2(RWF_DONTCACHE)`",
            Self::ReadDirect => "`pread` with `O_DIRECT`",
        }
    }

    /// Reads the file once from front to back, each byte line touched.
    pub fn scan(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Read | Self::ReadUncached | Self::ReadDirect => self.copy(path),
            _ => self.map(path),
        }
    }

    fn map(self, path: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        let mapping = Mapping::of(&file)?;
        let blocks = mapping.bytes().len() / BLOCK;
        for block in 0..blocks {
            let start = block * BLOCK;
            if self != Self::Fault {
                fadvise(&file, start as u64, length(), FileAdvice::WillNeed)?;
                mapping.advise(Advice::LinuxPopulateRead, start..start + BLOCK)?;
            }
            black_box(touch(&mapping.bytes()[start..start + BLOCK]));
            if let Some(behind) = block.checked_sub(KEPT) {
                self.leave(&file, &mapping, behind * BLOCK)?;
            }
        }
        Ok(())
    }

    /// Is done with the block at `start`.
    fn leave(self, file: &File, mapping: &Mapping, start: usize) -> io::Result<()> {
        match self {
            Self::GiveBack => {
                mapping.advise(Advice::LinuxDontNeed, start..start + BLOCK)?;
                Ok(fadvise(file, start as u64, length(), FileAdvice::DontNeed)?)
            }
            Self::Cold => mapping.advise(Advice::LinuxCold, start..start + BLOCK),
            Self::PageOut => mapping.advise(Advice::LinuxPageOut, start..start + BLOCK),
            _ => Ok(()),
        }
    }

    fn copy(self, path: &Path) -> io::Result<()> {
        let direct = match self {
            Self::ReadDirect => OFlags::DIRECT.bits().cast_signed(),
            _ => 0,
        };
        let file = File::options().read(true).custom_flags(direct).open(path)?;
        let mut memory = vec![0; BLOCK + ALIGNED];
        let skip = memory.as_ptr().align_offset(ALIGNED);
        let buffer = &mut memory[skip..skip + BLOCK];
        let blocks = file.metadata()?.len() / BLOCK as u64;
        for block in 0..blocks {
            self.fill(&file, block * BLOCK as u64, buffer)?;
            black_box(touch(buffer));
        }
        Ok(())
    }

    fn fill(self, file: &File, start: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self != Self::ReadUncached {
            return file.read_exact_at(buffer, start);
        }
        let flags = ReadWriteFlags::from_bits_retain(DONT_CACHE);
        let mut filled = 0;
        while filled < buffer.len() {
            let room = io::IoSliceMut::new(&mut buffer[filled..]);
            match preadv2(file, &mut [room], start + filled as u64, flags)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => filled += read,
            }
        }
        Ok(())
    }
}

/// [`BLOCK`], as a file's advice wants it.
fn length() -> Option<NonZeroU64> {
    NonZeroU64::new(BLOCK as u64)
}
