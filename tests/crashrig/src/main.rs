//! Cuts the power of a store on a real kernel and a real file system, again and again, and checks what is left.
//!
//! A store runs under load on ext4, on a loop device, on a FUSE file that records every write and flush. Images are
//! made from the record: what was flushed, plus a random, torn and reordered part of what was not. Each is mounted,
//! so that the kernel replays its journal, the store is opened, and what was promised must be there.
#![forbid(unsafe_code)]

mod body;
mod brink;
mod check;
mod device;
mod enclosure;
mod events;
mod flush_error;
mod fuse;
mod history;
mod image;
mod load;
mod mount;
mod note;
mod page;
mod power;
mod process;
mod recording;
mod refusal;
mod replay;
mod report;
mod settings;
mod take;
mod without;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Crash safety of the store on a real kernel", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Cut the power.
    Power(power::Arguments),
    /// Let flushes fail on a device that is full.
    FlushError(flush_error::Arguments),
    /// Write the page of what was found.
    Page(page::Arguments),
    /// Serve a device that records; for the rig itself.
    #[command(hide = true)]
    Device(device::Arguments),
    /// Be a store under load; for the rig itself.
    #[command(hide = true)]
    Load(load::Arguments),
    /// Be a store on a device that fails; for the rig itself.
    #[command(hide = true)]
    Brink(brink::Arguments),
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Command::Power(arguments) => enclosed(|folder| power::run(&arguments, folder)),
        Command::FlushError(arguments) => enclosed(|folder| flush_error::run(&arguments, folder)),
        Command::Page(arguments) => page::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Brink(arguments) => brink::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Device(arguments) => device::serve(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Load(arguments) => load::run(&arguments).map(|()| ExitCode::SUCCESS),
    }
}

/// Runs `work` in a folder of its own, where this machine allows what it takes.
fn enclosed(work: impl FnOnce(&std::path::Path) -> Result<bool>) -> Result<ExitCode> {
    if let Some(folder) = enclosure::folder() {
        let good = work(&folder)?;
        return Ok(if good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    match enclosure::missing() {
        None => match enclosure::enter()? {},
        Some(reason) => {
            println!("skipped: {reason}");
            Ok(ExitCode::SUCCESS)
        }
    }
}
