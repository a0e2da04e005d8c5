//! The format against files that another program wrote, from `docs/format.md` alone.

use std::fs;

use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::header::{CRC, HEADER, Header, Kind, checksum, checksum_fits};
use crate::{CommitLog, Flush, Options, Preheat};

const SEGMENT: &[u8] = include_bytes!("../tests/golden/segment.bin");
const CHECKPOINT: &[u8] = include_bytes!("../tests/golden/checkpoint.bin");
const SIZE: u64 = 64 << 10;
const GENERATION: u64 = 0x0123_4567_89ab_cdef;
const TIME: u64 = 1_700_000_000_000;

fn header(kind: Kind, topic_len: u16, size: u32, position: u64) -> Header {
    Header {
        kind,
        topic_len,
        ..Header::filler(position, size, GENERATION, TIME + 1)
    }
}

/// The records of the file: header, topic, message.
fn records() -> [(Header, &'static str, &'static [u8]); 4] {
    let first = header(Kind::Message, 6, 88, 0);
    let second = header(Kind::Message, 6, 72, 88);
    let third = header(Kind::Control, 0, 80, 160);
    let filler = header(Kind::Filler, 0, SIZE as u32 - 240, 240);
    [
        (
            Header {
                store_time: TIME,
                queue_id: 3,
                message_len: 13,
                ..first
            },
            "orders",
            b"first message",
        ),
        (
            Header {
                queue_id: 3,
                queue_offset: 1,
                ..second
            },
            "日志",
            b"",
        ),
        (
            Header {
                queue_id: u32::MAX,
                queue_offset: 9,
                message_len: 9,
                ..third
            },
            "",
            &[0, 1, 2, 3, 4, 5, 6, 7, 8],
        ),
        (filler, "", b""),
    ]
}

#[test]
fn every_field_is_read_as_it_was_written() {
    for (expected, topic, message) in records() {
        let at = expected.position as usize;
        let bytes = SEGMENT[at..].first_chunk::<HEADER>().unwrap();
        let found = Header::parse(bytes, expected.position, SIZE - expected.position).unwrap();
        assert_eq!(
            found,
            Header {
                crc: found.crc,
                ..expected
            }
        );
        assert!(checksum_fits(&SEGMENT[at..at + found.checked_len()]));
        assert_eq!(&SEGMENT[at + HEADER..][..topic.len()], topic.as_bytes());
        assert_eq!(
            &SEGMENT[at + HEADER + topic.len()..][..message.len()],
            message
        );
    }
}

#[test]
fn every_byte_is_written_as_it_was_read() {
    let mut bytes = Vec::new();
    for (header, topic, message) in records() {
        let start = bytes.len();
        bytes.extend(header.fields());
        bytes.extend(topic.as_bytes());
        bytes.extend(message);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let checksum = checksum(&bytes[start..start + header.checked_len()]);
        bytes[start..][CRC].copy_from_slice(&checksum.to_le_bytes());
    }
    assert!(bytes == SEGMENT);
}

#[test]
fn the_checkpoint_is_read_and_written_alike() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("checkpoint");
    let first = Checkpoint {
        durable: 0,
        generation: GENERATION,
        clean: false,
        segment_size: SIZE,
        store_time: TIME + 1,
    };
    let second = Checkpoint {
        durable: SIZE,
        clean: true,
        ..first
    };
    let mut file = CheckpointFile::open(dir.path()).unwrap();
    file.write(&first).unwrap();
    file.write(&second).unwrap();
    let written = fs::read(&path).unwrap();
    assert!(written[..CHECKPOINT.len()] == *CHECKPOINT);
    fs::write(&path, CHECKPOINT).unwrap();
    assert_eq!(Checkpoint::load(dir.path()).unwrap(), Some(second));
}

#[test]
fn a_log_opens_over_the_files() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("checkpoint"), CHECKPOINT).unwrap();
    let mut segment = SEGMENT.to_vec();
    segment.resize(SIZE as usize, 0);
    fs::write(dir.path().join(format!("{:020}", 0)), segment).unwrap();
    let options = Options {
        segment_size: SIZE,
        preheat: Preheat::Off,
        flush: Flush::Sync,
        ..Options::new(dir.path())
    };
    let (log, recovery) = CommitLog::open(options).unwrap();
    assert!(recovery.clean);
    let found: Vec<_> = log.records(0).map(Result::unwrap).collect();
    assert_eq!(found.len(), 3);
    for (record, (header, topic, message)) in found.iter().zip(records()) {
        assert_eq!((record.topic(), record.message()), (topic, message));
        assert_eq!(
            record.header(),
            &Header {
                crc: record.header().crc,
                ..header
            }
        );
    }
}
