//! The least that an append could do: copy the bytes, and checksum them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memmap2::MmapOptions;

use crate::payload::Payload;
use crate::scale::Load;

/// Bytes of memory that are written over and over, if there are more to write: more than the caches hold.
pub const MEMORY: usize = 256 << 20;

/// Copies and checksums every body of `load` into warm memory.
pub fn copy_and_checksum(load: Load) -> Result<Duration> {
    let len = MEMORY.min(load.body * load.messages as usize);
    let options = MmapOptions::new().len(len).populate().map_anon();
    let mut memory = options.context("mapping memory")?;
    memory.fill(1);
    let payload = Payload::new(load.body);
    let (mut at, mut checksums) = (0, 0);
    let begin = Instant::now();
    for index in 0..load.messages {
        let body = payload.body(index);
        if at + body.len() > len {
            at = 0;
        }
        checksums ^= crc_fast::crc32_iscsi(body);
        memory[at..at + body.len()].copy_from_slice(body);
        at += body.len();
    }
    let took = begin.elapsed();
    black_box((checksums, &memory[0]));
    Ok(took)
}
