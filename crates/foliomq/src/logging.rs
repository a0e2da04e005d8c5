//! Log lines on standard error.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Quiet: what goes wrong, and what an operator should look at.
pub const DEFAULT: &str = "warn";

/// A client that dials an address instead of a name sends a server name that TLS forbids, which does no harm: it would be
/// a warning for each of its connections. A filter that names this target brings them back.
const HARMLESS: &str = "rustls::msgs::handshake=error";

/// Sets up logging for the rest of the process.
pub fn start(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = directives(filter)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// What the filter says comes last, and so wins.
fn directives(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{HARMLESS},{filter}"))
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
    fn a_filter_that_is_none_is_named() {
        let error = directives("foliomq=loud").unwrap_err().to_string();
        assert!(error.contains("\"foliomq=loud\""), "{error}");
    }
}
