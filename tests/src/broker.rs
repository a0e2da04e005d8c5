//! One `foliomq serve` process under test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long a broker may take to say that it serves; recovery is part of it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a broker may take to leave after SIGTERM.
const EXIT_LIMIT: Duration = Duration::from_secs(30);
/// Lines of output on their way to whoever waits for readiness.
const LINE_BUFFER: usize = 1024;

/// How to start a broker. The store folder outlives the process, so that a restart finds it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The `foliomq` binary.
    pub binary: PathBuf,
    /// The store's folder.
    pub store: PathBuf,
    /// The address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// `sync` or `async`.
    pub flush: &'static str,
    /// Whether topics appear on first use.
    pub auto_create: bool,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// A program, with its own arguments, that runs the binary; empty where it runs directly.
    pub launcher: Vec<String>,
}

impl Settings {
    /// A broker with small segments on a free port of the loopback interface, flushing `sync`.
    ///
    /// # Errors
    /// If the binary has not been built.
    pub fn new(store: &Path) -> Result<Self> {
        Ok(Self {
            binary: crate::binary::foliomq()?,
            store: store.to_owned(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            flush: "sync",
            auto_create: true,
            arguments: Vec::new(),
            launcher: Vec::new(),
        })
    }

    fn command(&self) -> Command {
        let mut command = match self.launcher.split_first() {
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(&self.binary);
                command
            }
            None => Command::new(&self.binary),
        };
        command
            .arg("serve")
            .arg("--store-dir")
            .arg(&self.store)
            .args(["--listen", &self.listen.to_string()])
            .args(["--flush", self.flush])
            .args(["--segment-size", "16MiB"])
            .args([
                "--auto-create",
                if self.auto_create { "true" } else { "false" },
            ])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

/// A broker that serves. Dropping it kills the process.
pub struct Broker {
    settings: Settings,
    child: Child,
    address: SocketAddr,
    output: Arc<Mutex<Vec<String>>>,
}

impl Broker {
    /// Starts a broker and waits until it says where it serves.
    ///
    /// # Errors
    /// If it exits or stays silent instead; the text holds what it printed.
    pub async fn start(settings: Settings) -> Result<Self> {
        let mut child = settings
            .command()
            .spawn()
            .context("cannot start the broker")?;
        let output = Arc::new(Mutex::new(Vec::new()));
        let (sender, mut lines) = mpsc::channel(LINE_BUFFER);
        follow(child.stdout.take(), output.clone(), sender.clone());
        follow(child.stderr.take(), output.clone(), sender);
        let ready = async {
            while let Some(line) = lines.recv().await {
                if let Some(address) = ready_address(&line) {
                    return Some(address);
                }
            }
            None
        };
        let address = timeout(START_LIMIT, ready).await.ok().flatten();
        let Some(address) = address else {
            let _ = child.kill().await;
            bail!("the broker did not start:\n{}", joined(&output));
        };
        Ok(Self {
            settings,
            child,
            address,
            output,
        })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process's id.
    ///
    /// # Errors
    /// If the process is gone already.
    pub fn id(&self) -> Result<u32> {
        self.child.id().context("the broker has exited already")
    }

    /// The settings that start this broker again, on the same store and the same port.
    pub fn restart_settings(&self) -> Settings {
        Settings {
            listen: self.address,
            ..self.settings.clone()
        }
    }

    /// What the broker has printed so far.
    pub fn output(&self) -> String {
        joined(&self.output)
    }

    /// The lines so far that hold `text`.
    pub fn lines_with(&self, text: &str) -> Vec<String> {
        let lines = self.output.lock().expect("no panic holds the lock");
        let found = lines.iter().filter(|line| line.contains(text));
        found.cloned().collect()
    }

    /// Ends the process as a crash would, and waits for its end.
    ///
    /// # Errors
    /// If the process cannot be waited for.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot kill the broker")
    }

    /// Asks the process to leave (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// If it does not leave in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        self.signal_termination()?;
        self.exited().await
    }

    /// Sends SIGTERM without waiting.
    ///
    /// # Errors
    /// If the process is gone already.
    pub fn signal_termination(&self) -> Result<()> {
        let id = Pid::from_raw(self.id()?.cast_signed()).context("the process id is not valid")?;
        kill_process(id, Signal::TERM).context("cannot signal the broker")
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// If it does not come in time; the text holds what the process printed.
    pub async fn exited(&mut self) -> Result<ExitStatus> {
        match timeout(EXIT_LIMIT, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => bail!("the broker did not leave:\n{}", self.output()),
        }
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn alive(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

/// Runs `foliomq` with `arguments` to its end and returns how it ended and all that it printed.
///
/// # Errors
/// If it cannot be started or does not end in time.
pub async fn run_to_end(binary: &Path, arguments: &[&str]) -> Result<(ExitStatus, String)> {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let output = timeout(START_LIMIT, command.output())
        .await
        .with_context(|| format!("foliomq {} does not end", arguments.join(" ")))??;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status, String::from_utf8_lossy(&text).into_owned()))
}

/// Copies one of the process's outputs line by line; keeps draining it when nobody waits any more.
fn follow(
    stream: Option<impl AsyncRead + Unpin + Send + 'static>,
    output: Arc<Mutex<Vec<String>>>,
    sender: mpsc::Sender<String>,
) {
    let Some(stream) = stream else { return };
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            output
                .lock()
                .expect("no panic holds the lock")
                .push(line.clone());
            let _ = sender.try_send(line);
        }
    });
}

/// The address in a line such as `foliomq 0.1.0 ready on 127.0.0.1:8081 (store ..., flush sync)`.
fn ready_address(line: &str) -> Option<SocketAddr> {
    if !line.contains(" ready on ") {
        return None;
    }
    line.split(|byte: char| !(byte.is_ascii_digit() || byte == '.' || byte == ':'))
        .filter_map(|word| word.trim_end_matches(['.', ':']).parse::<SocketAddr>().ok())
        .find(|address| address.port() != 0)
}

fn joined(output: &Mutex<Vec<String>>) -> String {
    output.lock().expect("no panic holds the lock").join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_address_in_the_ready_line() {
        let address = SocketAddr::from(([127, 0, 0, 1], 8081));
        let line = "foliomq 0.1.0 ready on 127.0.0.1:8081 (store /x, flush sync)";
        assert_eq!(ready_address(line), Some(address));
        assert_eq!(ready_address("version 0.1.0 at 10:20:30"), None);
        assert_eq!(ready_address("will be ready on 127.0.0.1:0"), None);
    }
}
