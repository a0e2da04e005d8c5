//! Servers of others, started on loopback with a folder of their own, and ended.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::drive::{Drive, Driven};
use super::{nats, redis};

/// What a server gets to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

/// Which server, in which mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Nats,
    RedisEverySecond,
    RedisAlways,
}

impl Which {
    pub const ALL: [Self; 3] = [Self::Nats, Self::RedisEverySecond, Self::RedisAlways];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nats => "NATS JetStream",
            Self::RedisEverySecond => "Redis Streams everysec",
            Self::RedisAlways => "Redis Streams always",
        }
    }

    pub fn program(self) -> &'static str {
        match self {
            Self::Nats => "nats-server",
            Self::RedisEverySecond | Self::RedisAlways => "redis-server",
        }
    }

    fn durability(self) -> &'static str {
        match self {
            Self::Nats => {
                "file storage, one replica, the default sync interval of 2 minutes: in the page cache"
            }
            Self::RedisEverySecond => {
                "appendonly yes, appendfsync everysec: in the page cache, flushed every second; all data in memory"
            }
            Self::RedisAlways => {
                "appendonly yes, appendfsync always: flushed before the answer, shared by one turn of its loop"
            }
        }
    }

    fn arguments(self, port: u16, dir: &Path) -> Vec<String> {
        let dir = dir.display().to_string();
        let port = port.to_string();
        let arguments = match self {
            Self::Nats => vec!["-js", "-sd", &dir, "-a", "127.0.0.1", "-p", &port],
            Self::RedisEverySecond | Self::RedisAlways => {
                let sync = if self == Self::RedisAlways {
                    "always"
                } else {
                    "everysec"
                };
                vec![
                    "--port",
                    &port,
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    &dir,
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    sync,
                    "--auto-aof-rewrite-percentage",
                    "0",
                ]
            }
        };
        arguments.into_iter().map(str::to_owned).collect()
    }
}

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Peer {
    which: Which,
    /// What the program says of itself.
    version: String,
    child: Child,
    port: u16,
    _dir: TempDir,
}

impl Peer {
    /// `None` if the program is not installed.
    pub fn start(which: Which, folder: &Path) -> Result<Option<Self>> {
        let Some(program) = find(which.program()) else {
            return Ok(None);
        };
        let dir = tempfile::Builder::new()
            .prefix("peer-")
            .tempdir_in(folder)?;
        let port = free_port()?;
        let log = File::create(dir.path().join("log"))?;
        let child = Command::new(&program)
            .args(which.arguments(port, dir.path()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        let peer = Self {
            which,
            version: version(&program, which)?,
            child: child.with_context(|| format!("starting {}", program.display()))?,
            port,
            _dir: dir,
        };
        let begin = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            ensure!(
                begin.elapsed() < PATIENCE,
                "{} does not listen",
                which.name()
            );
            sleep(PAUSE);
        }
        Ok(Some(peer))
    }

    pub async fn publish(&self, drive: &Drive, window: usize) -> Result<Driven> {
        let stream = self.connect().await?;
        match self.which {
            Which::Nats => nats::publish(stream, drive, window, self.pid()).await,
            _ => redis::publish(stream, drive, window, self.pid()).await,
        }
    }

    pub async fn read(
        &self,
        drive: &Drive,
        (fetch, stored): (usize, u64),
        acknowledge: bool,
    ) -> Result<Driven> {
        let (stream, pid) = (self.connect().await?, self.pid());
        match self.which {
            Which::Nats => nats::read(stream, drive, fetch, stored, acknowledge, pid).await,
            _ => redis::read(stream, drive, fetch, stored, acknowledge, pid).await,
        }
    }

    pub async fn round_trip(&self, drive: &Drive, rate: f64) -> Result<Driven> {
        let stream = self.connect().await?;
        match self.which {
            Which::Nats => nats::round_trip(stream, drive, rate, self.pid()).await,
            _ => redis::round_trip(stream, drive, rate, self.pid()).await,
        }
    }

    /// Its version, and what an acknowledgement stands for.
    pub fn durability(&self) -> String {
        format!("{}; {}", self.version, self.which.durability())
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already needs no signal.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let begin = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if begin.elapsed() > PATIENCE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(PAUSE);
        }
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// The first line that the program says when it is asked for its version.
fn version(program: &Path, which: Which) -> Result<String> {
    let option = match which {
        Which::Nats => "-v",
        Which::RedisEverySecond | Which::RedisAlways => "--version",
    };
    let said = Command::new(program).arg(option).output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next().unwrap_or_default();
    // Redis says how it was built, too.
    Ok(line.split(" sha=").next().unwrap_or_default().to_owned())
}

/// Free at this moment.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    Ok(listener.local_addr()?.port())
}
