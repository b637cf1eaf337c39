//! A place in the tokens, and the small steps that every statement is made of: expect this, take a list, say what is wrong.
//!
//! Not here: any statement.

use super::ast::{Dialect, Error};
use super::lexer::{Placed, Token};

pub struct Cursor {
    pub dialect: Dialect,
    tokens: Vec<Placed>,
    at: usize,
}

pub type Parsed<T> = Result<T, Error>;

impl Cursor {
    /// `tokens` end with a [`Token::NewLine`].
    pub fn new(dialect: Dialect, tokens: Vec<Placed>) -> Self {
        Self { dialect, tokens, at: 0 }
    }

    pub fn freebsd(&self) -> bool {
        self.dialect == Dialect::FreeBsd
    }

    pub fn peek(&self) -> &Token {
        &self.tokens[self.at.min(self.tokens.len() - 1)].0
    }

    pub fn line(&self) -> usize {
        self.tokens[self.at.min(self.tokens.len() - 1)].1
    }

    pub fn done(&self) -> bool {
        self.at >= self.tokens.len()
    }

    pub fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    /// Takes a token that has been looked at.
    pub fn skip(&mut self) -> Parsed<()> {
        self.at += 1;
        Ok(())
    }

    pub fn fail<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Error { line: self.line(), message: message.into() })
    }

    /// pfctl's own words, and the token that cannot stand here.
    pub fn syntax<T>(&self) -> Parsed<T> {
        self.fail(format!("syntax error at `{}`", self.peek().text()))
    }

    pub fn is_key(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Key(key) if key == word)
    }

    pub fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    /// Takes the reserved word if it stands here.
    pub fn key(&mut self, word: &str) -> bool {
        let here = self.is_key(word);
        self.at += usize::from(here);
        here
    }

    /// Takes a word that only means something in this place and is reserved nowhere.
    pub fn word(&mut self, word: &str) -> bool {
        let here = matches!(self.peek(), Token::Word(found) if found == word);
        self.at += usize::from(here);
        here
    }

    pub fn sign(&mut self, sign: &str) -> bool {
        let here = self.is_sign(sign);
        self.at += usize::from(here);
        here
    }

    pub fn expect_key(&mut self, word: &str) -> Parsed<()> {
        if self.key(word) { Ok(()) } else { self.syntax() }
    }

    pub fn expect_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.sign(sign) { Ok(()) } else { self.syntax() }
    }

    /// A name: a word that is not reserved, or anything between quotes.
    pub fn name(&mut self) -> Parsed<String> {
        match self.peek().clone() {
            Token::Word(name) | Token::Quoted(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => self.syntax(),
        }
    }

    /// A name made of one or more words, as labels and tags may be.
    pub fn names(&mut self) -> Parsed<String> {
        let mut all = self.name()?;
        while let Token::Word(_) | Token::Quoted(_) = self.peek() {
            all = format!("{all} {}", self.name()?);
        }
        Ok(all)
    }

    /// A number of at most `most`.
    pub fn number(&mut self, most: i64) -> Parsed<i64> {
        match *self.peek() {
            Token::Number(number) if (0..=most).contains(&number) => {
                self.at += 1;
                Ok(number)
            }
            Token::Number(number) => self.fail(format!("the number {number} is outside 0 to {most}")),
            _ => self.syntax(),
        }
    }

    pub fn skip_lines(&mut self) {
        while !self.done() && *self.peek() == Token::NewLine {
            self.at += 1;
        }
    }

    /// The statement must be over.
    pub fn end(&mut self) -> Parsed<()> {
        if self.done() || *self.peek() == Token::NewLine {
            self.at += 1;
            return Ok(());
        }
        self.syntax()
    }

    /// The statement must be over, and its end is left for the caller to take.
    pub fn end_ahead(&self) -> Parsed<()> {
        if self.done() || *self.peek() == Token::NewLine { Ok(()) } else { self.syntax() }
    }

    /// One item, or `{ item[,] item … }`, which may go over several lines.
    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        if !self.is_sign("{") {
            return Ok(vec![item(self)?]);
        }
        let open = self.line();
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.skip_lines();
            if self.done() {
                return Err(Error { line: open, message: "syntax error: `{` has no `}`".to_owned() });
            }
            items.push(item(self)?);
            self.skip_lines();
            let comma = self.sign(",");
            self.skip_lines();
            // A comma may be left out between items, but not follow the last one.
            if !comma && self.sign("}") {
                return Ok(items);
            }
        }
    }

    /// `(item[,] item …)`, on one line.
    pub fn parenthesised(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<()>) -> Parsed<()> {
        self.expect_sign("(")?;
        loop {
            item(self)?;
            let comma = self.sign(",");
            if !comma && self.sign(")") {
                return Ok(());
            }
        }
    }
}
