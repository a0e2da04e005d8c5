//! What every command line of the program has in common.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    bench, client, group, inspect, log, message, query, receive, send, serve, status, tail, topic,
    verify,
};
use crate::settings::LogFormat;

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    the broker or the store refused, or nothing was found
  2    wrong usage or settings
  3    the broker cannot be reached
  4    the store is damaged
  5    the address or the store is in use by another process
  130  stopped by an interrupt: a bench by the first, a broker at once by the second";

/// A message queue on a mapped commit log.
#[derive(Debug, Parser)]
#[command(name = "foliomq", version, after_help = EXIT_CODES, max_term_width = 110)]
pub struct Arguments {
    /// Which log lines go to standard error: warn, info, foliomq_server=debug, … [env: FOLIOMQ_LOG] [default: warn]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logging")]
    pub log: Option<String>,

    /// How log lines look [env: FOLIOMQ_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_enum, help_heading = "Logging")]
    pub log_format: Option<LogFormat>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker
    Serve(Box<serve::Serve>),
    /// Create, list, describe and delete topics
    Topic(topic::Topics),
    /// List, describe, change, move and delete consumer groups
    Group(group::Groups),
    /// List, describe and question the clients that are connected
    Client(client::Clients),
    /// Recall a delayed message, or have a connected client consume one on trial
    Message(message::Messages),
    /// Show which log lines a broker writes, or change that until it ends
    Log(log::Log),
    /// Send a message, or each line of a file
    Send(send::Send),
    /// Receive messages for a group and acknowledge them
    Receive(receive::Receive),
    /// Watch a topic without a group
    Tail(tail::Tail),
    /// Find messages by id, key and time
    Query(query::Query),
    /// Show how a broker does
    Status(status::Status),
    /// Measure a broker: how many messages it takes and gives, and how long each one takes
    Bench(Box<bench::Bench>),
    /// Show what a store's folder holds, without a broker
    Inspect(inspect::Inspect),
    /// Check every record of a store's folder, or salvage it, without a broker
    Verify(verify::Verify),
}

/// Which broker to talk to.
#[derive(Debug, Args)]
pub struct Remote {
    /// Address of the broker
    #[arg(
        long,
        env = "FOLIOMQ_ENDPOINT",
        hide_env_values = true,
        global = true,
        default_value = "127.0.0.1:8081",
        value_name = "HOST:PORT"
    )]
    pub endpoint: String,

    /// Talk over TLS, and trust whom the system trusts
    #[arg(long, global = true, env = "FOLIOMQ_TLS", hide_env_values = true)]
    pub tls: bool,

    /// Talk over TLS, and trust the certificates of this file (PEM) only; a broker's own is in its store, as
    /// tls/certificate.pem
    #[arg(
        long,
        global = true,
        env = "FOLIOMQ_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,

    /// The broker's certificate is to be of this name, whatever was dialled
    #[arg(long, global = true, value_name = "NAME")]
    pub server_name: Option<String>,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub struct Format {
    /// Print JSON: one document, or one line per message
    #[arg(long, global = true)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn well_formed_lines_parse() {
        for line in [
            "foliomq serve",
            "foliomq serve --store-dir /x --listen 127.0.0.1:0 --flush async --segment-size 16MiB --preheat off",
            "foliomq serve --auto-create false --set max-body=1MiB --set log=info --print-config --json",
            "foliomq topic create orders --queues 4 --type normal",
            "foliomq topic create orders --permission write --keep-for 7d --keep-bytes 1GiB --lite-ttl default",
            "foliomq topic list --json --endpoint b:1",
            "foliomq group reset g orders --to earliest",
            "foliomq group update g --max-attempts 3",
            "foliomq group delete g --topic orders --json",
            "foliomq client list --group g --json",
            "foliomq client describe host@1",
            "foliomq client threads host@1",
            "foliomq message verify orders 01AB --client host@1 --group g",
            "foliomq message recall orders HANDLE --json",
            "foliomq log",
            "foliomq log warn,foliomq=debug --json",
            "foliomq send orders hello --tag a --key k --key l --property a=b --id 01",
            "foliomq send orders -",
            "foliomq send orders hello --priority 3",
            "foliomq send orders --lines - --lite-topic room:1",
            "foliomq send orders --lines -",
            "foliomq receive orders --group g --max 3 --wait 1s --raw",
            "foliomq receive orders --group g --lite-topic a --lite-topic b",
            "foliomq receive orders --group g --sql price>20",
            "foliomq tail orders --from -5",
            "foliomq query orders --key k",
            "foliomq query orders --key k --from 1h",
            "foliomq query orders --from 2026-11-23T10:15:00Z --to 5m --queue 3 --max 1000 --page 3.17 --json",
            "foliomq bench produce",
            "foliomq bench roundtrip --api v2 --rate 5000 --size 256B --duration 5s --json out.json --plot out.svg",
            "foliomq bench consume --endpoint b:1 --topic orders --no-ack --connections 4 --streams 2 --tls",
            "foliomq bench produce --spawn --set flush=async --compare flush=sync --rounds 3",
            "foliomq inspect /x --json",
            "foliomq inspect /x --residency",
            "foliomq inspect --residency --endpoint b:1",
            "foliomq verify /x --salvage",
            "foliomq --log debug status",
            "foliomq status --tls",
            "foliomq tail orders --ca /x/certificate.pem --server-name localhost",
        ] {
            assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
        }
    }

    #[test]
    fn malformed_lines_are_usage_errors() {
        for line in [
            "foliomq",
            "foliomq serve --flush sometimes",
            "foliomq serve --set max-body",
            "foliomq serve --json",
            "foliomq topic create",
            "foliomq topic create t --type odd",
            "foliomq topic create t --keep-for 0s",
            "foliomq topic update t",
            "foliomq client describe",
            "foliomq message verify orders 01AB",
            "foliomq send orders",
            "foliomq send orders body --lines f",
            "foliomq send orders body --property novalue",
            "foliomq send orders body --priority -1",
            "foliomq send orders body --priority 1 --lite-topic l",
            "foliomq send orders body --priority 1 --delay 1s",
            "foliomq send orders body --lite-topic l --message-group g",
            "foliomq message recall orders",
            "foliomq send orders --lines f --id 01",
            "foliomq receive orders",
            "foliomq receive orders --group g --wait 5",
            "foliomq receive orders --group g --newline",
            "foliomq receive orders --group g --sql a=1 --tag b",
            "foliomq tail orders --from sometime",
            "foliomq query orders",
            "foliomq query orders --id 01 --key k",
            "foliomq query orders --page 0.1",
            "foliomq query orders --key k --page 0.1",
            "foliomq query orders --from sometime",
            "foliomq group update g",
            "foliomq inspect",
            "foliomq bench",
            "foliomq bench sleep",
            "foliomq bench produce --rate fast",
            "foliomq bench produce --compare flush",
            "foliomq bench produce --messages 10 --duration 1s",
        ] {
            assert!(
                parse(line).is_err_and(|error| error.exit_code() == 2),
                "{line}"
            );
        }
    }
}
