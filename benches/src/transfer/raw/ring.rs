//! Sending through io_uring.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};

/// Requests of one submission.
const DEPTH: usize = 64;
/// Answers that fit: of each request two, and those of earlier ones that are late.
const ANSWERS: u32 = 1024;
/// `IORING_SEND_ZC_REPORT_USAGE`, and the bit by which it answers.
const REPORT_USAGE: u16 = 8;
const COPIED: u32 = 1 << 31;

/// A ring that only sends.
pub struct Ring {
    ring: IoUring,
    zero_copy: bool,
    /// Notices that are still to come.
    awaited: usize,
    /// Notices that came, and how many of them said that the kernel copied.
    noticed: (u64, u64),
    /// System calls.
    calls: u64,
}

impl Ring {
    /// A ring for the calling thread alone. The kernel may refuse it (`io_uring_disabled`, seccomp, too old).
    pub fn new(zero_copy: bool) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder
            .setup_single_issuer()
            .setup_submit_all()
            .setup_defer_taskrun()
            .setup_cqsize(ANSWERS);
        let ring = builder.build(DEPTH as u32)?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let wanted = if zero_copy {
            opcode::SendZc::CODE
        } else {
            opcode::Send::CODE
        };
        if !probe.is_supported(wanted) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the kernel's io_uring has no such request",
            ));
        }
        Ok(Self {
            ring,
            zero_copy,
            awaited: 0,
            noticed: (0, 0),
            calls: 0,
        })
    }

    /// Sends `pieces` in order, one request each, as many as fit per system call, and waits until the socket has all.
    pub fn send(&mut self, socket: impl AsFd, pieces: &[&[u8]]) -> io::Result<()> {
        let socket = socket.as_fd().as_raw_fd();
        let mut left = pieces.to_vec();
        while !left.is_empty() {
            let chain = left.len().min(DEPTH);
            let sent = self.send_chain(socket, &left[..chain])?;
            left.drain(..sent.whole);
            if let Some(first) = left.first_mut() {
                *first = &first[sent.part..];
            }
            match sent.refused {
                // Too many pages are held until the kernel gives some back.
                Some(libc::ENOMEM | libc::ENOBUFS) if self.awaited > 0 => {
                    self.enter(1)?;
                    self.answers(&mut []);
                }
                Some(code) => return Err(io::Error::from_raw_os_error(code)),
                None => {}
            }
        }
        Ok(())
    }

    /// A chain: each request begins when the one before has sent everything; the first that does not ends it.
    fn send_chain(&mut self, socket: i32, pieces: &[&[u8]]) -> io::Result<Sent> {
        for (index, piece) in pieces.iter().enumerate() {
            let linked = if index + 1 < pieces.len() {
                Flags::IO_LINK
            } else {
                Flags::empty()
            };
            let entry = self
                .entry(socket, piece)?
                .flags(linked)
                .user_data(index as u64);
            // SAFETY: the kernel only reads the piece, and all answers to this chain are awaited below before the borrow
            // ends; if the ring itself fails, the worst is wrong bytes on a socket that the caller then closes. Pages
            // that a zero-copy request still sends from are held by the kernel.
            unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        }
        let mut results = vec![None; pieces.len()];
        loop {
            let open = results.iter().filter(|result| result.is_none()).count();
            if open == 0 {
                return Ok(Sent::of(pieces, &results));
            }
            self.enter(open)?;
            self.answers(&mut results);
        }
    }

    fn entry(&self, socket: i32, piece: &[u8]) -> io::Result<Entry> {
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        let (socket, start) = (types::Fd(socket), piece.as_ptr());
        Ok(if self.zero_copy {
            opcode::SendZc::new(socket, start, length)
                .flags(libc::MSG_WAITALL)
                .zc_flags(REPORT_USAGE)
                .build()
        } else {
            opcode::Send::new(socket, start, length)
                .flags(libc::MSG_WAITALL)
                .build()
        })
    }

    /// Waits until the kernel has given all pages back.
    pub fn finish(&mut self) -> io::Result<()> {
        while self.awaited > 0 {
            self.enter(1)?;
            self.answers(&mut []);
        }
        Ok(())
    }

    /// System calls since the last time this was asked.
    pub fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }

    /// Notices that came, and how many of them said that the kernel copied.
    pub fn noticed(&self) -> (u64, u64) {
        self.noticed
    }

    /// An interrupted call is made again by the loops around it.
    fn enter(&mut self, wanted: usize) -> io::Result<()> {
        self.calls += 1;
        match self.ring.submit_and_wait(wanted) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes what came: notices, and the results of requests by their number.
    fn answers(&mut self, results: &mut [Option<i32>]) {
        for entry in self.ring.completion() {
            if cqueue::notif(entry.flags()) {
                self.awaited = self.awaited.saturating_sub(1);
                self.noticed.0 += 1;
                self.noticed.1 += u64::from(entry.result() as u32 & COPIED != 0);
                continue;
            }
            // A request that is refused announces a notice that may never come.
            let announced = cqueue::more(entry.flags()) && entry.result() >= 0;
            self.awaited += usize::from(announced);
            if let Some(result) = results.get_mut(entry.user_data() as usize) {
                *result = Some(entry.result());
            }
        }
    }
}

/// How far a chain came.
struct Sent {
    /// Pieces that were sent whole.
    whole: usize,
    /// Bytes of the next one.
    part: usize,
    /// Why nothing of that one was sent.
    refused: Option<i32>,
}

impl Sent {
    fn of(pieces: &[&[u8]], results: &[Option<i32>]) -> Self {
        let ends =
            |(piece, result): (&&[u8], &Option<i32>)| *result != i32::try_from(piece.len()).ok();
        let whole = pieces
            .iter()
            .zip(results)
            .position(ends)
            .unwrap_or(pieces.len());
        let left = results[whole..].iter().copied().flatten();
        let part = left.clone().next().unwrap_or(0).max(0) as usize;
        // The kernel cancels a chain of which one request is refused, also those before it.
        let errors = left.filter(|result| *result < 0).map(|result| -result);
        let refused = errors
            .clone()
            .find(|code| *code != libc::ECANCELED)
            .or_else(|| errors.clone().next());
        // A request that was cut short cancels the rest as well: that is no refusal.
        Self {
            whole,
            part,
            refused: refused.filter(|_| part == 0),
        }
    }
}
