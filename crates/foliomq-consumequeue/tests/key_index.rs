//! The key index: lookups, stretches, merging, crashes.

use std::fs;
use std::os::unix::fs::FileExt;

use foliomq_consumequeue::{IndexError, KeyIndex, key_hash};

const STRETCH: u64 = 1 << 20;
/// Bytes behind the last run of a flushed file.
const SEAL: usize = 32;

fn hash(key: u64) -> u64 {
    key_hash("topic", &format!("key-{key}"))
}

/// 16 keys, a record each 64 bytes.
fn fill(index: &KeyIndex, positions: std::ops::Range<u64>) {
    for position in positions.step_by(64) {
        index.put(hash(position / 64 % 16), position).unwrap();
        index
            .put(key_hash("topic", &format!("id-{position}")), position)
            .unwrap();
    }
}

#[test]
fn the_newest_come_first() {
    let dir = tempfile::tempdir().unwrap();
    let index = KeyIndex::open(dir.path(), 0, STRETCH).unwrap();
    fill(&index, 0..5 * STRETCH);
    let newest: Vec<u64> = (1..=3)
        .map(|n| 5 * STRETCH - n * 16 * 64)
        .map(|at| at + 7 * 64)
        .collect();
    assert_eq!(index.positions(hash(7), 3).unwrap(), newest);
    index.flush().unwrap();
    assert_eq!(index.positions(hash(7), 3).unwrap(), newest);
    assert_eq!(
        index.positions(hash(7), usize::MAX).unwrap().len() as u64,
        5 * STRETCH / 64 / 16
    );
    assert_eq!(
        index.positions(key_hash("topic", "id-64"), 9).unwrap(),
        [64]
    );
    assert_eq!(
        index.positions(key_hash("other", "id-64"), 9).unwrap(),
        [0; 0]
    );
}

#[test]
fn what_is_above_the_checkpoint_is_forgotten_and_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let index = KeyIndex::open(dir.path(), 0, STRETCH).unwrap();
    fill(&index, 0..3 * STRETCH);
    index.flush().unwrap();
    drop(index);
    for checkpoint in [0, 64, STRETCH, STRETCH + 640, 3 * STRETCH] {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(dir.path()).unwrap() {
            let path = file.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        let index = KeyIndex::open(copy.path(), checkpoint, STRETCH).unwrap();
        let below = (0..checkpoint)
            .step_by(64)
            .filter(|at| at / 64 % 16 == 3)
            .count();
        assert_eq!(index.positions(hash(3), usize::MAX).unwrap().len(), below);
        fill(&index, checkpoint..3 * STRETCH);
        assert_eq!(
            index.positions(hash(3), usize::MAX).unwrap().len() as u64,
            3 * STRETCH / 64 / 16
        );
    }
}

#[test]
fn a_torn_run_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let index = KeyIndex::open(dir.path(), 0, STRETCH).unwrap();
    fill(&index, 0..6400);
    index.flush().unwrap();
    fill(&index, 6400..12800);
    index.flush().unwrap();
    drop(index);
    let path = dir.path().join(format!("{:020}", 0));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - SEAL - 5]).unwrap();
    let index = KeyIndex::open(dir.path(), 6400, STRETCH).unwrap();
    assert_eq!(
        index.positions(key_hash("topic", "id-6336"), 1).unwrap(),
        [6336]
    );
    assert_eq!(
        index.positions(key_hash("topic", "id-6400"), 1).unwrap(),
        [0; 0]
    );
}

#[test]
fn trim_drops_whole_stretches() {
    let dir = tempfile::tempdir().unwrap();
    let index = KeyIndex::open(dir.path(), 0, STRETCH).unwrap();
    fill(&index, 0..3 * STRETCH);
    index.flush().unwrap();
    index.trim(2 * STRETCH).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    assert_eq!(
        index.positions(hash(1), usize::MAX).unwrap().len() as u64,
        STRETCH / 64 / 16
    );
}

#[test]
fn a_flipped_bit_is_damage_and_nothing_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let index = KeyIndex::open(dir.path(), 0, STRETCH).unwrap();
    let half = 64 * 200;
    fill(&index, 0..half);
    index.flush().unwrap();
    fill(&index, half..2 * half);
    index.flush().unwrap();
    let path = dir.path().join(format!("{:020}", 0));
    let bytes = fs::read(&path).unwrap();
    let expected = index.positions(hash(3), usize::MAX).unwrap();
    assert_eq!(expected.len(), 25);
    // Every byte, and each bit of it now and then.
    for (at, bit) in (0..bytes.len()).zip((0..8).cycle()) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << bit;
        fs::write(&path, &flipped).unwrap();
        match KeyIndex::open(dir.path(), 2 * half, STRETCH) {
            Err(IndexError::Damaged { .. }) => assert!(at < bytes.len() - SEAL),
            opened => assert_eq!(opened.unwrap().positions(hash(3), 99).unwrap(), expected),
        }
    }
    // In an open index, as memory may fail.
    fs::write(&path, &bytes).unwrap();
    let index = KeyIndex::open(dir.path(), 2 * half, STRETCH).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    for (at, bit) in (0..bytes.len()).zip((0..8).cycle()) {
        file.write_all_at(&[bytes[at] ^ 1 << bit], at as u64)
            .unwrap();
        match index.positions(hash(3), 99) {
            Err(IndexError::Damaged { .. }) => {}
            found => assert_eq!(found.unwrap(), expected),
        }
        file.write_all_at(&bytes[at..=at], at as u64).unwrap();
    }
}
