//! Standard output: text or JSON, never with colours.

use std::io::{self, BufWriter, StdoutLock, Write};

use serde::Serialize;

use crate::table::Table;

/// Where a command prints. Buffered: [`flush`](Self::flush) before waiting for anything.
pub struct Output {
    json: bool,
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Self {
            json,
            out: BufWriter::new(io::stdout().lock()),
        }
    }

    /// Whether JSON is asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One JSON document on one line.
    pub fn json(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, value).map_err(io::Error::from)?;
        self.out.write_all(b"\n")
    }

    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.raw(text.as_ref().as_bytes())?;
        self.out.write_all(b"\n")
    }

    pub fn table<const N: usize>(&mut self, table: &Table<N>) -> io::Result<()> {
        table.write(&mut self.out)
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
