//! Processes: what they take, and a broker of one's own.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::error::LoadError;

/// The kernel's unit of processor time.
const TICK: Duration = Duration::from_millis(10);
/// What a broker gets to end by itself, and what it gets to end at once.
const GRACE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(15);
/// How a broker says that it is ready, before its address.
const READY: &str = " ready on ";

/// Processor time of this process so far.
///
/// # Errors
/// [`LoadError::Process`] where the kernel does not tell.
pub fn own_time() -> Result<Duration, LoadError> {
    time_of("self")
}

/// Processor time of another process so far, in steps of 10 ms.
///
/// # Errors
/// As [`own_time`].
pub fn time(pid: u32) -> Result<Duration, LoadError> {
    time_of(&pid.to_string())
}

/// Memory of a process that is resident, bytes: all of it, and that which is no file's.
///
/// # Errors
/// As [`own_time`].
pub fn memory(pid: u32) -> Result<(u64, u64), LoadError> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).map_err(|source| failed(path, source))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Ok((field("VmRSS:"), field("RssAnon:")))
}

fn time_of(pid: &str) -> Result<Duration, LoadError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(|source| failed(path, source))?;
    // Counted from behind the name, which may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u32 = ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// A server of one's own, on a port of its choice and a temporary folder. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: String,
    dir: Option<TempDir>,
}

impl Server {
    /// Starts `foliomq serve` from this program, with these settings.
    ///
    /// # Errors
    /// [`LoadError::Process`] if it does not say that it is ready.
    pub fn broker(program: &Path, settings: &[String]) -> Result<Self, LoadError> {
        let dir = TempDir::with_prefix("foliomq-bench-");
        let dir = dir.map_err(|source| failed("no temporary folder", source))?;
        Self::broker_in(program, settings, dir)
    }

    /// The same, with its store in this folder.
    ///
    /// # Errors
    /// As [`broker`](Self::broker).
    pub fn broker_in(program: &Path, settings: &[String], dir: TempDir) -> Result<Self, LoadError> {
        let mut command = Command::new(program);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--store-dir"])
            .arg(dir.path());
        for setting in settings {
            command.args(["--set", setting]);
        }
        let mut server = Self::start(command)?;
        server.dir = Some(dir);
        Ok(server)
    }

    /// Starts a server that prints one line with `ready on ADDRESS` in it.
    ///
    /// # Errors
    /// As [`broker`](Self::broker).
    pub fn start(mut command: Command) -> Result<Self, LoadError> {
        let program = PathBuf::from(command.get_program());
        let what = || format!("{} did not start", program.display());
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|source| failed(what(), source))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            let read = BufReader::new(out).read_line(&mut line);
            read.map_err(|source| failed(what(), source))?;
        }
        let mut server = Self {
            child,
            address: String::new(),
            dir: None,
        };
        let address = line
            .split_once(READY)
            .and_then(|(_, rest)| rest.split_whitespace().next());
        match address {
            Some(address) => server.address = address.to_owned(),
            None => {
                let source = io::Error::other("it did not say that it is ready");
                return Err(failed(what(), source));
            }
        }
        Ok(server)
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it while the runtime goes on: connections to it that were dropped close, and it need not wait for them.
    pub async fn end(self) {
        // It is dropped in any case.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    /// Where its store is.
    pub fn folder(&self) -> Option<&Path> {
        self.dir.as_ref().map(TempDir::path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        for patience in [GRACE, PATIENCE] {
            // The second signal has a broker stop at once, whatever is in flight: nobody needs what it holds.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
            let begin = Instant::now();
            while begin.elapsed() < patience {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(TICK);
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn failed(what: impl Into<String>, source: io::Error) -> LoadError {
    LoadError::Process {
        what: what.into(),
        source,
    }
}
