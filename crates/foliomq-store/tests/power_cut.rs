//! The power is cut in effigy: each image has what was flushed, and of every sector that was written since, either what
//! was there before or what was written, at random.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use foliomq_store::{Message, Options, Store, TopicOptions, verify};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const IMAGES: u64 = 50;
const SECTOR: usize = 512;
const QUEUES: u32 = 3;

fn open(dir: &Path) -> Store {
    Options::new(dir).segment_size(16 << 20).open().unwrap()
}

/// The written bytes of each file, without the zeros behind them, and its length.
type Image = BTreeMap<PathBuf, (Vec<u8>, u64)>;

fn capture(root: &Path, dir: &Path, image: &mut Image) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            capture(root, &path, image)?;
            continue;
        }
        let mut bytes = fs::read(&path)?;
        let len = bytes.len() as u64;
        let written = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        bytes.truncate(written);
        bytes.shrink_to_fit();
        image.insert(path.strip_prefix(root).unwrap().to_path_buf(), (bytes, len));
    }
    Ok(())
}

fn captured(dir: &Path) -> Image {
    let mut image = Image::new();
    capture(dir, dir, &mut image).unwrap();
    image
}

/// A device that has `flushed`, and some of what `written` adds. A sector that was flushed and not written since is whole.
fn cut(flushed: &Image, written: &Image, random: &mut StdRng, dir: &Path) {
    // Anything between almost nothing and almost all of it had reached the device by itself.
    let share = 1.0 - random.random_range(0.0..1.0f64).powi(4);
    for (path, (new, len)) in written {
        let empty = (Vec::new(), 0);
        let (old, old_len) = flushed.get(path).unwrap_or(&empty);
        let mut bytes = vec![0; new.len().max(old.len())];
        for (n, sector) in bytes.chunks_mut(SECTOR).enumerate() {
            let source = if random.random_bool(share) { new } else { old };
            let from = source.get(n * SECTOR..).unwrap_or_default();
            let from = &from[..from.len().min(sector.len())];
            sector[..from.len()].copy_from_slice(from);
        }
        // A file that was never flushed may have any length; one that was has at least what it had then.
        let whole = *old_len == *len || random.random_bool(share);
        let len = if whole { *len } else { *old_len };
        bytes.truncate(len as usize);
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(len)
            .unwrap();
    }
}

/// Every message that can be read, by queue.
fn contents(store: &Store) -> Vec<Vec<Vec<u8>>> {
    let queue = |queue| {
        let offsets = store.offsets("t", queue).unwrap();
        let messages = store.read_many("t", queue, 0, usize::MAX).unwrap();
        assert_eq!(offsets, 0..messages.len() as u64);
        messages
            .iter()
            .map(|message| message.body().to_vec())
            .collect()
    };
    (0..QUEUES).map(queue).collect()
}

fn body(random: &mut StdRng, queue: u32, n: usize) -> Vec<u8> {
    let mut body = format!("{queue} {n} ").into_bytes();
    body.resize(body.len() + random.random_range(0..3000), b'.');
    body
}

#[test]
fn nothing_acknowledged_is_lost_by_a_power_cut() {
    let seed = std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live");
    let store = open(&live);
    let options = TopicOptions {
        queues: QUEUES,
        ..Default::default()
    };
    store.create_topic("t", options).unwrap();
    let mut sent: Vec<Vec<Vec<u8>>> = vec![Vec::new(); QUEUES as usize];
    let mut order = Vec::new();
    let mut add = |store: &Store, random: &mut StdRng, acknowledged: bool| {
        let queue = random.random_range(0..QUEUES);
        let n = sent[queue as usize].len();
        let body = body(random, queue, n);
        let id = format!("{queue}-{n}");
        let message = Message::new(&body).id(&id);
        if acknowledged {
            store.append_to("t", queue, &message).unwrap();
        } else {
            store.submit("t", Some(queue), &[message]).unwrap();
        }
        sent[queue as usize].push(body);
        order.push(queue);
        sent.clone()
    };
    // Some of the indexes are flushed, some not.
    for _ in 0..200 {
        add(&store, &mut random, true);
    }
    store.flush().unwrap();
    let index_base = captured(&live);
    let mut acknowledged = Vec::new();
    for _ in 0..200 {
        acknowledged = add(&store, &mut random, true);
    }
    // The log as flushed: what is durable now. Nothing is in flight.
    let durable = captured(&live);
    let mut all = Vec::new();
    for _ in 0..60 {
        all = add(&store, &mut random, false);
    }
    let written = captured(&live);
    store.close().unwrap();
    let flushed = flushed(&index_base, &durable);
    for n in 0..IMAGES {
        let image = dir.path().join("image");
        cut(&flushed, &written, &mut random, &image);
        check(
            &image,
            &acknowledged,
            &all,
            &order,
            &format!("image {n}, SEED={seed}"),
        );
        fs::remove_dir_all(&image).unwrap();
    }
}

/// The log and its checkpoint as they are durable; all else as it was at its own last flush.
fn flushed(index_base: &Image, durable: &Image) -> Image {
    let mut flushed = index_base.clone();
    let log = durable
        .iter()
        .filter(|(path, _)| path.starts_with("commitlog"));
    flushed.extend(log.map(|(path, bytes)| (path.clone(), bytes.clone())));
    flushed
}

fn check(
    image: &Path,
    acknowledged: &[Vec<Vec<u8>>],
    all: &[Vec<Vec<u8>>],
    order: &[u32],
    what: &str,
) {
    let store = open(image);
    let found = contents(&store);
    for queue in 0..QUEUES as usize {
        let (found, all) = (&found[queue], &all[queue]);
        assert!(
            found.len() >= acknowledged[queue].len(),
            "{what}: acknowledged, and gone"
        );
        assert!(
            all.starts_with(found),
            "{what}: not a prefix of what was sent"
        );
    }
    // A prefix of the log as a whole: nothing behind a hole.
    let total: usize = found.iter().map(Vec::len).sum();
    for (queue, found) in found.iter().enumerate() {
        let before = order[..total].iter().filter(|&&of| of == queue as u32);
        assert_eq!(found.len(), before.count(), "{what}: served beyond a hole");
    }
    println!("{what}: {total} of {} messages", order.len());
    let end = store.watermarks().appended;
    assert_eq!(store.watermarks().dispatched, end, "{what}");
    assert!(store.recovery().end <= end, "{what}");
    let appended = store.append_to("t", 0, &Message::new(b"after")).unwrap();
    assert_eq!(appended.queue_offset, found[0].len() as u64, "{what}");
    store.close().unwrap();
    drop(store);
    let report = verify(image).unwrap();
    assert!(report.sound(), "{what}: {:?}", report.findings);
    assert_eq!(report.log.messages, total as u64 + 1, "{what}");
    let again = open(image);
    let mut expected = found;
    expected[0].push(b"after".to_vec());
    assert_eq!(
        contents(&again),
        expected,
        "{what}: opening again gives something else"
    );
    for (queue, bodies) in expected.iter().enumerate() {
        for n in [0, bodies.len().saturating_sub(2)] {
            let found = again.find_by_id("t", &format!("{queue}-{n}"), 1).unwrap();
            assert!(
                found.iter().all(|message| message.body() == bodies[n]),
                "{what}"
            );
        }
    }
    assert_eq!(again.find_by_id("t", "1-0", 1).unwrap().len(), 1, "{what}");
    drop(again);
}
