//! Running the program, and a broker of it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(20);

/// What a finished run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Run {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output, after checking that the run ended well.
    #[track_caller]
    pub fn ok(&self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.text()
    }

    /// Its one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.ok()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// One JSON document for each line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
        };
        self.ok().lines().map(parse).collect()
    }

    /// Standard error, after checking the exit code.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self:?}");
        &self.stderr
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The program, free of what the tester's environment says.
pub fn foliomq() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_foliomq"));
    let ours = |name: &OsStr| name.to_string_lossy().starts_with("FOLIOMQ_");
    std::env::vars_os()
        .filter(|(name, _)| ours(name))
        .for_each(|(name, _)| {
            command.env_remove(name);
        });
    command.stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Run {
    foliomq()
        .args(args)
        .output()
        .expect("the program runs")
        .into()
}

/// A broker with a store of its own, killed when dropped.
pub struct Broker {
    pub endpoint: String,
    pub ready: String,
    dir: Option<TempDir>,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Broker {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder for the store");
        let mut broker = Self::on(dir.path(), args);
        broker.dir = Some(dir);
        broker
    }

    /// On a folder that outlives it. Returns once it is ready.
    pub fn on(dir: &Path, args: &[&str]) -> Self {
        let mut child = serve(dir)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the broker starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("its output is piped"));
        let mut ready = String::new();
        stdout
            .read_line(&mut ready)
            .expect("its output can be read");
        let address = ready
            .split_once(" ready on ")
            .and_then(|(_, rest)| rest.split(' ').next());
        let endpoint = address
            .unwrap_or_else(|| panic!("no ready line: {ready:?}"))
            .to_owned();
        Self {
            endpoint,
            ready,
            dir: None,
            child,
            stdout,
        }
    }

    pub fn store_dir(&self) -> PathBuf {
        self.dir
            .as_ref()
            .map_or_else(PathBuf::new, |dir| dir.path().join("store"))
    }

    /// Runs a command of the program against this broker.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Run {
        self.command()
            .args(args)
            .output()
            .expect("the program runs")
            .into()
    }

    /// The same with something to read on standard input.
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        input: &[u8],
        args: impl IntoIterator<Item = S>,
    ) -> Run {
        let mut command = self.command();
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        feed(child.stdin.take(), input);
        child.wait_with_output().expect("the program ends").into()
    }

    /// Waits until so many messages of the topic can be read: the index follows the acknowledgement.
    #[track_caller]
    pub fn holds(&self, topic: &str, messages: u64) {
        eventually(|| {
            let described = self.run(["topic", "describe", topic, "--json"]).json();
            let queues = described["queues"].as_array().expect("queues").iter();
            queues
                .map(|queue| queue["max_offset"].as_u64().expect("an offset"))
                .sum::<u64>()
                == messages
        });
    }

    pub fn command(&self) -> Command {
        let mut command = foliomq();
        command.env("FOLIOMQ_ENDPOINT", &self.endpoint);
        command
    }

    pub fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Waits for its end; its exit code, and what else it printed.
    pub fn wait(mut self) -> (i32, String) {
        let code = self
            .child
            .wait()
            .expect("the broker ends")
            .code()
            .unwrap_or(-1);
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).expect("its output can be read");
        (code, rest)
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().0, 0, "a graceful stop is a success");
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `foliomq serve` on a small store in `dir` and a free port.
pub fn serve(dir: &Path) -> Command {
    let mut command = foliomq();
    command
        .arg("serve")
        .arg("--store-dir")
        .arg(dir.join("store"));
    command.args(["--listen", "127.0.0.1:0", "--segment-size", "16MiB"]);
    // The machine's disk may be full for reasons of its own.
    command.args(["--set", "disk-high=off", "--set", "disk-refuse=100%"]);
    command
}

pub fn send_signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

fn feed(stdin: Option<ChildStdin>, input: &[u8]) {
    // A program that fails early does not read to the end.
    let _ = stdin.expect("its input is piped").write_all(input);
}

/// Waits until another process has done something that it does not tell of.
#[track_caller]
pub fn eventually(mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(
            begin.elapsed() < LIMIT,
            "it did not happen within {LIMIT:?}"
        );
        std::thread::sleep(PAUSE);
    }
}
