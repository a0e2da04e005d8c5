//! `foliomq serve`: a broker until it is told to stop.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use foliomq_delivery::Groups;
use foliomq_server::{LogControl, Server};
use foliomq_store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::Failure;
use crate::logging;
use crate::output::Output;
use crate::settings::{self, Flag, Layers, LogFormat, Settings};

const AFTER_HELP: &str = "Every setting can also be given as --set KEY=VALUE, as FOLIOMQ_KEY in the \
environment, and as a line `key = value` in the file. Flags win over the environment, and that wins over the file. \
`foliomq serve --print-config` lists every setting.";

/// What was interrupted twice ends with this code.
const INTERRUPTED: i32 = 130;

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct Serve {
    /// Folder of the store [default: foliomq-data]
    #[arg(long, value_name = "DIR")]
    store_dir: Option<String>,

    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,

    /// Address on which Prometheus scrapes /metrics; port 0 takes a free one [default: off]
    #[arg(long, value_name = "ADDR:PORT")]
    metrics_listen: Option<String>,

    /// Address for clients that do not say which one they dialled
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,

    /// When a message counts as stored: on the disk, or in the page cache [default: sync]
    #[arg(long, value_parser = ["sync", "async"])]
    flush: Option<String>,

    /// Bytes of one file of the log, 16MiB to 4GiB [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    segment_size: Option<String>,

    /// What is made resident ahead of the appender [default: window]
    #[arg(long, value_parser = ["window", "segment", "off"])]
    preheat: Option<String>,

    /// Make topics on first use [default: true]
    #[arg(long, value_parser = ["true", "false"])]
    auto_create: Option<String>,

    /// Certificate chain, a PEM file [default: a self-signed one, made at first start]
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<String>,

    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,

    /// Any setting; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,

    /// Settings as a TOML file
    #[arg(
        long,
        value_name = "FILE",
        env = "FOLIOMQ_CONFIG",
        hide_env_values = true
    )]
    config: Option<PathBuf>,

    /// Print every setting with its value and source, and stop
    #[arg(long)]
    print_config: bool,

    /// Print the settings as JSON
    #[arg(long, requires = "print_config")]
    json: bool,
}

impl Serve {
    /// Serves until a signal ends it.
    pub fn run(self, log: Option<String>, log_format: Option<LogFormat>) -> anyhow::Result<()> {
        let layers = self.layers(log, log_format)?;
        let settings = layers.resolve()?;
        if self.print_config {
            let mut out = Output::new(self.json);
            settings::print(&settings, &layers, &mut out)?;
            return Ok(out.flush()?);
        }
        let log = logging::start(&settings.log, settings.log_format)?;
        let (store, groups) = open(&settings)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("cannot start the async runtime")?;
        let served = runtime.block_on(serve(&settings, log, store.clone(), groups.clone()));
        served.and(close(&store, &groups))
    }

    fn layers(&self, log: Option<String>, log_format: Option<LogFormat>) -> anyhow::Result<Layers> {
        let mut layers = Layers::default();
        if let Some(path) = &self.config {
            layers = layers.file(path)?;
        }
        let layers = layers.environment(variables());
        Ok(layers
            .flags(self.set.clone(), Flag::Set)?
            .flags(self.flags(log, log_format), Flag::Own)?)
    }

    fn flags(&self, log: Option<String>, log_format: Option<LogFormat>) -> Vec<(String, String)> {
        let format = log_format.map(|format| settings::Value::show(&format));
        let flags = [
            ("store-dir", self.store_dir.clone()),
            ("listen", self.listen.clone()),
            ("metrics-listen", self.metrics_listen.clone()),
            ("advertise", self.advertise.clone()),
            ("flush", self.flush.clone()),
            ("segment-size", self.segment_size.clone()),
            ("preheat", self.preheat.clone()),
            ("auto-create", self.auto_create.clone()),
            ("tls-certificate", self.tls_certificate.clone()),
            ("tls-key", self.tls_key.clone()),
            ("log", log),
            ("log-format", format),
        ];
        flags
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect()
    }
}

/// The environment, without what is no text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn open(settings: &Settings) -> anyhow::Result<(Store, Groups)> {
    let cannot_open = || format!("cannot open the store in {}", settings.store_dir.display());
    let store = settings.store().open().with_context(cannot_open)?;
    let recovery = store.recovery();
    if let Some(cut) = &recovery.cut {
        tracing::warn!(
            position = cut.position, segment = %cut.segment.display(), reason = %cut.reason,
            "the log's end was torn and has been cut; nothing that was acknowledged as flushed is affected",
        );
    } else if !recovery.clean {
        tracing::warn!(
            start = recovery.start,
            end = recovery.end,
            "the store was not closed; it was recovered whole"
        );
    }
    let groups = Groups::open(store.clone(), settings.groups()).with_context(cannot_open)?;
    Ok((store, groups))
}

/// The store is closed whatever became of the groups: it makes durable what was acknowledged.
fn close(store: &Store, groups: &Groups) -> anyhow::Result<()> {
    let groups = groups.close().context("cannot close the delivery journal");
    let store = store.close().context("cannot close the store");
    groups.and(store)
}

async fn serve(
    settings: &Settings,
    log: LogControl,
    store: Store,
    groups: Groups,
) -> anyhow::Result<()> {
    let signals = Signals::new()?;
    let mut config = settings.server();
    config.log = Some(log);
    let server = Server::bind(config, store, groups).await?;
    announce(&server, settings);
    server.serve(signals.first()).await?;
    tracing::info!("stopped serving; closing the store");
    Ok(())
}

/// One line on standard output, for people and for scripts that wait for it. A closed output stops no broker.
fn announce(server: &Server, settings: &Settings) {
    let metrics = server.metrics_addr();
    let metrics = metrics.map(|address| format!(", metrics http://{address}/metrics"));
    let line = format!(
        "foliomq {} ready on {} (store {}, flush {}{})\n",
        env!("CARGO_PKG_VERSION"),
        server.local_addr(),
        settings.store_dir.display(),
        settings::Value::show(&settings.flush),
        metrics.unwrap_or_default(),
    );
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is closed");
    }
}

/// What an operator or a supervisor sends to stop a process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Resolves with the first signal. The second ends the process at once, whatever is in flight.
    async fn first(mut self) {
        self.next().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(INTERRUPTED);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn key_value(text: &str) -> Result<(String, String), Failure> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let (key, value) = pair.ok_or_else(|| Failure::Usage("expected KEY=VALUE".to_owned()))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
