//! Work that has a process of its own: to be killed, or so that its memory is its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::scale::Scale;

/// Such a process. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts this program in a role, on a folder, and waits for its figures.
    pub fn start<T: DeserializeOwned>(
        role: &str,
        folder: &Path,
        scale: &Scale,
    ) -> Result<(Self, T)> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role)
            .arg(folder)
            .arg(serde_json::to_string(scale)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting the process of {role}"))?;
        let output = child.stdout.take().context("no output of the process")?;
        let process = Self(child);
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let figures = serde_json::from_str(&line);
        Ok((process, figures.with_context(|| format!("{role} failed"))?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to end.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hands figures to the process that started this one, and waits until that kills it.
pub fn hand_over(figures: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(figures)?);
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
