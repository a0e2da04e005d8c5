//! A driver that is a process of its own: commands go to its standard input, answers come from its
//! standard output.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio::time::timeout;

use super::{Command, Delivery, Driver, Failure, Kind, Reply};
use crate::binary::tests_folder;

/// How long a driver may take to come up: two interpreters load a gRPC stack first.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a command may take; the longest ones are long polls and starts that retry.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

type Waiting = Mutex<HashMap<u64, oneshot::Sender<Result<Reply, Failure>>>>;
type Listeners = Mutex<HashMap<String, mpsc::UnboundedSender<Delivery>>>;

/// What the process's answers are matched with.
#[derive(Default)]
struct Open {
    commands: Waiting,
    listeners: Listeners,
}

/// A running driver process. Dropping it kills the process.
pub struct Process {
    _child: Child,
    input: AsyncMutex<ChildStdin>,
    open: Arc<Open>,
    next_id: AtomicU64,
    _home: TempDir,
}

impl Process {
    /// Starts the driver of `kind`, with a home folder of its own: two of the libraries log there.
    ///
    /// # Errors
    /// If it is not installed or does not come up.
    pub async fn start(kind: Kind, environment: &[(&str, String)]) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut child = program(kind)?
            .env("HOME", home.path())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if std::env::var_os("DRIVER_LOG").is_some() {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the {kind} driver: run tests/setup"))?;
        let input = child.stdin.take().context("no standard input")?;
        let mut output = BufReader::new(child.stdout.take().context("no standard output")?);
        let mut first = String::new();
        let ready = timeout(START_LIMIT, output.read_line(&mut first)).await;
        if !matches!(ready, Ok(Ok(_))) || !first.contains("\"ready\"") {
            bail!("the {kind} driver does not come up: run tests/setup (DRIVER_LOG=1 shows why)");
        }
        let open = Arc::new(Open::default());
        tokio::spawn(read_answers(output, open.clone()));
        let (input, next_id) = (AsyncMutex::new(input), AtomicU64::new(1));
        Ok(Self {
            _child: child,
            input,
            open,
            next_id,
            _home: home,
        })
    }

    async fn exchange(&self, command: Command) -> Result<Reply, Failure> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.open
            .commands
            .lock()
            .expect("no panic holds the lock")
            .insert(id, sender);
        self.write(id, &command)
            .await
            .map_err(|error| crashed(&error.to_string()))?;
        match timeout(COMMAND_LIMIT, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(crashed("the driver's process ended")),
            Err(_) => Err(Failure::local(
                "time limit",
                "the client did not answer the command",
            )),
        }
    }

    async fn write(&self, id: u64, command: &Command) -> Result<()> {
        let mut line = serde_json::to_value(command)?;
        line["id"] = Value::from(id);
        let mut input = self.input.lock().await;
        input.write_all(format!("{line}\n").as_bytes()).await?;
        Ok(input.flush().await?)
    }
}

impl Driver for Process {
    fn call(&self, command: Command) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.exchange(command))
    }

    fn deliveries(&self, name: &str) -> mpsc::UnboundedReceiver<Delivery> {
        let (sender, deliveries) = mpsc::unbounded_channel();
        let mut listeners = self.open.listeners.lock().expect("no panic holds the lock");
        listeners.insert(name.to_owned(), sender);
        deliveries
    }
}

fn crashed(text: &str) -> Failure {
    Failure::local("crash", text)
}

/// The command line of each driver.
fn program(kind: Kind) -> Result<tokio::process::Command> {
    let clients = tests_folder().join("clients");
    let (program, script) = match kind {
        Kind::Python => (
            tests_folder().join(".venv/bin/python"),
            Some(clients.join("python/driver.py")),
        ),
        Kind::Node => ("node".into(), Some(clients.join("node/driver.js"))),
        Kind::Rust => (clients.join("rust/target/debug/foliomq-rust-driver"), None),
        Kind::Raw => bail!("the raw driver is no process"),
    };
    let mut command = tokio::process::Command::new(program);
    command.args(script);
    Ok(command)
}

/// One line from the driver.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Done { id: u64, ok: Reply },
    Failed { id: u64, error: Failure },
    Delivery(Box<Delivery>),
}

async fn read_answers(output: BufReader<ChildStdout>, open: Arc<Open>) {
    let mut lines = output.lines();
    while let Ok(Some(text)) = lines.next_line().await {
        match serde_json::from_str(&text) {
            Ok(Line::Done { id, ok }) => settle(&open, id, Ok(ok)),
            Ok(Line::Failed { id, error }) => settle(&open, id, Err(error)),
            Ok(Line::Delivery(delivery)) => report(&open, *delivery),
            Err(error) => eprintln!("a driver wrote what is not an answer ({error}): {text:.200}"),
        }
    }
    // Dropping the senders tells every waiting command that the process is gone.
    open.commands
        .lock()
        .expect("no panic holds the lock")
        .clear();
    open.listeners
        .lock()
        .expect("no panic holds the lock")
        .clear();
}

fn settle(open: &Open, id: u64, outcome: Result<Reply, Failure>) {
    let waiting = open
        .commands
        .lock()
        .expect("no panic holds the lock")
        .remove(&id);
    if let Some(waiting) = waiting {
        // A command that ran into its time limit has stopped waiting.
        let _ = waiting.send(outcome);
    }
}

fn report(open: &Open, delivery: Delivery) {
    let listeners = open.listeners.lock().expect("no panic holds the lock");
    if let Some(listener) = listeners.get(&delivery.name) {
        // A scenario that has seen enough has dropped its end.
        let _ = listener.send(delivery);
    }
}
