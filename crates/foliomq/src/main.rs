//! FolioMQ in one binary: the broker and its command line.
#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod failure;
mod logging;
mod logs;
mod moment;
mod output;
mod settings;
mod shown;
mod table;
mod units;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match commands::run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure::report(&error),
    }
}
