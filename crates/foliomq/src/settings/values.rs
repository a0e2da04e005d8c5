//! How the value of a setting is written, type by type.

use std::net::SocketAddr;
use std::path::PathBuf;

use foliomq_server::Encoding;
use foliomq_store::ReadMode;

use crate::units::{Share, Size, Span};

/// What switches an optional setting off.
const OFF: &str = "off";

/// A type that a setting can have.
pub trait Value: Sized {
    /// `None` for a text that is no such value.
    fn parse(text: &str) -> Option<Self>;
    /// The text that [`parse`](Self::parse) takes.
    fn show(&self) -> String;
}

/// When a message counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    Sync,
    Async,
}

/// What is made resident ahead of the appender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PreheatMode {
    Window,
    Segment,
    Off,
}

/// How much memory is for what reads of history bring in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColdCache {
    /// A quarter of what there is.
    Auto,
    Bytes(Size),
}

impl ColdCache {
    pub fn bytes(self) -> Option<u64> {
        match self {
            Self::Auto => None,
            Self::Bytes(size) => Some(size.0),
        }
    }
}

impl Value for ColdCache {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            size => Size::parse(size).map(Self::Bytes),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Auto => "auto".to_owned(),
            Self::Bytes(size) => size.show(),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

macro_rules! by_name {
    ($type:ty { $($name:literal = $value:path),+ $(,)? }) => {
        impl Value for $type {
            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($name => Some($value),)+
                    _ => None,
                }
            }

            fn show(&self) -> String {
                match self {
                    $($value => $name.to_owned(),)+
                }
            }
        }
    };
}

by_name!(FlushMode { "sync" = FlushMode::Sync, "async" = FlushMode::Async });
by_name!(PreheatMode { "window" = PreheatMode::Window, "segment" = PreheatMode::Segment, "off" = PreheatMode::Off });
by_name!(LogFormat { "text" = LogFormat::Text, "json" = LogFormat::Json });
by_name!(ReadMode { "mapped" = ReadMode::Mapped, "buffered" = ReadMode::Buffered });
by_name!(Encoding { "own" = Encoding::Own, "tonic" = Encoding::Tonic });

macro_rules! by_from_str {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn parse(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

by_from_str!(bool, u32, usize, SocketAddr, Size, Span, Share);

impl Value for String {
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self::from(text))
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Option<Self> {
        if text == OFF {
            Some(None)
        } else {
            T::parse(text).map(Some)
        }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| OFF.to_owned(), Value::show)
    }
}
