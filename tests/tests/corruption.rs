//! Damaged files: what a crash leaves is cut, what a crash cannot explain stops the start.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use foliomq_tests::admin::{Admin, Stored};
use foliomq_tests::broker::{Broker, Settings, run_to_end};
use foliomq_tests::driver::{Kind, Outgoing};
use foliomq_tests::session::Session;
use tempfile::TempDir;

const TOPIC: &str = "damage";
const MESSAGES: usize = 500;
const RECEIVE_LIMIT: Duration = Duration::from_secs(30);
const SEGMENT: u64 = 16 << 20;
/// The exit code for a damaged store.
const DAMAGED: i32 = 4;

/// A store with messages in it, whose broker has ended.
struct Filled {
    settings: Settings,
    _folder: TempDir,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Clean,
    Killed,
}

impl Filled {
    async fn new(end: End, flush: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut settings = Settings::new(&folder.path().join("store"))?;
        settings.flush = flush;
        // With `async`, nothing but the end of the broker flushes.
        settings.arguments = ["--set", "flush-interval=1h"].map(str::to_owned).into();
        let broker = Broker::start(settings.clone()).await?;
        Admin::connect(broker.address())
            .await?
            .create_topic(TOPIC)
            .await?;
        let session = Session::open(Kind::Raw, broker.address(), &[]).await?;
        let producer = session.producer(&[TOPIC]).await?;
        let messages = (0..MESSAGES).map(|number| Outgoing::new(TOPIC, body(number)));
        producer.send_all(messages.collect()).await?;
        match end {
            End::Clean => _ = broker.terminate().await?,
            End::Killed => broker.kill().await?,
        }
        Ok(Self {
            settings,
            _folder: folder,
        })
    }

    /// Starts a broker on the store, and returns what the topic holds and what the broker printed.
    async fn serve(&self) -> Result<(Vec<Stored>, String)> {
        let broker = Broker::start(self.settings.clone()).await?;
        let contents = Admin::connect(broker.address())
            .await?
            .contents(TOPIC)
            .await?;
        let session = Session::open(Kind::Raw, broker.address(), &[]).await?;
        let producer = session.producer(&[TOPIC]).await?;
        producer
            .send(Outgoing::new(TOPIC, "afterwards"))
            .await
            .context("sending afterwards")?;
        let consumer = session.simple("readers", TOPIC).await?;
        let received = consumer.take(contents.len(), RECEIVE_LIMIT).await;
        received.context("a group that begins now")?;
        let output = broker.output();
        broker.terminate().await?;
        Ok((contents, output))
    }

    fn store(&self) -> Result<&str> {
        self.settings
            .store
            .to_str()
            .context("the path is not UTF-8")
    }

    async fn foliomq(&self, arguments: &[&str]) -> Result<(Option<i32>, String)> {
        let (status, output) = run_to_end(&self.settings.binary, arguments).await?;
        Ok((status.code(), output))
    }
}

/// The commit log's newest segment that holds records.
struct Segment {
    path: PathBuf,
    /// The offset after its last record.
    end: u64,
}

impl Segment {
    fn newest(store: &Path) -> Result<Self> {
        let mut segments = Vec::new();
        collect_segments(store, &mut segments)?;
        segments.sort();
        for path in segments.into_iter().rev() {
            let bytes = fs::read(&path)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                let end = (last as u64 + 1).next_multiple_of(8);
                return Ok(Self { path, end });
            }
        }
        anyhow::bail!("no segment holds records")
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        Ok(file.write_all_at(bytes, offset)?)
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        Ok(fs::File::open(&self.path)?.read_exact_at(bytes, offset)?)
    }

    /// The name, which is the position of the segment's first byte.
    fn name(&self) -> Result<&str> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        name.context("a segment without a name")
    }

    fn position(&self, offset: u64) -> Result<u64> {
        let digits: String = self
            .name()?
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        Ok(digits.parse::<u64>()? + offset)
    }
}

/// Every file of a segment's size with a 20-digit name, at any depth.
fn collect_segments(folder: &Path, segments: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, name) = {
            let entry = entry?;
            (entry.path(), entry.file_name())
        };
        let digits = name
            .to_string_lossy()
            .chars()
            .take_while(char::is_ascii_digit)
            .count();
        if path.is_dir() {
            collect_segments(&path, segments)?;
        } else if digits == 20 && path.metadata()?.len() == SEGMENT {
            segments.push(path);
        }
    }
    Ok(())
}

/// 1 KiB that begins with the number.
fn body(number: usize) -> String {
    format!("{number:0>6}{}", "x".repeat(1018))
}

fn expect_all(contents: &[Stored]) -> Result<()> {
    ensure!(
        contents.len() == MESSAGES,
        "{} of {MESSAGES} messages are left",
        contents.len()
    );
    Ok(())
}

fn expect_cut(output: &str, segment: &Segment, offset: u64) -> Result<()> {
    let position = segment.position(offset)?.to_string();
    for part in ["torn", &position, segment.name()?] {
        ensure!(
            output.contains(part),
            "no {part:?} in what the broker said:\n{output}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_record_at_the_end_is_cut() -> Result<()> {
    let filled = Filled::new(End::Killed, "sync").await?;
    let segment = Segment::newest(&filled.settings.store)?;
    let mut half = [0; 100];
    segment.read(0, &mut half)?;
    segment.write(segment.end, &half)?;
    let (contents, output) = filled.serve().await?;
    expect_all(&contents)?;
    expect_cut(&output, &segment, segment.end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_never_flushed_may_be_overwritten() -> Result<()> {
    let filled = Filled::new(End::Killed, "async").await?;
    let segment = Segment::newest(&filled.settings.store)?;
    // The last record is gone; the one before it ends somewhere in the 2 KiB before.
    segment.write(segment.end - 1024, &[0xA5; 1024])?;
    let (contents, output) = filled.serve().await?;
    ensure!(
        contents.len() == MESSAGES - 1,
        "{} messages are left",
        contents.len()
    );
    for part in ["torn", segment.name()?] {
        ensure!(
            output.contains(part),
            "no {part:?} in what the broker said:\n{output}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_middle_stops_the_start() -> Result<()> {
    for end in [End::Clean, End::Killed] {
        let filled = Filled::new(end, "sync").await?;
        let segment = Segment::newest(&filled.settings.store)?;
        let middle = segment.end / 2;
        let mut byte = [0];
        segment.read(middle, &mut byte)?;
        segment.write(middle, &[byte[0] ^ 0x10])?;
        let ended = || format!("{end:?}");
        let refused = expect_refused_start(&filled, &segment, middle).await;
        refused.with_context(ended)?;
        expect_salvaged(&filled).await.with_context(ended)?;
    }
    Ok(())
}

async fn expect_refused_start(filled: &Filled, segment: &Segment, damage: u64) -> Result<()> {
    let store = filled.store()?;
    let serve = ["serve", "--listen", "127.0.0.1:0", "--store-dir", store];
    let (code, output) = filled.foliomq(&serve).await?;
    ensure!(code == Some(DAMAGED), "exit code {code:?}:\n{output}");
    for part in [segment.name()?, "verify", "--salvage", store] {
        ensure!(output.contains(part), "no {part:?} in the error:\n{output}");
    }
    let position = number_after(&output, "position").context("the error names no position")?;
    let range = segment.position(damage)?.saturating_sub(2048)..=segment.position(damage)?;
    ensure!(
        range.contains(&position),
        "position {position} is not in {range:?}"
    );
    let (code, output) = filled.foliomq(&["verify", store]).await?;
    ensure!(
        code == Some(DAMAGED),
        "verify: exit code {code:?}:\n{output}"
    );
    Ok(())
}

async fn expect_salvaged(filled: &Filled) -> Result<()> {
    let store = filled.store()?;
    let (code, output) = filled.foliomq(&["verify", "--salvage", store]).await?;
    ensure!(code == Some(0), "salvage: exit code {code:?}:\n{output}");
    let (contents, _) = filled.serve().await?;
    let left = contents.len();
    ensure!(
        (MESSAGES / 3..MESSAGES).contains(&left),
        "{left} messages are left"
    );
    let (code, output) = filled.foliomq(&["verify", store]).await?;
    ensure!(
        code == Some(0),
        "verify after the salvage: exit code {code:?}:\n{output}"
    );
    Ok(())
}

/// The first number after a word.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let rest = &text[text.find(word)? + word.len()..];
    let digits = rest.trim_start_matches(|character: char| !character.is_ascii_digit());
    digits
        .split(|character: char| !character.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}
