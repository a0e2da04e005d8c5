//! The words of an expression.

use crate::DeliveryError;

use super::illegal;
use super::value::Number;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Word(Word),
    Name(String),
    Number(Number),
    Text(String),
    /// One of the marks.
    Mark(&'static str),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Not,
    And,
    Or,
    Between,
    In,
    Is,
    Null,
    True,
    False,
    Contains,
    StartsWith,
    EndsWith,
}

const WORDS: [(&str, Word); 12] = [
    ("NOT", Word::Not),
    ("AND", Word::And),
    ("OR", Word::Or),
    ("BETWEEN", Word::Between),
    ("IN", Word::In),
    ("IS", Word::Is),
    ("NULL", Word::Null),
    ("TRUE", Word::True),
    ("FALSE", Word::False),
    ("CONTAINS", Word::Contains),
    ("STARTSWITH", Word::StartsWith),
    ("ENDSWITH", Word::EndsWith),
];

/// The longer before what they begin with.
const MARKS: [&str; 11] = ["<>", "<=", ">=", "<", ">", "=", "(", ")", ",", "+", "-"];

impl Token {
    /// As an error names it.
    pub fn named(&self) -> String {
        match self {
            Self::Word(word) => {
                let name = WORDS.iter().find(|(_, other)| other == word);
                name.map_or_else(String::new, |(name, _)| (*name).to_owned())
            }
            Self::Name(name) => format!("the property {name}"),
            Self::Number(_) => "a number".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Mark(mark) => format!("{mark:?}"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Cuts an expression into tokens, one at a time.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The next token, and where it begins.
    pub fn next(&mut self) -> Result<(Token, usize), DeliveryError> {
        self.skip_space()?;
        let start = self.at;
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else {
            return Ok((Token::End, start));
        };
        let second_is_digit = rest[first.len_utf8()..].starts_with(|c: char| c.is_ascii_digit());
        let token = match first {
            '\'' => self.quoted(start)?,
            '0'..='9' => self.number(start)?,
            '.' if second_is_digit => self.number(start)?,
            'a'..='z' | 'A'..='Z' | '_' | '$' => self.word(),
            _ => self.mark(first)?,
        };
        Ok((token, start))
    }

    fn skip_space(&mut self) -> Result<(), DeliveryError> {
        loop {
            let rest = &self.text[self.at..];
            let blank = rest.len()
                - rest
                    .trim_start_matches([' ', '\t', '\n', '\r', '\x0c'])
                    .len();
            let comment = if blank > 0 {
                blank
            } else if rest.starts_with("--") {
                rest.find(['\n', '\r']).unwrap_or(rest.len())
            } else if let Some(inside) = rest.strip_prefix("/*") {
                let end = inside.find("*/");
                4 + end.ok_or_else(|| illegal("a comment without its end", self.at))?
            } else {
                return Ok(());
            };
            self.at += comment;
        }
    }

    /// A text in quotes; a quote in it is doubled.
    fn quoted(&mut self, start: usize) -> Result<Token, DeliveryError> {
        let mut text = String::new();
        let mut rest = &self.text[start + 1..];
        loop {
            let end = rest.find('\'');
            let end = end.ok_or_else(|| illegal("a text without its closing quote", start))?;
            text.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('\'') {
                Some(more) => rest = more,
                None => break,
            }
            text.push('\'');
        }
        self.at = self.text.len() - rest.len();
        Ok(Token::Text(text))
    }

    /// `5`, `5L`, `5.5`, `5.`, `.5`, `5E10`. No other letter may follow, and no zero begin a longer whole number.
    fn number(&mut self, start: usize) -> Result<Token, DeliveryError> {
        let bytes = self.text.as_bytes();
        let mut end = start;
        while let Some(byte) = bytes.get(end) {
            let in_exponent = matches!(bytes[end.max(start + 1) - 1], b'e' | b'E') && end > start;
            let sign = in_exponent && matches!(byte, b'+' | b'-');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$') || sign) {
                break;
            }
            end += 1;
        }
        let digits = &self.text[start..end];
        self.at = end;
        let is_whole = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let whole = digits.strip_suffix(['l', 'L']).unwrap_or(digits);
        let wrong = || illegal(format!("{digits} is not a number"), start);
        let text = if is_whole(whole) { whole } else { digits };
        if is_whole(whole) && whole.len() > 1 && whole.starts_with('0') {
            return Err(wrong());
        }
        let finite = |number: &Number| !matches!(number, Number::Fraction(f) if !f.is_finite());
        let number = Number::parse(text).filter(finite).ok_or_else(wrong)?;
        Ok(Token::Number(number))
    }

    fn word(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        self.at += end;
        let reserved = WORDS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word));
        reserved.map_or_else(
            || Token::Name(word.to_owned()),
            |(_, word)| Token::Word(*word),
        )
    }

    fn mark(&mut self, first: char) -> Result<Token, DeliveryError> {
        let rest = &self.text[self.at..];
        let mark = MARKS.into_iter().find(|mark| rest.starts_with(mark));
        let mark =
            mark.ok_or_else(|| illegal(format!("{first:?} does not belong here"), self.at))?;
        self.at += mark.len();
        Ok(Token::Mark(mark))
    }
}
