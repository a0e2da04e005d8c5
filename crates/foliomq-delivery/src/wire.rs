//! Numbers and texts as bytes: LEB128, as protobuf has them too.

/// A text behind its length.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Several numbers, one after the other.
pub(crate) fn put_all(out: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        put(out, number);
    }
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
pub(crate) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes that are left to decode.
pub(crate) struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub fn slice(&mut self, size: usize) -> Option<&'a [u8]> {
        let (slice, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some(slice)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    /// A count of things that take at least a byte each: never more than there are bytes.
    pub fn count(&mut self) -> Option<usize> {
        let count = self.small()?;
        (count <= self.0.len()).then_some(count)
    }

    pub fn text(&mut self) -> Option<String> {
        let size = self.count()?;
        String::from_utf8(self.slice(size)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        assert_eq!(Input(&[0xff; 10]).number(), None);
        let mut most = Vec::new();
        put(&mut most, u64::MAX);
        assert_eq!((most.len(), Input(&most).number()), (10, Some(u64::MAX)));
        assert_eq!(Input(&[0xff, 0xff, 4]).small::<u16>(), None);
    }
}
