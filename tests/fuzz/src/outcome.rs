//! What came of a case.

use std::fmt;

/// What came of a case, in words; equal for cases that took the same way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Outcome(String);

impl Outcome {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// A refusal, by the error's text.
    pub(crate) fn refused(error: impl fmt::Display) -> Self {
        Self(format!("refused: {error}"))
    }

    /// Without numbers and paths, which differ from run to run.
    pub fn class(&self) -> String {
        let is_path = |word: &&str| !word.starts_with('/');
        let words = self.0.split(' ').filter(is_path);
        let words = words.map(|word| word.replace(|c: char| c.is_ascii_digit(), ""));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
