//! The few pieces of the protobuf encoding that a message needs.
//!
//! Field numbers and wire types are those of `apache.rocketmq.v2.Message` and its `SystemProperties`
//! (`proto/apache/rocketmq/v2/definition.proto`).

/// Most bytes of a varint.
pub(crate) const MAX_VARINT: usize = 10;

const LENGTH_DELIMITED: u8 = 2;

/// One field of a message, with where it lies in the bytes that were parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    /// The content of a length-delimited field; `None` for a number.
    pub(crate) content: Option<&'a [u8]>,
    /// Offset of the field's tag.
    pub(crate) start: usize,
    /// Offset after the field.
    pub(crate) end: usize,
}

impl<'a> Field<'a> {
    /// The content as text.
    pub(crate) fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.content?).ok()
    }
}

/// Walks the fields of an encoded message. Ends at the first that is malformed, after which [`Fields::sound`] is false.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    sound: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            sound: true,
        }
    }

    /// Whether all that was walked was well-formed.
    pub(crate) fn sound(&self) -> bool {
        self.sound
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let tag = u32::try_from(self.varint()?)
            .ok()
            .filter(|tag| tag >> 3 > 0)?;
        let content = match (tag & 7) as u8 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            LENGTH_DELIMITED => {
                let len = usize::try_from(self.varint()?).ok()?;
                Some(self.take(len)?)
            }
            5 => self.take(4).map(|_| None)?,
            _ => return None,
        };
        Some(Field {
            number: tag >> 3,
            content,
            start,
            end: self.at,
        })
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in 0..MAX_VARINT {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(7 * shift as u32)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        if !self.sound || self.at == self.bytes.len() {
            return None;
        }
        let field = self.field();
        self.sound = field.is_some();
        field
    }
}

/// Tag and length of a length-delimited field, on the stack.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    bytes: [u8; MAX_VARINT + 1],
    len: usize,
}

impl Head {
    /// `number` must be below 16, so that its tag takes one byte.
    pub(crate) fn new(number: u8, len: usize) -> Self {
        debug_assert!(number < 16);
        let mut head = Self::default();
        head.push(number << 3 | LENGTH_DELIMITED);
        let mut rest = len;
        while rest >= 0x80 {
            head.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        head.push(rest as u8);
        head
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

/// Appends a length-delimited field.
pub(crate) fn put(out: &mut Vec<u8>, number: u8, content: &[u8]) {
    out.extend_from_slice(Head::new(number, content.len()).as_slice());
    out.extend_from_slice(content);
}
