//! Where the units of each file lie that have a checksum of their own: `docs/format.md` and `docs/format-index.md`.

use std::ops::Range;
use std::path::Path;

/// Bytes of a record's header.
const HEADER: usize = 64;
/// Kind of a record that fills: its checksum covers the header only.
const FILLER: u8 = 3;
/// Bytes from one slot of a checkpoint to the other.
const SLOT_DISTANCE: usize = 4096;

/// What a file consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Records of a log.
    Records,
    /// Two slots with a checksum at 60.
    LogCheckpoint,
    /// Two slots with a checksum at 4.
    IndexCheckpoint,
    /// Records of 32 bytes with a checksum at 28.
    Extents,
    /// Sorted runs.
    Runs,
    /// Entries of 32 bytes without a checksum.
    Entries,
}

impl Layout {
    pub(crate) fn of(path: &Path) -> Self {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        match name {
            "checkpoint" => Self::LogCheckpoint,
            "index-checkpoint" => Self::IndexCheckpoint,
            "extents" => Self::Extents,
            _ if path.starts_with("keys") => Self::Runs,
            _ if path.starts_with("consumequeue") => Self::Entries,
            _ => Self::Records,
        }
    }

    /// The units in a sound file.
    pub(crate) fn units(self, bytes: &[u8]) -> Vec<Range<usize>> {
        let len = bytes.len();
        match self {
            Self::Records => chain(len, |at| half(bytes, at + 8) as usize),
            Self::Runs => chain(len, |at| 32 + 16 * half(bytes, at + 8) as usize),
            Self::LogCheckpoint => vec![0..64, SLOT_DISTANCE..SLOT_DISTANCE + 64],
            Self::IndexCheckpoint => vec![0..24, SLOT_DISTANCE..SLOT_DISTANCE + 24],
            Self::Extents | Self::Entries => {
                (0..len.div_ceil(32)).map(|n| 32 * n..32 * n + 32).collect()
            }
        }
    }

    /// Makes the checksum of the unit fit its bytes.
    pub(crate) fn seal(self, unit: &Range<usize>, bytes: &mut [u8]) {
        let (crc_at, covered) = match self {
            Self::Records => (12, record(unit, bytes)),
            Self::LogCheckpoint => (60, 0..60),
            Self::IndexCheckpoint => (4, 8..24),
            Self::Extents => (28, 0..28),
            Self::Runs => (4, 8..unit.len()),
            Self::Entries => return,
        };
        let covered = unit.start + covered.start..unit.start + covered.end;
        if covered.end.max(unit.start + crc_at + 4) > bytes.len() {
            return;
        }
        let mut content = bytes[covered].to_vec();
        if self == Self::Records && content.len() >= HEADER {
            content.drain(12..16);
        }
        let crc = crc_fast::crc32_iscsi(&content);
        bytes[unit.start + crc_at..][..4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What the checksum of a record covers, if its size is what its bytes say and has room.
fn record(unit: &Range<usize>, bytes: &[u8]) -> Range<usize> {
    let size = half(bytes, unit.start + 8) as usize;
    match bytes.get(unit.start + 5) {
        Some(&FILLER) => 0..HEADER,
        _ if (HEADER..=bytes.len().saturating_sub(unit.start)).contains(&size) => 0..size,
        _ => 0..unit.len(),
    }
}

/// Units that follow each other, by the size of each. A size of 0 ends them.
fn chain(len: usize, size: impl Fn(usize) -> usize) -> Vec<Range<usize>> {
    let mut units = Vec::new();
    let mut at = 0;
    while at < len {
        let end = match size(at) {
            0 => at + HEADER,
            size => at.saturating_add(size),
        };
        units.push(at..end.min(len.max(at + HEADER)));
        at = end;
        if size(units[units.len() - 1].start) == 0 {
            break;
        }
    }
    units
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let byte = |i| bytes.get(at + i).copied().unwrap_or_default();
    u32::from_le_bytes(std::array::from_fn(byte))
}
