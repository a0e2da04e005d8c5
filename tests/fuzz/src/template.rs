//! The small store whose folder the cases damage.

use std::io;
use std::path::Path;
use std::sync::OnceLock;

use foliomq_commitlog::Checkpoint;
use foliomq_store::{Message, Options, Preheat, Retention, Store, TopicOptions};

use crate::image::{Image, folder};

/// The topic that holds the messages, and its queues.
pub(crate) const TOPIC: &str = "t";
pub(crate) const QUEUES: u32 = 2;
/// Messages, of which so many were there when the store was last opened.
const MESSAGES: u64 = 48;
const BEFORE: u64 = 30;

/// A message that was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) queue: u32,
    pub(crate) offset: u64,
    pub(crate) position: u64,
    pub(crate) body: Vec<u8>,
    pub(crate) key: String,
    pub(crate) id: String,
}

/// A store's folder, with what was sent to it.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) image: Image,
    pub(crate) sent: Vec<Sent>,
    /// The log's checkpoint says that everything below is on the device.
    pub(crate) durable: u64,
}

/// How the store was left.
#[derive(Debug, Clone, Copy)]
struct Templates<T> {
    /// Closed.
    clean: T,
    /// Killed: the checkpoints are those of the last opening.
    torn: T,
}

/// The folder that the lowest bit of a case's first byte stands for: 0 of a store that was closed, 1 of one that was killed.
pub(crate) fn template(first: u8) -> &'static Template {
    static TEMPLATES: OnceLock<Templates<Template>> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(|| make().expect("a store is made in a new folder"));
    if first & 1 == 0 {
        &templates.clean
    } else {
        &templates.torn
    }
}

/// Settings of all stores here.
pub(crate) fn options(dir: &Path) -> Options {
    let retention = Retention {
        age: None,
        ..Retention::default()
    };
    let mut options = Options::new(dir)
        .segment_size(Options::MIN_SEGMENT)
        .preheat(Preheat::Off)
        .retention(retention);
    options.max_body = 16 << 10;
    options
}

fn make() -> io::Result<Templates<Template>> {
    let dir = folder()?;
    let mut sent = Vec::new();
    let store = open(dir.path())?;
    let create = |name, queues| {
        store.create_topic(
            name,
            TopicOptions {
                queues,
                ..Default::default()
            },
        )
    };
    create("gone", 1).map_err(io::Error::other)?;
    create(TOPIC, QUEUES).map_err(io::Error::other)?;
    store.delete_topic("gone").map_err(io::Error::other)?;
    send(&store, 0..BEFORE, &mut sent)?;
    store.close().map_err(io::Error::other)?;
    drop(store);
    let store = open(dir.path())?;
    let opened = Image::of(dir.path())?;
    let durable = durable(dir.path())?;
    send(&store, BEFORE..MESSAGES, &mut sent)?;
    store
        .set_progress("g", TOPIC, 0, 3)
        .map_err(io::Error::other)?;
    let mut image = Image::of(dir.path())?;
    image.replace("checkpoint", &opened);
    image.replace("index-checkpoint", &opened);
    let torn = Template {
        image,
        durable,
        sent: sent.clone(),
    };
    store.close().map_err(io::Error::other)?;
    drop(store);
    let clean = Template {
        image: Image::of(dir.path())?,
        durable: self::durable(dir.path())?,
        sent,
    };
    Ok(Templates { clean, torn })
}

fn open(dir: &Path) -> io::Result<Store> {
    options(dir).open().map_err(io::Error::other)
}

fn durable(dir: &Path) -> io::Result<u64> {
    let checkpoint = Checkpoint::load(&dir.join("commitlog"))?;
    checkpoint
        .map(|checkpoint| checkpoint.durable)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Sends messages of all sizes, so that records of one segment end where those of the next begin.
fn send(store: &Store, numbers: std::ops::Range<u64>, sent: &mut Vec<Sent>) -> io::Result<()> {
    for n in numbers {
        let queue = (n % u64::from(QUEUES)) as u32;
        let body: Vec<u8> = (0..n * 731 % 5000).map(|at| (at * 7 + n) as u8).collect();
        let (key, id) = (format!("k{}", n % 7), format!("id-{n}"));
        let message = Message::new(&body)
            .tag("tag")
            .key(&key)
            .id(&id)
            .property("n", &n.to_string());
        let appended = store
            .append_to(TOPIC, queue, &message)
            .map_err(io::Error::other)?;
        let (offset, position) = (appended.queue_offset, appended.position);
        sent.push(Sent {
            queue,
            offset,
            position,
            body,
            key,
            id,
        });
    }
    Ok(())
}
