//! Which log lines the broker writes, where whoever set up its log lets that be changed.

use std::fmt;
use std::sync::Arc;

use foliomq_proto::v2::Code;

use crate::status::Refusal;

/// Longest filter, bytes.
const MAX_FILTER: usize = 1024;

/// Changes the log filter: given directives, takes them up, and returns those that held before and those that hold now.
/// An empty text changes nothing.
type Change = dyn Fn(&str) -> Result<(String, String), String> + Send + Sync;

/// A handle on the log of the process that serves. See [`Config::log`](crate::Config::log).
#[derive(Clone)]
pub struct LogControl(Arc<Change>);

impl LogControl {
    /// `change` takes up directives such as `info` or `warn,foliomq=debug`, and returns the ones before and the ones now;
    /// for an empty text it only returns them. An error says what is wrong with the directives.
    pub fn new(
        change: impl Fn(&str) -> Result<(String, String), String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(change))
    }

    /// Changes the filter, if it is one.
    pub(crate) fn change(&self, filter: &str) -> Result<(String, String), Refusal> {
        if filter.len() > MAX_FILTER {
            let what = format!("a log filter has at most {MAX_FILTER} bytes");
            return Err(Refusal::new(Code::BadRequest, what));
        }
        let changed = (self.0)(filter);
        let (before, now) = changed.map_err(|what| Refusal::new(Code::BadRequest, what))?;
        if before != now {
            tracing::warn!(%before, %now, "the log filter was changed by an operator");
        }
        Ok((before, now))
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("LogControl").finish_non_exhaustive()
    }
}

/// The filter of a level: of the broker itself, and of what it is built on no more than what goes wrong.
pub(crate) fn filter(level: &str) -> String {
    let others = if level == "error" { "error" } else { "warn" };
    format!("{others},foliomq={level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_or_too_long_is_refused() {
        let control = LogControl::new(|filter| match filter {
            "loud" => Err("no level".to_owned()),
            filter => Ok(("warn".to_owned(), filter.to_owned())),
        });
        assert_eq!(control.change("loud").unwrap_err().message, "no level");
        let long = control.change(&"x".repeat(MAX_FILTER + 1)).unwrap_err();
        assert_eq!(long.code, Code::BadRequest);
        let (before, now) = control.change(&filter("debug")).unwrap();
        assert_eq!(
            (before.as_str(), now.as_str()),
            ("warn", "warn,foliomq=debug")
        );
        assert_eq!(filter("error"), "error,foliomq=error");
    }
}
