//! The ways from a stored message to a socket.

mod mapped;
mod read;
mod sendfile;
mod splice;
mod uring;
mod zerocopy;

use std::net::TcpStream;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::source::{Pattern, Piece, Source};

/// Most bytes of a batch of several pieces: what a way may gather, and the buffer of those that copy.
pub const BATCH_BYTES: usize = 256 << 10;
/// Most pieces of a batch.
pub const BATCH_PIECES: usize = 64;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `pread` into a buffer, `write` from it, for each piece.
    ReadWrite,
    /// `pread` for each piece, one `write` for all of a batch.
    ReadGathered,
    /// `sendfile` for each piece.
    Sendfile,
    /// `write` from the mapping, for each piece.
    MappedWrite,
    /// `writev` from the mapping, for all of a batch.
    MappedWritev,
    /// `splice` into a pipe for each piece, out of it for all of a batch.
    Splice,
    /// `sendmsg` with `MSG_ZEROCOPY` from the mapping, for all of a batch.
    ZeroCopy,
    /// io_uring `send` from the mapping, a request for each piece, one system call for all of a batch.
    UringSend,
    /// The same with `send_zc`.
    UringSendZc,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::ReadWrite,
        Self::ReadGathered,
        Self::Sendfile,
        Self::MappedWrite,
        Self::MappedWritev,
        Self::Splice,
        Self::ZeroCopy,
        Self::UringSend,
        Self::UringSendZc,
    ];

    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read + write",
            Self::ReadGathered => "read many + write",
            Self::Sendfile => "sendfile",
            Self::MappedWrite => "mmap + write",
            Self::MappedWritev => "mmap + writev",
            Self::Splice => "splice",
            Self::ZeroCopy => "mmap + MSG_ZEROCOPY",
            Self::UringSend => "mmap + io_uring send",
            Self::UringSendZc => "mmap + io_uring send_zc",
        }
    }

    /// Whether it is worth a run: in bulk a piece is as large as one likes, and to gather would be the same again.
    pub fn fits(self, pattern: Pattern) -> bool {
        pattern == Pattern::Scattered || !matches!(self, Self::ReadGathered | Self::MappedWritev)
    }

    /// Whether it differs from another for a message that is sent alone.
    pub fn fits_alone(self) -> bool {
        self.fits(Pattern::Bulk)
    }

    /// Makes it ready to send on `socket`, on the calling thread; an error says why the kernel refuses.
    pub fn ready(self, socket: &TcpStream) -> Result<Box<dyn Way>> {
        Ok(match self {
            Self::ReadWrite => Box::new(read::Read::new(false)),
            Self::ReadGathered => Box::new(read::Read::new(true)),
            Self::Sendfile => Box::new(sendfile::Sendfile),
            Self::MappedWrite => Box::new(mapped::Write),
            Self::MappedWritev => Box::new(mapped::Writev),
            Self::Splice => Box::new(splice::Splice::new()?),
            Self::ZeroCopy => Box::new(zerocopy::ZeroCopy::new(socket)?),
            Self::UringSend => Box::new(uring::Uring::new(false)?),
            Self::UringSendZc => Box::new(uring::Uring::new(true)?),
        })
    }
}

/// Sends pieces in order.
pub trait Way {
    /// Sends all `pieces`: at most [`BATCH_PIECES`], and of at most [`BATCH_BYTES`] unless there is only one.
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()>;

    /// Waits until the kernel has given back whatever it still holds.
    fn finish(&mut self, _wire: &mut Wire<'_>) -> Result<()> {
        Ok(())
    }

    /// What the kernel said about its zero-copy calls, if it says anything.
    fn notices(&self) -> Option<Notices> {
        None
    }
}

/// How many zero-copy calls the kernel answered, and how many of them it had copied after all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notices {
    /// Calls that were answered.
    pub calls: u64,
    /// Of these, copied.
    pub copied: u64,
}

/// The socket, what is sent on it, and how many system calls that took.
#[derive(Debug)]
pub struct Wire<'a> {
    /// The sender's end.
    pub socket: &'a TcpStream,
    /// Where the pieces are.
    pub source: &'a Source,
    /// System calls until now.
    pub calls: u64,
}

impl Wire<'_> {
    /// Makes one system call, and makes it again if a signal interrupts it.
    pub fn call<T>(
        &mut self,
        mut call: impl FnMut() -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        loop {
            self.calls += 1;
            match call() {
                Err(rustix::io::Errno::INTR) => {}
                result => return result,
            }
        }
    }

    /// `write` until all of `bytes` are in the socket.
    pub fn write_all(&mut self, mut bytes: &[u8]) -> Result<()> {
        let socket = self.socket;
        while !bytes.is_empty() {
            let sent = self.call(|| rustix::io::write(socket, bytes))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }
}
