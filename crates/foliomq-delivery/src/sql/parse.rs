//! From an expression's text to its tree. One function for each level of precedence.

use crate::{DeliveryError, MAX_EXPRESSION};

use super::condition::{Expression, Order, Part};
use super::token::{Token, Tokens, Word};
use super::value::Value;
use super::{MAX_DEPTH, MAX_PROPERTIES, illegal};

/// Most of `=`, `<>` and `IS NULL` one behind the other; each makes the tree deeper.
const MAX_IN_A_ROW: usize = 4;

/// The tree, and the names of its properties in the order of their numbers.
pub(super) fn parse(text: &str) -> Result<(Expression, Vec<String>), DeliveryError> {
    if text.len() > MAX_EXPRESSION {
        let what = format!("longer than {MAX_EXPRESSION} bytes");
        return Err(illegal(what, MAX_EXPRESSION));
    }
    let mut parser = Parser::new(text)?;
    let condition = parser.condition(Parser::or)?;
    if parser.token != Token::End {
        return Err(parser.unexpected("AND, OR or the end"));
    }
    Ok((condition, parser.names))
}

#[derive(Debug)]
struct Parser<'a> {
    tokens: Tokens<'a>,
    /// The next token, and where it begins.
    token: Token,
    at: usize,
    names: Vec<String>,
    depth: usize,
}

type Parsed = Result<Expression, DeliveryError>;

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self, DeliveryError> {
        let mut tokens = Tokens::new(text);
        let (token, at) = tokens.next()?;
        Ok(Self {
            tokens,
            token,
            at,
            names: Vec::new(),
            depth: 0,
        })
    }

    /// Takes the token; the next one is looked at.
    fn advance(&mut self) -> Result<Token, DeliveryError> {
        let (token, at) = self.tokens.next()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn take(&mut self, wanted: &Token) -> Result<bool, DeliveryError> {
        let found = self.token == *wanted;
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn take_word(&mut self, word: Word) -> Result<bool, DeliveryError> {
        self.take(&Token::Word(word))
    }

    fn expect(&mut self, wanted: Token) -> Result<(), DeliveryError> {
        if self.take(&wanted)? {
            return Ok(());
        }
        Err(self.unexpected(&wanted.named()))
    }

    fn unexpected(&self, wanted: &str) -> DeliveryError {
        illegal(
            format!("{wanted} was expected, not {}", self.token.named()),
            self.at,
        )
    }

    fn deeper(&mut self) -> Result<(), DeliveryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(illegal(format!("nested deeper than {MAX_DEPTH}"), self.at));
        }
        Ok(())
    }

    /// What must say true or false.
    fn condition(&mut self, level: fn(&mut Self) -> Parsed) -> Parsed {
        let at = self.at;
        let found = level(self)?;
        if found.is_condition() {
            return Ok(found);
        }
        Err(illegal("this is neither true nor false", at))
    }

    fn or(&mut self) -> Parsed {
        self.chain(Word::Or, Self::and, Expression::Or)
    }

    fn and(&mut self) -> Parsed {
        self.chain(Word::And, Self::not, Expression::And)
    }

    fn chain(
        &mut self,
        word: Word,
        level: fn(&mut Self) -> Parsed,
        join: fn(Vec<Expression>) -> Expression,
    ) -> Parsed {
        let at = self.at;
        let first = level(self)?;
        if self.token != Token::Word(word) {
            return Ok(first);
        }
        if !first.is_condition() {
            return Err(illegal("this is neither true nor false", at));
        }
        let mut parts = vec![first];
        while self.take_word(word)? {
            parts.push(self.condition(level)?);
        }
        Ok(join(parts))
    }

    fn not(&mut self) -> Parsed {
        if !self.take_word(Word::Not)? {
            return self.equality();
        }
        self.deeper()?;
        let inner = self.condition(Self::not)?;
        self.depth -= 1;
        Ok(Expression::Not(Box::new(inner)))
    }

    /// `=`, `<>` and `IS [NOT] NULL`, which may follow each other.
    fn equality(&mut self) -> Parsed {
        let mut left = self.comparison()?;
        for _ in 0..MAX_IN_A_ROW {
            let not = match &self.token {
                Token::Mark("=") => false,
                Token::Mark("<>") => true,
                Token::Word(Word::Is) => {
                    left = self.is_null(left)?;
                    continue;
                }
                _ => return Ok(left),
            };
            self.advance()?;
            let at = self.at;
            let right = self.comparison()?;
            if [&left, &right]
                .into_iter()
                .any(|side| *side == Expression::Null)
            {
                return Err(illegal("NULL is compared by IS NULL", at));
            }
            left = negated_if(not, Expression::Same(Box::new(left), Box::new(right)));
        }
        Ok(left)
    }

    fn is_null(&mut self, left: Expression) -> Parsed {
        self.advance()?;
        let not = self.take_word(Word::Not)?;
        self.expect(Token::Word(Word::Null))?;
        Ok(negated_if(not, Expression::IsNull(Box::new(left))))
    }

    fn comparison(&mut self) -> Parsed {
        let start = self.at;
        let left = self.unary()?;
        let order = match &self.token {
            Token::Mark("<") => Order::Less,
            Token::Mark("<=") => Order::AtMost,
            Token::Mark(">") => Order::More,
            Token::Mark(">=") => Order::AtLeast,
            _ => return self.test(left, start),
        };
        self.advance()?;
        let left = numeric(left, start)?;
        let at = self.at;
        let right = numeric(self.unary()?, at)?;
        Ok(Expression::Ordered(order, Box::new(left), Box::new(right)))
    }

    /// What a word says about `left`, if one does: `[NOT] BETWEEN`, `IN`, `CONTAINS`, `STARTSWITH`, `ENDSWITH`.
    fn test(&mut self, left: Expression, start: usize) -> Parsed {
        let not = self.take_word(Word::Not)?;
        let at = self.at;
        let part = match self.token {
            Token::Word(Word::Between) => {
                return Ok(negated_if(not, self.between(numeric(left, start)?)?));
            }
            Token::Word(Word::In) => None,
            Token::Word(Word::Contains) => Some(Part::Anywhere),
            Token::Word(Word::StartsWith) => Some(Part::Start),
            Token::Word(Word::EndsWith) => Some(Part::End),
            _ if not => {
                return Err(self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"));
            }
            _ => return Ok(left),
        };
        let Expression::Property(property) = left else {
            return Err(illegal("only a property has such a test", at));
        };
        self.advance()?;
        let test = match part {
            Some(part) => Expression::Part(part, property, self.text()?),
            None => Expression::In(property, self.list()?),
        };
        Ok(negated_if(not, test))
    }

    fn between(&mut self, value: Expression) -> Parsed {
        self.advance()?;
        let at = self.at;
        let low = numeric(self.unary()?, at)?;
        self.expect(Token::Word(Word::And))?;
        let at = self.at;
        let high = numeric(self.unary()?, at)?;
        if let (Expression::Number(low), Expression::Number(high)) = (&low, &high)
            && Value::Number(*low)
                .order(Value::Number(*high))
                .is_some_and(|order| order.is_gt())
        {
            return Err(illegal("the upper bound is below the lower", at));
        }
        Ok(Expression::Between(
            Box::new(value),
            Box::new(low),
            Box::new(high),
        ))
    }

    /// Texts in parentheses, at least one.
    fn list(&mut self) -> Result<Vec<String>, DeliveryError> {
        self.expect(Token::Mark("("))?;
        let mut texts = vec![self.text()?];
        while self.take(&Token::Mark(","))? {
            texts.push(self.text()?);
        }
        self.expect(Token::Mark(")"))?;
        texts.sort_unstable();
        texts.dedup();
        Ok(texts)
    }

    fn text(&mut self) -> Result<String, DeliveryError> {
        match &mut self.token {
            Token::Text(text) => {
                let text = std::mem::take(text);
                self.advance()?;
                Ok(text)
            }
            _ => Err(self.unexpected("a text in single quotes")),
        }
    }

    fn unary(&mut self) -> Parsed {
        let negated = match &self.token {
            Token::Mark("+") => false,
            Token::Mark("-") => true,
            _ => return self.primary(),
        };
        self.deeper()?;
        self.advance()?;
        let at = self.at;
        let operand = numeric(self.unary()?, at)?;
        self.depth -= 1;
        Ok(match operand {
            operand if !negated => operand,
            Expression::Number(number) => Expression::Number(number.negated()),
            operand => Expression::Negated(Box::new(operand)),
        })
    }

    fn primary(&mut self) -> Parsed {
        let found = match &mut self.token {
            Token::Text(text) => Expression::Text(std::mem::take(text)),
            Token::Number(number) => Expression::Number(*number),
            Token::Word(Word::True) => Expression::Truth(true),
            Token::Word(Word::False) => Expression::Truth(false),
            Token::Word(Word::Null) => Expression::Null,
            Token::Name(name) => {
                let name = std::mem::take(name);
                Expression::Property(self.property(name)?)
            }
            Token::Mark("(") => return self.parenthesis(),
            _ => return Err(self.unexpected("a property, a value or \"(\"")),
        };
        self.advance()?;
        Ok(found)
    }

    fn parenthesis(&mut self) -> Parsed {
        self.deeper()?;
        self.advance()?;
        let inner = self.or()?;
        self.expect(Token::Mark(")"))?;
        self.depth -= 1;
        Ok(inner)
    }

    /// The property's number.
    fn property(&mut self, name: String) -> Result<usize, DeliveryError> {
        if let Some(known) = self.names.iter().position(|other| *other == name) {
            return Ok(known);
        }
        if self.names.len() == MAX_PROPERTIES {
            let what = format!("more than {MAX_PROPERTIES} different properties");
            return Err(illegal(what, self.at));
        }
        self.names.push(name);
        Ok(self.names.len() - 1)
    }
}

fn negated_if(not: bool, condition: Expression) -> Expression {
    if not {
        Expression::Not(Box::new(condition))
    } else {
        condition
    }
}

fn numeric(operand: Expression, at: usize) -> Parsed {
    if operand.is_numeric() {
        return Ok(operand);
    }
    Err(illegal("a number or a property was expected", at))
}
