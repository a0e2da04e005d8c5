//! One thing that is changed for the second side.

use std::str::FromStr;

use clap::ValueEnum;

use super::{Bench, Speech, Way};
use crate::failure::Failure;
use crate::settings::Row;

/// `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    key: String,
    value: String,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty());
        let (key, value) = pair.ok_or("expected KEY=VALUE")?;
        Ok(Self {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

impl Change {
    /// The same bench with the change.
    pub fn applied(&self, bench: &Bench) -> anyhow::Result<Bench> {
        let mut bench = bench.clone();
        match self.key.as_str() {
            "api" => bench.api = Speech::from_str(&self.value, false).map_err(|_| self.bad())?,
            "size" => bench.size = self.parse()?,
            "batch" => bench.batch = self.parse()?,
            "connections" => bench.connections = self.parse()?,
            "streams" => bench.streams = self.parse()?,
            "in-flight" => bench.in_flight = Some(self.parse()?),
            "rate" => bench.rate = Some(self.parse()?),
            "delivery" => {
                bench.delivery = Way::from_str(&self.value, false).map_err(|_| self.bad())?;
            }
            "tls" => bench.tls = self.parse()?,
            key if Row::of(key).is_none() => {
                let what =
                    format!("{key} is neither an option of the load nor a setting of the broker");
                return Err(Failure::Usage(what).into());
            }
            _ if !bench.spawns() => {
                let what = format!(
                    "{self} is a setting of a broker, and this one runs already; leave --endpoint out"
                );
                return Err(Failure::Usage(what).into());
            }
            _ => bench.set.push(self.to_string()),
        }
        Ok(bench)
    }

    fn parse<T: FromStr>(&self) -> Result<T, Failure> {
        self.value.parse().map_err(|_| self.bad())
    }

    fn bad(&self) -> Failure {
        Failure::Usage(format!(
            "{self} cannot be compared: {} cannot be {}",
            self.key, self.value
        ))
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn bench(line: &str) -> Bench {
        let command = Bench::augment_args(clap::Command::new("bench"));
        let matches = command.get_matches_from(format!("bench {line}").split(' '));
        Bench::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn a_change_is_of_the_load_or_of_the_broker() {
        let base = bench("produce --spawn --set flush=async");
        let changed = |text: &str| text.parse::<Change>().unwrap().applied(&base);
        assert_eq!(changed("batch=100").unwrap().batch, 100);
        assert_eq!(
            changed("encoding=tonic").unwrap().set,
            ["flush=async", "encoding=tonic"]
        );
        let mapped = changed("delivery=mapped").unwrap();
        assert_eq!(mapped.delivery, Way::Mapped);
        for bad in ["batch=many", "colour=red", "api=v3", "delivery=post"] {
            assert!(changed(bad).is_err(), "{bad}");
        }
        assert!("batch".parse::<Change>().is_err());
    }

    #[test]
    fn a_broker_that_runs_already_keeps_its_settings() {
        let base = bench("produce --endpoint b:1");
        let error = "flush=sync"
            .parse::<Change>()
            .unwrap()
            .applied(&base)
            .unwrap_err();
        assert!(error.to_string().contains("runs already"), "{error}");
    }
}
