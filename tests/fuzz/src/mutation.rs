//! Damage, as bytes say it: eight bytes a mutation, so that any bytes say something.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | which file, of those that the target damages |
//! | 1 | low bits: [what](Damage); bit 6: byte 2 is a place in a unit (a record, a slot) and byte 3 its number; bit 7: the checksum of the unit is made to fit again |
//! | 2, 3 | where |
//! | 4 to 7 | a value |

/// Mutations of a case, at most.
const MOST: usize = 16;
/// Bytes of one.
pub const SIZE: usize = 8;

/// What is done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Bits of one byte are flipped.
    Flip(u8),
    /// A number of 32 bits is written.
    Half(u32),
    /// A number of 64 bits is written: large ones and powers of two among them.
    Long(u64),
    /// So many bytes are zeroed.
    Zero(usize),
    /// Bytes are copied there from elsewhere in the file: from, count.
    Copy(usize, usize),
    /// The file ends there; at a page's end, if so.
    Cut {
        /// Whether at a multiple of 4096.
        page: bool,
    },
    /// A number of 32 bits is raised or lowered a little.
    Add(i8),
    /// The file is gone.
    Gone,
}

/// Damage with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mutation {
    /// Which file, modulo their number.
    pub file: usize,
    /// Where, modulo the file's written bytes, or in the unit of that number.
    pub place: Place,
    /// What.
    pub damage: Damage,
    /// Whether the unit's checksum is made to fit.
    pub sealed: bool,
}

/// Where in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this byte.
    Byte(usize),
    /// In a unit: its number, and the byte in it.
    Unit(usize, usize),
}

impl Mutation {
    /// All that `data` says.
    pub fn all(data: &[u8]) -> Vec<Self> {
        data.as_chunks::<SIZE>()
            .0
            .iter()
            .take(MOST)
            .map(Self::of)
            .collect()
    }

    fn of(bytes: &[u8; SIZE]) -> Self {
        let place = match bytes[1] & 0x40 {
            0 => Place::Byte(usize::from(u16::from_le_bytes([bytes[2], bytes[3]]))),
            _ => Place::Unit(usize::from(bytes[3]), usize::from(bytes[2])),
        };
        let value = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
        Self {
            file: usize::from(bytes[0]),
            place,
            damage: damage(bytes[1] & 7, value),
            sealed: bytes[1] & 0x80 != 0,
        }
    }
}

fn damage(kind: u8, value: u32) -> Damage {
    match kind {
        0 => Damage::Flip(value as u8),
        1 => Damage::Half(value),
        2 => {
            let long = u64::from(value & 0xffff).wrapping_shl(value >> 16 & 63);
            Damage::Long(if value >> 31 == 0 {
                long
            } else {
                long.wrapping_neg()
            })
        }
        3 => Damage::Zero(value as usize & 0xfff),
        4 => Damage::Copy((value >> 16) as usize, value as usize & 0xfff),
        5 => Damage::Cut {
            page: value & 1 == 0,
        },
        6 => Damage::Add(value as i8),
        _ => Damage::Gone,
    }
}
