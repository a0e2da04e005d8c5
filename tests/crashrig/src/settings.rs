//! What the rig is asked for.

use clap::ValueEnum;
use foliomq_store::WriterKind;
use serde::Serialize;

/// When the store may acknowledge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Once a message is on the device.
    Sync,
    /// At once; a promise is only what a flush that was asked for returns on.
    Async,
}

/// How the store writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Writer {
    /// Into a mapping.
    Mapped,
    /// By `pwrite`, from memory of its own.
    Staged,
}

impl Writer {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Staged => "staged",
        }
    }

    /// As the store calls it.
    pub fn kind(self) -> WriterKind {
        match self {
            Self::Mapped => WriterKind::Mapped,
            Self::Staged => WriterKind::Staged,
        }
    }
}

/// What happens to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The power is cut.
    PowerCut,
    /// The same, of a store that acknowledges before it flushes: the rig must find this.
    AcknowledgedEarly,
    /// The same, on a device that says it has flushed and has not: the rig must find this, too.
    LyingDevice,
}

impl Mode {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
        }
    }
}

impl Fault {
    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::PowerCut => "power-cut",
            Self::AcknowledgedEarly => "acknowledged-early",
            Self::LyingDevice => "lying-device",
        }
    }

    /// Whether messages must be lost for the rig to be worth something.
    pub fn planted(self) -> bool {
        self != Self::PowerCut
    }
}
