//! The few words of the FUSE protocol that a folder of two files needs. Native byte order, version 7.31.

use std::io;

/// Bytes before each request's own.
const REQUEST_HEADER: usize = 40;
/// Bytes before each reply's own.
const REPLY_HEADER: usize = 16;
/// The largest write that the kernel hands over at once.
pub const MAX_WRITE: usize = 1 << 20;
/// What a buffer for requests must hold.
pub const REQUEST_MAX: usize = MAX_WRITE + 4096;

const VERSION: (u32, u32) = (7, 31);
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;
/// The file has no page cache of its own: each read and write of it is a request, at once.
const DIRECT_IO: u32 = 1;

/// What the kernel asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// The first request.
    Init,
    /// A name in the folder.
    Lookup(&'a [u8]),
    /// Size and kind of a node.
    Attributes,
    /// A file or folder is opened.
    Open,
    /// Bytes of a file.
    Read { offset: u64, len: usize },
    /// Bytes for a file.
    Write { offset: u64, bytes: &'a [u8] },
    /// What was written must be durable.
    Sync,
    /// A range shall read as zeros.
    Zero { offset: u64, len: u64 },
    /// Something that always succeeds, without an answer of its own.
    Accepted,
    /// Something that wants no reply.
    Silent,
    /// Anything else.
    Unknown,
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub id: u64,
    pub node: u64,
    pub operation: Operation<'a>,
}

impl<'a> Request<'a> {
    /// `None` for bytes that are no request.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(REQUEST_HEADER)?;
        Some(Self {
            id: u64_at(header, 8)?,
            node: u64_at(header, 16)?,
            operation: parse_operation(u32_at(header, 4)?, body)?,
        })
    }
}

fn parse_operation(code: u32, body: &[u8]) -> Option<Operation<'_>> {
    Some(match code {
        1 => Operation::Lookup(body.split(|&byte| byte == 0).next()?),
        2 | 36 | 42 => Operation::Silent,
        3 | 4 => Operation::Attributes,
        14 | 27 => Operation::Open,
        15 => Operation::Read {
            offset: u64_at(body, 8)?,
            len: u32_at(body, 16)? as usize,
        },
        16 => Operation::Write {
            offset: u64_at(body, 8)?,
            bytes: body.get(40..)?.get(..u32_at(body, 16)? as usize)?,
        },
        20 => Operation::Sync,
        26 => Operation::Init,
        43 => Operation::Zero {
            offset: u64_at(body, 8)?,
            len: u64_at(body, 16)?,
        },
        // Close, release of a file or folder, the end.
        18 | 25 | 29 | 38 => Operation::Accepted,
        _ => Operation::Unknown,
    })
}

/// A reply's bytes after its header.
#[derive(Debug, Default)]
pub struct Reply(Vec<u8>);

impl Reply {
    /// The version and sizes that both sides keep to.
    pub fn init() -> Self {
        let mut reply = Self::default();
        let read_ahead = 0;
        let words = [VERSION.0, VERSION.1, read_ahead, BIG_WRITES | MAX_PAGES];
        words.iter().for_each(|&word| reply.u32(word));
        let (background, congestion) = (64_u32, 48_u32);
        reply.u32(background | congestion << 16);
        reply.u32(MAX_WRITE as u32);
        let granularity = 1;
        reply.u32(granularity);
        reply.u32((MAX_WRITE / 4096) as u32);
        reply.zeros(32)
    }

    /// A name that is there.
    pub fn entry(node: u64, size: Option<u64>) -> Self {
        let mut reply = Self::default();
        reply.u64(node);
        reply.zeros(32).attributes_of(node, size)
    }

    /// A node's attributes: of a file of `size` bytes, or of the folder.
    pub fn attributes(node: u64, size: Option<u64>) -> Self {
        Self::default().zeros(16).attributes_of(node, size)
    }

    /// An open file.
    pub fn opened() -> Self {
        let mut reply = Self::default().zeros(8);
        reply.u32(DIRECT_IO);
        reply.zeros(4)
    }

    /// Bytes read.
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// How much was written.
    pub fn written(len: usize) -> Self {
        let mut reply = Self::default();
        reply.u32(len as u32);
        reply.zeros(4)
    }

    /// The whole reply to the request `id`.
    pub fn encode(id: u64, outcome: &io::Result<Self>) -> Vec<u8> {
        const UNSPECIFIC: i32 = 5; // EIO
        let (error, body) = match outcome {
            Ok(reply) => (0, reply.0.as_slice()),
            Err(error) => (-error.raw_os_error().unwrap_or(UNSPECIFIC), [].as_slice()),
        };
        let mut bytes = Vec::with_capacity(REPLY_HEADER + body.len());
        bytes.extend(((REPLY_HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(error.to_ne_bytes());
        bytes.extend(id.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    fn attributes_of(mut self, node: u64, size: Option<u64>) -> Self {
        const FOLDER: u32 = 0o040_700;
        const FILE: u32 = 0o100_600;
        self.u64(node);
        self.u64(size.unwrap_or(0));
        self.u64(size.unwrap_or(0).div_ceil(512));
        let times = 36;
        self = self.zeros(times);
        self.u32(if size.is_some() { FILE } else { FOLDER });
        let links = 1;
        self.u32(links);
        let owner_and_device = 12;
        self = self.zeros(owner_and_device);
        let block_size = 4096;
        self.u32(block_size);
        self.zeros(4)
    }

    fn u32(&mut self, word: u32) {
        self.0.extend(word.to_ne_bytes());
    }

    fn u64(&mut self, word: u64) {
        self.0.extend(word.to_ne_bytes());
    }

    fn zeros(mut self, count: usize) -> Self {
        self.0.resize(self.0.len() + count, 0);
        self
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_protocol() {
        let size = |reply: Reply| reply.0.len();
        assert_eq!(size(Reply::init()), 64);
        assert_eq!(size(Reply::entry(2, Some(1))), 128);
        assert_eq!(size(Reply::attributes(1, None)), 104);
        assert_eq!(size(Reply::opened()), 16);
        assert_eq!(size(Reply::written(3)), 8);
    }

    #[test]
    fn a_cut_request_is_none() {
        let mut bytes = vec![0; REQUEST_HEADER + 40 + 3];
        bytes[4..8].copy_from_slice(&16_u32.to_ne_bytes());
        bytes[REQUEST_HEADER + 8] = 7;
        bytes[REQUEST_HEADER + 16] = 3;
        let whole = Operation::Write {
            offset: 7,
            bytes: &[0; 3],
        };
        assert_eq!(Request::parse(&bytes).unwrap().operation, whole);
        for len in 0..bytes.len() {
            assert!(Request::parse(&bytes[..len]).is_none(), "{len}");
        }
    }
}
