//! A process that appends until it is killed.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use foliomq_store::{Flush, Message};

use crate::bench::{Bench, TOPIC};
use crate::payload::Payload;

/// Bytes of a body.
const BODY: usize = 4 << 10;
/// Messages after which it says that it may be killed.
const READY_AFTER: u64 = 100;
/// The flag that makes the program a victim.
pub const FLAG: &str = "--victim";

/// Appends, each message flushed, until somebody ends the process.
pub fn run(folder: &Path) -> Result<()> {
    let bench = Bench::new(&std::env::temp_dir(), crate::scale::Scale::smoke())?;
    let store = bench.options(folder).flush(Flush::Sync).open()?;
    let payload = Payload::new(BODY);
    for index in 0.. {
        store.append_to(TOPIC, 0, &Message::new(payload.body(index)))?;
        if index == READY_AFTER {
            println!("ready");
            std::io::stdout().flush()?;
        }
    }
    Ok(())
}

/// Has another process append to the store in `folder`, which is closed, and kills it in the middle.
pub fn kill_in(folder: &Path) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(FLAG)
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .context("starting a process to kill")?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    child.kill().context("killing it")?;
    child.wait()?;
    ensure!(line.trim() == "ready", "it ended before it was killed");
    Ok(())
}
