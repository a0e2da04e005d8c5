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
        pieces
            .chunks(DEPTH)
            .try_for_each(|chunk| self.send_chain(socket.as_fd().as_raw_fd(), chunk))
    }

    /// A chain: each request begins when the one before has sent everything.
    fn send_chain(&mut self, socket: i32, pieces: &[&[u8]]) -> io::Result<()> {
        for (index, piece) in pieces.iter().enumerate() {
            let entry = self.entry(socket, piece)?;
            let linked = if index + 1 < pieces.len() {
                Flags::IO_LINK
            } else {
                Flags::empty()
            };
            // SAFETY: the kernel only reads the piece, and `wait` sees the answer to this request before the borrow
            // ends; if the ring itself fails, the worst is wrong bytes on a socket that the caller then closes. Pages
            // that a zero-copy request still sends from are held by the kernel.
            unsafe { self.ring.submission().push(&entry.flags(linked)) }
                .map_err(io::Error::other)?;
        }
        self.wait(pieces)
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

    /// Submits, and waits for as many answers as there are pieces, whatever they say.
    fn wait(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        let (mut left, mut sent, mut failed) = (pieces.len(), 0, None);
        while left > 0 {
            self.enter(left)?;
            for answer in self.answers() {
                match answer {
                    Answer::Sent(bytes) => (left, sent) = (left - 1, sent + bytes),
                    Answer::Failed(code) => (left, failed) = (left - 1, failed.or(Some(code))),
                }
            }
        }
        let asked: usize = pieces.iter().map(|piece| piece.len()).sum();
        match failed {
            Some(code) => Err(io::Error::from_raw_os_error(code)),
            None if sent != asked => Err(io::ErrorKind::WriteZero.into()),
            None => Ok(()),
        }
    }

    /// Waits until the kernel has given all pages back.
    pub fn finish(&mut self) -> io::Result<()> {
        while self.awaited > 0 {
            self.enter(1)?;
            self.answers();
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

    fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(DEPTH);
        for entry in self.ring.completion() {
            if cqueue::notif(entry.flags()) {
                self.awaited -= 1;
                self.noticed.0 += 1;
                self.noticed.1 += u64::from(entry.result() as u32 & COPIED != 0);
                continue;
            }
            self.awaited += usize::from(cqueue::more(entry.flags()));
            answers.push(match entry.result() {
                code if code < 0 => Answer::Failed(-code),
                bytes => Answer::Sent(bytes as usize),
            });
        }
        answers
    }
}

/// What became of one request.
enum Answer {
    Sent(usize),
    Failed(i32),
}
