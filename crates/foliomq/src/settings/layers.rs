//! Where settings come from: flags, then the environment, then a file, then the defaults.

use std::fmt;
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};

use super::rows::{ROWS, Row};
use super::{Settings, print};

const PREFIX: &str = "FOLIOMQ_";

/// What gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(variable) => write!(f, "env {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Which flag the command line used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flag {
    /// `--segment-size 1GiB`
    Own,
    /// `--set segment-size=1GiB`
    Set,
}

/// Settings that cannot be: the text names the key, where it stands, and what is allowed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Invalid {
    #[error("{key} = {value:?} ({source_name}): expected {allowed}")]
    Value {
        key: &'static str,
        value: String,
        source_name: String,
        allowed: &'static str,
    },
    #[error(
        "unknown setting {key:?} ({source_name}){suggestion}; `foliomq serve --print-config` lists all"
    )]
    Key {
        key: String,
        source_name: String,
        suggestion: String,
    },
    #[error("{reason}: {one} comes from {one_source}, {other} from {other_source}")]
    Contradiction {
        reason: &'static str,
        one: &'static str,
        one_source: String,
        other: &'static str,
        other_source: String,
    },
    #[error("cannot read the settings in {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
}

/// The layers above the defaults.
#[derive(Debug, Default)]
pub struct Layers {
    figment: Figment,
}

impl Layers {
    /// The lowest: a TOML file with `key = value` lines.
    pub fn file(self, path: &Path) -> Result<Self, Invalid> {
        let unreadable = |reason: String| Invalid::File {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        let values: Dict = Toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
        let source = Source::File(path.to_owned());
        known_keys(values.keys().map(String::as_str), &source.to_string())?;
        Ok(self.over(Layer {
            name: format!("file {}", path.display()),
            values,
        }))
    }

    /// Above it: variables `FOLIOMQ_KEY`. Others with that prefix are left alone: a container platform makes some of its own.
    pub fn environment(self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let named = |(name, value): (String, String)| {
            let key = name.strip_prefix(PREFIX)?.replace('_', "-").to_lowercase();
            let row = Row::of(&key)?;
            (row.variable() == name).then(|| (row.key.to_owned(), Value::from(value)))
        };
        let values = variables.into_iter().filter_map(named).collect();
        self.over(Layer {
            name: "environment".to_owned(),
            values,
        })
    }

    /// The highest: what the command line says, by a flag of the setting's own name or by `--set KEY=VALUE`.
    pub fn flags(
        self,
        flags: impl IntoIterator<Item = (String, String)>,
        flag: Flag,
    ) -> Result<Self, Invalid> {
        let values: Dict = flags
            .into_iter()
            .map(|(key, value)| (key, Value::from(value)))
            .collect();
        known_keys(values.keys().map(String::as_str), "flag --set")?;
        let name = match flag {
            Flag::Own => "flag",
            Flag::Set => "flag --set",
        };
        Ok(self.over(Layer {
            name: name.to_owned(),
            values,
        }))
    }

    /// The settings that result.
    pub fn resolve(&self) -> Result<Settings, Invalid> {
        let mut settings = Settings::default();
        for row in ROWS {
            let Ok(value) = self.figment.find_value(row.key) else {
                continue;
            };
            let text = text_of(&value);
            let allowed = text
                .as_deref()
                .is_some_and(|text| (row.set)(&mut settings, text));
            if !allowed {
                let value = text.unwrap_or_else(|| "a list or table".to_owned());
                return Err(Invalid::Value {
                    key: row.key,
                    value,
                    source_name: self.source(row).to_string(),
                    allowed: row.allowed,
                });
            }
        }
        match settings.contradiction() {
            Some((one, other, reason)) => Err(self.contradiction(one, other, reason)),
            None => Ok(settings),
        }
    }

    /// What gives a setting its value.
    pub fn source(&self, row: &Row) -> Source {
        let Some(metadata) = self.figment.find_metadata(row.key) else {
            return Source::Default;
        };
        match (metadata.name.as_ref(), metadata.name.strip_prefix("file ")) {
            (_, Some(path)) => Source::File(PathBuf::from(path)),
            ("environment", _) => Source::Environment(row.variable()),
            ("flag --set", _) => Source::Flag(format!("--set {}", row.key)),
            _ => Source::Flag(format!("--{}", row.key)),
        }
    }

    fn over(mut self, layer: Layer) -> Self {
        self.figment = self.figment.merge(layer);
        self
    }

    fn contradiction(
        &self,
        one: &'static str,
        other: &'static str,
        reason: &'static str,
    ) -> Invalid {
        let source = |key| {
            Row::of(key)
                .map_or(Source::Default, |row| self.source(row))
                .to_string()
        };
        Invalid::Contradiction {
            reason,
            one,
            one_source: source(one),
            other,
            other_source: source(other),
        }
    }
}

/// Keys and values under a name.
struct Layer {
    name: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

fn known_keys<'a>(mut keys: impl Iterator<Item = &'a str>, from: &str) -> Result<(), Invalid> {
    let Some(key) = keys.find(|key| Row::of(key).is_none()) else {
        return Ok(());
    };
    let suggestion = print::closest(key).map(|known| format!("; did you mean {known}?"));
    Err(Invalid::Key {
        key: key.to_owned(),
        source_name: from.to_owned(),
        suggestion: suggestion.unwrap_or_default(),
    })
}

/// A scalar as text, so that `8`, `"8"` and a variable mean the same.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Bool(_, flag) => Some(flag.to_string()),
        Value::Num(_, number) => {
            let whole = number
                .to_i128()
                .map(|n| n.to_string())
                .or_else(|| number.to_u128().map(|n| n.to_string()));
            whole.or_else(|| number.to_f64().map(|n| n.to_string()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::settings::FlushMode;

    fn toml(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = toml("default-queues = 2\nmax-attempts = 3\nflush = 'async'\n");
        let layers = Layers::default().file(file.path()).unwrap();
        let layers = layers.environment([
            pair("FOLIOMQ_DEFAULT_QUEUES", "4"),
            pair("FOLIOMQ_MAX_ATTEMPTS", "5"),
        ]);
        let layers = layers
            .flags([pair("default-queues", "6")], Flag::Own)
            .unwrap();
        let settings = layers.resolve().unwrap();
        assert_eq!(
            (
                settings.default_queues,
                settings.max_attempts,
                settings.flush
            ),
            (6, 5, FlushMode::Async)
        );
        assert_eq!(settings.segment_size, Settings::default().segment_size);
        let source = |key| layers.source(Row::of(key).unwrap()).to_string();
        assert_eq!(source("default-queues"), "flag --default-queues");
        assert_eq!(source("max-attempts"), "env FOLIOMQ_MAX_ATTEMPTS");
        assert_eq!(source("flush"), format!("file {}", file.path().display()));
        assert_eq!(source("segment-size"), "default");
    }

    #[test]
    fn numbers_booleans_and_text_in_a_file_mean_the_same() {
        let file =
            toml("default-queues = '3'\nmax-body = 1024\nlock-memory = true\ndisk-low = 0.5\n");
        let settings = Layers::default()
            .file(file.path())
            .unwrap()
            .resolve()
            .unwrap();
        assert_eq!(
            (
                settings.default_queues,
                settings.max_body.0,
                settings.lock_memory
            ),
            (3, 1024, true)
        );
        assert_eq!(settings.disk_low.0, 0.5);
    }

    #[test]
    fn an_unknown_key_names_the_file_and_the_likely_one() {
        let file = toml("segmentsize = '1GiB'\n");
        let text = Layers::default().file(file.path()).unwrap_err().to_string();
        assert!(
            text.contains("segmentsize") && text.contains(&file.path().display().to_string()),
            "{text}"
        );
        assert!(text.contains("did you mean segment-size?"), "{text}");
    }

    #[test]
    fn a_table_is_an_unknown_key_or_a_bad_value() {
        let unknown = toml("[retention]\nage = '1h'\n");
        assert!(matches!(
            Layers::default().file(unknown.path()),
            Err(Invalid::Key { .. })
        ));
        let list = toml("flush = ['sync']\n");
        let error = Layers::default()
            .file(list.path())
            .unwrap()
            .resolve()
            .unwrap_err();
        assert!(
            error.to_string().contains("expected sync or async"),
            "{error}"
        );
    }

    #[test]
    fn a_bad_value_names_key_value_source_and_what_is_allowed() {
        let layers = Layers::default().environment([pair("FOLIOMQ_SEGMENT_SIZE", "3MiB")]);
        let text = layers.resolve().unwrap_err().to_string();
        for part in [
            "segment-size",
            "3MiB",
            "env FOLIOMQ_SEGMENT_SIZE",
            "a power of two from 16MiB to 4GiB",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn foreign_variables_are_left_alone() {
        let foreign = [
            pair("FOLIOMQ_PORT", "tcp://10.0.0.1:8081"),
            pair("FOLIOMQ_ENDPOINT", "x:1"),
            pair("flush", "no"),
        ];
        let layers = Layers::default().environment(foreign);
        assert_eq!(layers.resolve().unwrap(), Settings::default());
    }

    #[test]
    fn contradictions_name_both_sources() {
        let layers = Layers::default()
            .flags([pair("tls-key", "key.pem")], Flag::Own)
            .unwrap();
        let text = layers.resolve().unwrap_err().to_string();
        assert!(
            text.contains("tls-certificate comes from default, tls-key from flag --tls-key"),
            "{text}"
        );
        let layers = Layers::default()
            .flags(
                [pair("disk-high", "90%"), pair("disk-low", "95%")],
                Flag::Own,
            )
            .unwrap();
        assert!(
            layers
                .resolve()
                .unwrap_err()
                .to_string()
                .contains("disk-low must be less")
        );
    }

    #[test]
    fn broken_and_missing_files_are_named() {
        let broken = toml("flush = \n");
        assert!(matches!(
            Layers::default().file(broken.path()),
            Err(Invalid::File { .. })
        ));
        let error = Layers::default()
            .file(Path::new("/nowhere/foliomq.toml"))
            .unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/foliomq.toml"),
            "{error}"
        );
    }
}
