//! A real tree of files goes in through the Python client and comes out through the Node.js client,
//! byte for byte.
//!
//! The tree is the HTML files of the Rust toolchain's documentation; where that is not installed,
//! the sources that cargo has unpacked. `REAL_INPUT=sample` sends a part of it, for those in a
//! hurry; `REAL_INPUT_TREE` names another tree.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings};
use foliomq_tests::driver::{Kind, Outgoing, Received};
use foliomq_tests::session::{Producer, Session, Simple};
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use tokio::task::JoinSet;

const TOPIC: &str = "documentation";
/// Beyond this, headers included, a message does not fit in the 4 MiB that some clients receive.
const LARGEST: u64 = (4 << 20) - 2048;
/// Every so many-th file belongs to the sample.
const SAMPLE_STEP: usize = 40;
const SENDERS: usize = 8;
const RECEIVERS: usize = 4;
/// Long enough that nothing comes twice because a test machine is slow.
const INVISIBLE: Duration = Duration::from_secs(300);

/// Path below the tree, and SHA-256 of the contents.
type Digests = BTreeMap<String, String>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync() -> Result<()> {
    there_and_back("sync").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asynchronous() -> Result<()> {
    there_and_back("async").await
}

async fn there_and_back(flush: &'static str) -> Result<()> {
    let tree = Tree::find()?;
    let expected = digests(&tree)?;
    let folder = tempfile::tempdir()?;
    let settings = Settings {
        flush,
        ..Settings::new(&folder.path().join("store"))?
    };
    let broker = Broker::start(settings).await?;
    let address = broker.address();
    Admin::connect(address).await?.create_topic(TOPIC).await?;
    let python = Session::open(Kind::Python, address, &[]).await?;
    let node = Session::open(Kind::Node, address, &[]).await?;

    let start = Instant::now();
    let producer = python.producer(&[TOPIC]).await?;
    let consumer = node.simple("readers", TOPIC).await?;
    let sending = send_all(producer, &tree.root, &expected);
    let receiving = receive_all(consumer, &expected);
    tokio::try_join!(sending, receiving)?;
    println!(
        "{flush}: {} files in {:.0} s",
        expected.len(),
        start.elapsed().as_secs_f64()
    );
    let status = broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(())
}

/// A folder of files, all of which go in, or only those with an extension.
struct Tree {
    root: PathBuf,
    extension: Option<&'static str>,
}

impl Tree {
    /// The first that is there: what the environment names, the documentation, cargo's sources.
    fn find() -> Result<Self> {
        if let Some(named) = std::env::var_os("REAL_INPUT_TREE") {
            return Ok(Self {
                root: named.into(),
                extension: None,
            });
        }
        let sysroot = Command::new("rustc")
            .args(["--print", "sysroot"])
            .output()?
            .stdout;
        let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
        let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
        let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
        let documentation = (sysroot.join("share/doc/rust/html"), Some("html"));
        let sources = cargo.map(|cargo| (cargo.join("registry/src"), None));
        let candidates = [Some(documentation), sources];
        let found = candidates
            .into_iter()
            .flatten()
            .find(|(root, _)| root.is_dir());
        let found = found.map(|(root, extension)| Self { root, extension });
        found.context("no tree of files: name one in REAL_INPUT_TREE")
    }

    /// Every file that goes in, in order.
    fn files(&self) -> Result<Vec<PathBuf>> {
        let (mut folders, mut files) = (vec![self.root.clone()], Vec::new());
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let (kind, path) = (entry.file_type()?, entry.path());
                let goes_in = self.extension.is_none_or(|wanted| {
                    path.extension()
                        .is_some_and(|extension| extension == wanted)
                });
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file() && goes_in {
                    files.push(path);
                }
            }
        }
        files.sort();
        Ok(files)
    }
}

/// The files that go in, with their digests.
fn digests(tree: &Tree) -> Result<Digests> {
    let files = tree.files()?;
    let sample = std::env::var_os("REAL_INPUT").is_some_and(|value| value == "sample");
    let step = if sample { SAMPLE_STEP } else { 1 };
    let (found, mut digests, mut bytes) = (files.len(), Digests::new(), 0);
    for path in files.into_iter().step_by(step) {
        let contents = fs::read(&path)?;
        let name = path
            .strip_prefix(&tree.root)?
            .to_str()
            .context("a path is not UTF-8")?
            .to_owned();
        if contents.len() as u64 > LARGEST {
            println!(
                "too large for one message: {name}, {} bytes",
                contents.len()
            );
        } else if contents.is_empty() {
            println!("empty: {name}");
        } else {
            bytes += contents.len();
            digests.insert(name, sha256(&contents));
        }
    }
    println!(
        "{} of {found} files of {}, {} MB",
        digests.len(),
        tree.root.display(),
        bytes / 1_000_000
    );
    Ok(digests)
}

/// In hexadecimal. The TLS library brings the hash.
fn sha256(bytes: &[u8]) -> String {
    let suite = TLS13_AES_128_GCM_SHA256
        .tls13()
        .expect("it is a suite of TLS 1.3");
    let digest = suite.common.hash_provider.hash(bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

async fn send_all(producer: Producer, tree: &Path, expected: &Digests) -> Result<()> {
    let names = Arc::new(Mutex::new(
        expected.keys().cloned().collect::<Vec<_>>().into_iter(),
    ));
    let mut senders = JoinSet::new();
    for _ in 0..SENDERS {
        let (producer, names, tree) = (producer.clone(), names.clone(), tree.to_owned());
        let next = move || names.lock().expect("no panic holds the lock").next();
        senders.spawn(async move {
            while let Some(name) = next() {
                let sent = producer.send(carrying(&tree, &name)).await;
                sent.with_context(|| format!("cannot send {name}"))?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(sender) = senders.join_next().await {
        sender??;
    }
    Ok(())
}

fn carrying(tree: &Path, name: &str) -> Outgoing {
    Outgoing {
        file: Some(tree.join(name).to_string_lossy().into_owned()),
        keys: vec![name.to_owned()],
        ..Outgoing::new(TOPIC, []).property("path", name)
    }
}

async fn receive_all(consumer: Simple, expected: &Digests) -> Result<()> {
    let open = Arc::new(Mutex::new(expected.clone()));
    let mut receivers = JoinSet::new();
    for _ in 0..RECEIVERS {
        let (consumer, open) = (consumer.clone(), open.clone());
        receivers.spawn(async move {
            while !open.lock().expect("no panic holds the lock").is_empty() {
                let messages = consumer.receive_digests(INVISIBLE).await?;
                for message in &messages {
                    check_off(&mut open.lock().expect("no panic holds the lock"), message)?;
                }
                consumer.ack_all(&messages).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(receiver) = receivers.join_next().await {
        receiver??;
    }
    Ok(())
}

/// Each file comes once, with its own name and contents.
fn check_off(open: &mut Digests, message: &Received) -> Result<()> {
    let name = message
        .properties
        .get("path")
        .context("a message without a path")?;
    ensure!(
        message.keys == [name.as_str()],
        "{name}: keys {:?}",
        message.keys
    );
    ensure!(!message.corrupted, "{name}: the client calls it corrupted");
    let digest = open
        .remove(name)
        .with_context(|| format!("{name} came twice, or was not sent"))?;
    ensure!(
        message.sha256.as_ref() == Some(&digest),
        "{name}: the contents differ"
    );
    Ok(())
}
