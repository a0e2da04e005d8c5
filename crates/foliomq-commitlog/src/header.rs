//! The fixed header of a record: layout, encoding, checks. `docs/format.md` is its description.

use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of the header.
pub const HEADER: usize = 64;
/// Records begin at multiples of this.
pub const ALIGN: u64 = 8;
/// The longest topic, bytes.
pub const MAX_TOPIC: usize = 255;
/// The longest message, bytes.
pub const MAX_MESSAGE: u64 = u32::MAX as u64 / 2;

/// The first bytes of a record.
pub(crate) const MAGIC: [u8; 4] = *b"FOLI";
const VERSION: u8 = 1;
/// The checksum's place in the header; it covers everything but itself.
pub(crate) const CRC: std::ops::Range<usize> = 12..16;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A message of a topic.
    Message = 1,
    /// Makes something of earlier records, for the layers above.
    Control = 2,
    /// Fills a segment to its end, or covers a damaged stretch. Readers skip it.
    Filler = 3,
    /// A message that is in no queue before a control record puts it there.
    Hidden = 4,
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Message),
            2 => Some(Self::Control),
            3 => Some(Self::Filler),
            4 => Some(Self::Hidden),
            _ => None,
        }
    }
}

/// The fields of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the record is for.
    pub kind: Kind,
    /// Bytes of the topic.
    pub topic_len: u16,
    /// Bytes of the record: header, topic, message, padding.
    pub size: u32,
    /// CRC-32C of the record without this field. Of a filler: of its header only.
    pub crc: u32,
    /// Where the record says that it is.
    pub position: u64,
    /// Incarnation of the log that wrote it.
    pub generation: u64,
    /// For replication; 0 today.
    pub term: u64,
    /// Unix milliseconds.
    pub store_time: u64,
    /// Place in its queue.
    pub queue_offset: u64,
    /// Queue within the topic.
    pub queue_id: u32,
    /// Bytes of the message.
    pub message_len: u32,
}

impl Header {
    /// A header that fills `size` bytes at `position`.
    pub(crate) fn filler(position: u64, size: u32, generation: u64, store_time: u64) -> Self {
        Self {
            kind: Kind::Filler,
            topic_len: 0,
            size,
            crc: 0,
            position,
            generation,
            term: 0,
            store_time,
            queue_offset: 0,
            queue_id: 0,
            message_len: 0,
        }
    }

    /// The header's bytes with the checksum of a record that is nothing but this header: a filler.
    pub(crate) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = self.fields();
        let checksum = checksum(&bytes).to_le_bytes();
        bytes[CRC].copy_from_slice(&checksum);
        bytes
    }

    /// The header's bytes, with 0 in the checksum's place.
    pub(crate) fn fields(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[6..8].copy_from_slice(&self.topic_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.position.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.term.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.store_time.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.queue_offset.to_le_bytes());
        bytes[56..60].copy_from_slice(&self.queue_id.to_le_bytes());
        bytes[60..64].copy_from_slice(&self.message_len.to_le_bytes());
        bytes
    }

    /// Reads a header that should stand at `position` with `room` bytes to the segment's end, and checks all that can
    /// be checked without the rest of the record.
    pub(crate) fn parse(bytes: &[u8; HEADER], position: u64, room: u64) -> Result<Self, String> {
        let magic = &bytes[..MAGIC.len()];
        if magic != MAGIC {
            return Err(format!("magic number is {magic:02x?}, not {MAGIC:02x?}"));
        }
        if bytes[4] != VERSION {
            return Err(format!(
                "format version is {}, this program reads {VERSION}",
                bytes[4]
            ));
        }
        let kind = Kind::parse(bytes[5]).ok_or_else(|| format!("kind {} is unknown", bytes[5]))?;
        let header = Self {
            kind,
            topic_len: u16::from_le_bytes([bytes[6], bytes[7]]),
            size: word(bytes, 8),
            crc: word(bytes, CRC.start),
            position: long(bytes, 16),
            generation: long(bytes, 24),
            term: long(bytes, 32),
            store_time: long(bytes, 40),
            queue_offset: long(bytes, 48),
            queue_id: word(bytes, 56),
            message_len: word(bytes, 60),
        };
        header.check(position, room).map(|()| header)
    }

    fn check(&self, position: u64, room: u64) -> Result<(), String> {
        if self.position != position {
            return Err(format!(
                "the record says it is at position {}",
                self.position
            ));
        }
        let content = record_size(u64::from(self.topic_len), u64::from(self.message_len));
        let size = u64::from(self.size);
        let fits = match self.kind {
            Kind::Filler => content == HEADER as u64 && filler_fits(size, room),
            _ => content == size && size <= room,
        };
        if !fits || usize::from(self.topic_len) > MAX_TOPIC {
            let (topic, message) = (self.topic_len, self.message_len);
            return Err(format!(
                "size {size} does not fit: topic {topic}, message {message}, room {room}"
            ));
        }
        Ok(())
    }

    /// Bytes from the record's start to the next one's.
    pub(crate) fn span(&self, room: u64) -> u64 {
        match self.kind {
            Kind::Filler if self.size == 0 => room,
            _ => u64::from(self.size),
        }
    }

    /// Bytes that the checksum covers, from the record's start.
    pub(crate) fn checked_len(&self) -> usize {
        match self.kind {
            Kind::Filler => HEADER,
            _ => self.size as usize,
        }
    }
}

/// The size field of a filler that takes `room` bytes. 0 means "to the segment's end": a whole 4 GiB do not fit the field.
pub(crate) fn filler_size(room: u64) -> u32 {
    u32::try_from(room).unwrap_or(0)
}

fn filler_fits(size: u64, room: u64) -> bool {
    size == 0 || (size >= HEADER as u64 && size.is_multiple_of(ALIGN) && size <= room)
}

/// Bytes that a record takes in the log.
pub(crate) fn record_size(topic_len: u64, message_len: u64) -> u64 {
    (HEADER as u64 + topic_len + message_len).next_multiple_of(ALIGN)
}

/// Whether the checksum in the header fits `record`, which is [`Header::checked_len`] bytes long.
pub(crate) fn checksum_fits(record: &[u8]) -> bool {
    let Some(header) = record.first_chunk::<HEADER>() else {
        return false;
    };
    checksum(record) == word(header, CRC.start)
}

/// CRC-32C of a record, which is at least a header long, without the checksum's own place.
pub(crate) fn checksum(record: &[u8]) -> u32 {
    crc32c(crc32c(0, &record[..CRC.start]), &record[CRC.end..])
}

/// Goes on with a CRC-32C (Castagnoli, RFC 3720) over more bytes; the first call takes 0.
fn crc32c(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

fn word(bytes: &[u8; HEADER], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8; HEADER], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
