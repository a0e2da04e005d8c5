//! A file system that is full: senders are told, consumers go on, and sending resumes with space.
//!
//! The broker runs in a mount namespace of its own with a small tmpfs for its store; the mount ends
//! with the process. Where the system allows no such namespace, the tests say so and do nothing.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use foliomq_tests::admin::Admin;
use foliomq_tests::broker::{Broker, Settings};
use foliomq_tests::driver::{Failure, Kind, Outgoing};
use foliomq_tests::session::{BATCH, INVISIBLE, Producer, Session, Simple};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

const TOPIC: &str = "flood";
const BODY: usize = 256 << 10;
const DISK_MIB: usize = 160;
/// What the ballast leaves to the broker's files at first.
const BALLAST_MIB: usize = 48;
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Mounts a tmpfs on its first argument and becomes the rest.
const MOUNT_AND_RUN: &str =
    r#"disk="$1"; shift; mount -t tmpfs -o size="$1" foliomq "$disk" && shift && exec "$@""#;

/// A broker whose store is on a small disk of its own.
struct SmallDisk {
    broker: Broker,
    /// The disk as the broker's process sees it.
    disk: PathBuf,
    _folder: TempDir,
}

impl SmallDisk {
    /// None where the system allows no mounts.
    async fn start(retention: &[&str]) -> Result<Option<Self>> {
        let Some(namespace) = namespace() else {
            println!("skipped: neither root nor user namespaces, so no small disk can be mounted");
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let disk = folder
            .path()
            .to_str()
            .context("the path is not UTF-8")?
            .to_owned();
        let mut settings = Settings::new(&folder.path().join("store"))?;
        let size = format!("{DISK_MIB}m");
        let mount = ["sh", "-c", MOUNT_AND_RUN, "sh", &disk, &size];
        let launcher = ["unshare", namespace].into_iter().chain(mount);
        settings.launcher = launcher.map(str::to_owned).collect();
        settings.arguments = retention
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        let broker = Broker::start(settings).await?;
        let inside = format!("/proc/{}/root{disk}", broker.id()?);
        Ok(Some(Self {
            broker,
            disk: inside.into(),
            _folder: folder,
        }))
    }

    async fn session(&self) -> Result<(Producer, Simple)> {
        let address = self.broker.address();
        Admin::connect(address).await?.create_topic(TOPIC).await?;
        let session = Session::open(Kind::Raw, address, &[]).await?;
        Ok((
            session.producer(&[TOPIC]).await?,
            session.simple("readers", TOPIC).await?,
        ))
    }
}

/// The option of `unshare` that lets this user mount.
fn namespace() -> Option<&'static str> {
    let works = |option: &&str| {
        let script = "mount -t tmpfs none /tmp";
        let attempt = Command::new("unshare")
            .args([option, "sh", "-c", script])
            .output();
        attempt.is_ok_and(|output| output.status.success())
    };
    ["-m", "-rm"].into_iter().find(works)
}

fn message(number: usize) -> Outgoing {
    let mut body = vec![b'x'; BODY];
    body[..8].copy_from_slice(&(number as u64).to_le_bytes());
    Outgoing::new(TOPIC, body)
}

/// Sends until the broker refuses, and returns how many it took.
async fn fill(producer: &Producer) -> Result<usize> {
    let most = DISK_MIB * (1 << 20) / BODY;
    for number in 0..=most {
        if let Err(failure) = producer.send(message(number)).await {
            expect_throttled(&failure)?;
            return Ok(number);
        }
    }
    bail!("{most} messages fit on a disk of {DISK_MIB} MiB")
}

fn expect_throttled(failure: &Failure) -> Result<()> {
    let code = failure.code.as_deref();
    ensure!(
        code == Some("TOO_MANY_REQUESTS"),
        "a full disk gave: {failure}"
    );
    Ok(())
}

/// Sends until the broker accepts, within a limit.
async fn resume(producer: &Producer, number: usize) -> Result<()> {
    let end = Instant::now() + LIMIT;
    while let Err(failure) = producer.send(message(number)).await {
        expect_throttled(&failure)?;
        ensure!(Instant::now() < end, "sending did not resume: {failure}");
        sleep(PAUSE).await;
    }
    Ok(())
}

fn write_ballast(disk: &Path) -> Result<PathBuf> {
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; BALLAST_MIB << 20]).context("cannot write the ballast")?;
    Ok(ballast)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_resumes_when_space_is_there() -> Result<()> {
    let Some(mut small) = SmallDisk::start(&["--set", "disk-high=off"]).await? else {
        return Ok(());
    };
    let (producer, consumer) = small.session().await?;
    let ballast = write_ballast(&small.disk)?;
    let sent = fill(&producer).await?;
    println!("{sent} messages of {BODY} bytes fit");
    ensure!(
        small.broker.alive()?,
        "the broker ended:\n{}",
        small.broker.output()
    );
    let received = consumer
        .take(sent, LIMIT)
        .await
        .context("consumers on a full disk")?;
    ensure!(
        received.iter().all(|message| message.body.len() == BODY),
        "a body is cut"
    );
    for _ in 0..3 {
        let sent = producer.send(message(sent)).await;
        expect_throttled(&sent.err().context("accepted on a full disk")?)?;
    }

    fs::remove_file(ballast)?;
    resume(&producer, sent).await?;
    let next = consumer.receive_one(INVISIBLE, LIMIT).await?;
    ensure!(next.body == message(sent).body, "another message came");
    let status = small.broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_makes_room() -> Result<()> {
    let retention = ["disk-high=0.8", "disk-low=0.6", "retention-interval=1s"];
    let arguments = retention.map(|setting| ["--set", setting]).concat();
    let Some(mut small) = SmallDisk::start(&arguments).await? else {
        return Ok(());
    };
    let (producer, consumer) = small.session().await?;
    // Twice what the disk holds.
    for number in 0..2 * DISK_MIB * (1 << 20) / BODY {
        resume(&producer, number)
            .await
            .with_context(|| format!("message {number}"))?;
    }
    ensure!(
        small.broker.alive()?,
        "the broker ended:\n{}",
        small.broker.output()
    );
    let messages = consumer.receive(BATCH, INVISIBLE).await?;
    ensure!(!messages.is_empty(), "nothing is left to receive");
    let status = small.broker.terminate().await?;
    ensure!(status.success(), "the broker left with {status}");
    Ok(())
}
