//! Counting the messages of a gRPC stream without decoding, or even gathering, what is in them.

use crate::call::PREFIX;

/// Goes over the bytes of a stream of gRPC messages, in pieces of any size, and counts one field of theirs.
#[derive(Debug)]
pub struct Walk {
    /// Number of the field.
    wanted: u64,
    at: At,
    /// Bytes of the present gRPC message that are still to come.
    left: usize,
    found: u64,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy)]
enum At {
    /// The prefix: so many of its bytes are read, and the length so far.
    Prefix(usize, u32),
    /// A key, with so many bits read.
    Key(u64, u32),
    /// The length of the field that is counted (or not).
    Len(bool, u64, u32),
    /// A number, whose bytes are passed over.
    Varint,
    /// So many bytes of content.
    Content(usize),
}

impl Walk {
    /// Counts the fields with this number.
    pub fn new(wanted: u32) -> Self {
        Self {
            wanted: wanted.into(),
            at: At::Prefix(0, 0),
            left: 0,
            found: 0,
        }
    }

    /// How many there were so far.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// Goes over the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&first, rest)) = bytes.split_first() {
            if let At::Content(len) = self.at {
                let step = len.min(bytes.len());
                bytes = &bytes[step..];
                self.pass(step);
                self.at = At::Content(len - step);
                if len == step {
                    self.next_field();
                }
                continue;
            }
            bytes = rest;
            self.byte(first);
        }
    }

    fn byte(&mut self, byte: u8) {
        let (more, bits) = (byte & 0x80 != 0, u64::from(byte & 0x7F));
        if let At::Prefix(read, len) = self.at {
            return self.prefix(byte, read, len);
        }
        self.pass(1);
        match self.at {
            At::Key(key, shift) if more => self.at = At::Key(key | bits << shift, shift_on(shift)),
            At::Key(key, shift) => self.field(key | bits << shift),
            At::Len(count, len, shift) if more => {
                self.at = At::Len(count, len | bits << shift, shift_on(shift));
            }
            At::Len(count, len, shift) => {
                self.found += u64::from(count);
                self.at = At::Content((len | bits << shift) as usize);
                if len | bits << shift == 0 {
                    self.next_field();
                }
            }
            At::Varint if !more => self.next_field(),
            At::Varint | At::Prefix(..) | At::Content(_) => {}
        }
        if self.left == 0 {
            self.at = At::Prefix(0, 0);
        }
    }

    fn prefix(&mut self, byte: u8, read: usize, len: u32) {
        // The first byte says whether the message is compressed; nobody asked for that.
        let len = if read == 0 {
            0
        } else {
            len << 8 | u32::from(byte)
        };
        self.at = At::Prefix(read + 1, len);
        if read + 1 == PREFIX {
            self.left = len as usize;
            self.next_field();
        }
    }

    /// By the wire type, the three low bits of a key.
    fn field(&mut self, key: u64) {
        self.at = match key & 7 {
            0 => At::Varint,
            1 => At::Content(8),
            2 => At::Len(key >> 3 == self.wanted, 0, 0),
            5 => At::Content(4),
            // Groups are not used; the rest of the message is passed over.
            _ => At::Content(self.left),
        };
    }

    fn pass(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    fn next_field(&mut self) {
        self.at = match self.left {
            0 => At::Prefix(0, 0),
            _ => At::Key(0, 0),
        };
    }
}

/// A number has at most ten bytes; what follows is no number, and must not shift too far.
fn shift_on(shift: u32) -> u32 {
    (shift + 7).min(63)
}

#[cfg(test)]
mod tests {
    use foliomq_proto::v1::{Delivered, Settled, SubscribeResponse};
    use foliomq_proto::v2::Message;
    use proptest::prelude::*;

    use super::*;
    use crate::encoded::frame;

    proptest! {
        #[test]
        fn every_delivery_is_counted_however_the_stream_is_cut(
            responses in prop::collection::vec((prop::collection::vec(0..300usize, 0..9), 0..3u64), 1..12),
            cuts in prop::collection::vec(1..200usize, 1..40),
        ) {
            let mut stream = Vec::new();
            for (bodies, settled) in &responses {
                let delivery = |len: &usize| Delivered {
                    queue_offset: *len as u64,
                    message: Some(Message { body: vec![9; *len].into(), ..Message::default() }),
                    ..Delivered::default()
                };
                let response = SubscribeResponse {
                    deliveries: bodies.iter().map(delivery).collect(),
                    settled: (0..*settled).map(|id| Settled { id, ..Settled::default() }).collect(),
                    ..SubscribeResponse::default()
                };
                stream.extend_from_slice(&frame(&response));
            }
            let (mut walk, mut rest, mut cuts) = (Walk::new(1), &stream[..], cuts.iter().cycle());
            while !rest.is_empty() {
                let cut = (*cuts.next().unwrap()).min(rest.len());
                walk.feed(&rest[..cut]);
                rest = &rest[cut..];
            }
            let sent: usize = responses.iter().map(|(bodies, _)| bodies.len()).sum();
            prop_assert_eq!(walk.found(), sent as u64);
        }

        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
            Walk::new(2).feed(&bytes);
        }
    }
}
