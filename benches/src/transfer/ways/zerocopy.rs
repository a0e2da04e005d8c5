//! `MSG_ZEROCOPY`: the kernel sends from the program's pages, and says on the error queue when it is done with them.

use std::io::IoSlice;
use std::net::TcpStream;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};

use crate::raw;
use crate::source::Piece;

use super::{Notices, Way, Wire};

/// `MSG_ZEROCOPY`, which rustix does not name.
const ZEROCOPY: SendFlags = SendFlags::from_bits_retain(0x400_0000);
/// Calls without an answer before the error queue is looked at.
const UNANSWERED: u64 = 16;

/// One `sendmsg` for all pieces of a batch.
#[derive(Debug)]
pub struct ZeroCopy {
    sent: u64,
    notices: Notices,
}

impl ZeroCopy {
    /// An error if the kernel does not know it.
    pub fn new(socket: &TcpStream) -> Result<Self> {
        raw::enable_zerocopy(socket).context("the kernel refuses SO_ZEROCOPY")?;
        Ok(Self {
            sent: 0,
            notices: Notices::default(),
        })
    }

    /// Reads every notice that is there.
    fn reap(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        loop {
            wire.calls += 1;
            let Some(completion) =
                raw::completion(wire.socket).context("reading the error queue")?
            else {
                return Ok(());
            };
            let calls = u64::from(completion.calls);
            self.notices.calls += calls;
            self.notices.copied += if completion.copied { calls } else { 0 };
        }
    }

    /// Sleeps until there is a notice. Errors are reported without being asked for.
    fn wait(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        let socket = wire.socket;
        wire.call(|| poll(&mut [PollFd::new(socket, PollFlags::empty())], None))?;
        self.reap(wire)
    }
}

impl Way for ZeroCopy {
    fn send(&mut self, wire: &mut Wire<'_>, pieces: &[Piece]) -> Result<()> {
        let (socket, source) = (wire.socket, wire.source);
        let mut slices: Vec<_> = pieces
            .iter()
            .map(|piece| IoSlice::new(source.bytes(piece)))
            .collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            let mut control = SendAncillaryBuffer::default();
            match wire.call(|| sendmsg(socket, left, &mut control, ZEROCOPY)) {
                Ok(sent) => {
                    self.sent += 1;
                    IoSlice::advance_slices(&mut left, sent);
                }
                // Too many calls without an answer, or too many pages held.
                Err(Errno::NOBUFS) if self.sent > self.notices.calls => self.wait(wire)?,
                Err(error) => return Err(error).context("sendmsg with MSG_ZEROCOPY"),
            }
        }
        if self.sent - self.notices.calls >= UNANSWERED {
            self.reap(wire)?;
        }
        Ok(())
    }

    fn finish(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        while self.notices.calls < self.sent {
            self.wait(wire)?;
        }
        Ok(())
    }

    fn notices(&self) -> Option<Notices> {
        Some(self.notices)
    }
}
