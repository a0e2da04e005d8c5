//! Log lines on standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use foliomq_server::LogControl;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::settings::LogFormat;

/// Quiet: what goes wrong, and what an operator should look at.
pub const DEFAULT: &str = "warn";

/// A client that dials an address instead of a name sends a server name that TLS forbids, which does no harm: it would be
/// a warning for each of its connections. A filter that names this target brings them back.
const HARMLESS: &str = "rustls::msgs::handshake=error";

/// Sets up logging for the rest of the process; returns what changes the filter.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<LogControl> {
    let (filter, handle) = reload::Layer::new(directives(filter)?);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let started = registry().with(filter).with(lines).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))?;
    Ok(LogControl::new(move |filter| {
        change(&handle, filter).map_err(|error| format!("{error:#}"))
    }))
}

/// The filter before, and after a text that is not empty has become it.
fn change<S>(handle: &Handle<EnvFilter, S>, filter: &str) -> anyhow::Result<(String, String)> {
    let shown = || handle.with_current(ToString::to_string);
    let before = shown()?;
    if !filter.is_empty() {
        handle.reload(directives(filter)?)?;
    }
    Ok((before, shown()?))
}

/// What the filter says comes last, and so wins. Values of fields are texts and no patterns: these could take any memory.
fn directives(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder()
        .with_regex(false)
        .parse(format!("{HARMLESS},{filter}"))
        .with_context(|| format!("log filter {filter:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_wins_over_what_is_left_out() {
        let shown = |filter: &str| directives(filter).unwrap().to_string();
        assert!(shown(DEFAULT).contains(HARMLESS));
        let own = shown("warn,rustls::msgs::handshake=debug");
        assert!(!own.contains(HARMLESS), "{own}");
        assert!(own.contains("rustls::msgs::handshake=debug"), "{own}");
    }

    #[test]
    fn a_changed_filter_holds_at_once_and_a_wrong_one_changes_nothing() {
        let (layer, handle) = reload::Layer::new(directives("warn").unwrap());
        let lines = fmt::layer().with_writer(io::sink);
        let subscriber = registry().with(layer).with(lines);
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::DEBUG));
            let (before, now) = change(&handle, "debug").unwrap();
            assert!(before.contains("warn") && now.contains("debug"), "{now}");
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            assert!(change(&handle, "foliomq=loud").is_err());
            assert_eq!(change(&handle, "").unwrap(), (now.clone(), now));
        });
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        let error = directives("foliomq=loud").unwrap_err().to_string();
        assert!(error.contains("\"foliomq=loud\""), "{error}");
    }
}
