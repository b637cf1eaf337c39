//! From text to tokens, as pfctl cuts it: words, numbers, quoted strings, comments, lines joined by a backslash, and macros, which are
//! defined where a statement begins with `name =` and replaced from there on.
//!
//! Not here: what the tokens mean.

use std::collections::HashMap;

use super::ast::{Dialect, Error};
use super::words;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A word that pf.conf(5) reserves.
    Key(String),
    /// Any other word.
    Word(String),
    /// Between quotes; never a reserved word.
    Quoted(String),
    Number(i64),
    /// `{ } ( ) , / ! != = < <= > >= <> >< ->`
    Sign(&'static str),
    NewLine,
}

impl Token {
    /// For messages.
    pub fn text(&self) -> String {
        match self {
            Self::Key(text) | Self::Word(text) | Self::Quoted(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Sign(sign) => (*sign).to_owned(),
            Self::NewLine => "end of line".to_owned(),
        }
    }
}

/// A token and the line it stands on.
pub type Placed = (Token, usize);

/// Longest first.
const SIGNS: [&str; 15] = ["!=", "<=", "<>", ">=", "><", "->", "{", "}", "(", ")", ",", "/", "!", "=", "<"];

/// What a word may consist of: letters, digits, and punctuation without a meaning of its own.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || (c.is_ascii_punctuation() && !"(){}<>!=/#,\"\\".contains(c))
}

struct Lexer<'a> {
    dialect: Dialect,
    text: &'a str,
    line: usize,
    macros: HashMap<String, String>,
    tokens: Vec<Placed>,
}

/// Cuts `text` into tokens, macros replaced.
pub fn tokens(dialect: Dialect, text: &str) -> Result<Vec<Placed>, Error> {
    let mut lexer = Lexer { dialect, text, line: 1, macros: HashMap::new(), tokens: Vec::new() };
    while !lexer.text.is_empty() {
        lexer.step(true)?;
    }
    lexer.tokens.push((Token::NewLine, lexer.line));
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn error<T>(&self, message: String) -> Result<T, Error> {
        Err(Error { line: self.line, message })
    }

    fn push(&mut self, token: Token) {
        self.tokens.push((token, self.line));
    }

    fn at_statement(&self) -> bool {
        matches!(self.tokens.last(), None | Some((Token::NewLine, _)))
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.text.split_at(length);
        self.text = rest;
        taken
    }

    fn take_word(&mut self) -> &'a str {
        self.take(self.text.find(|c| !is_word(c)).unwrap_or(self.text.len()))
    }

    /// Takes one token, comment or blank. `macros`: whether `$name` is replaced; inside the value of a macro it is not.
    fn step(&mut self, macros: bool) -> Result<(), Error> {
        let Some(c) = self.text.chars().next() else { return Ok(()) };
        match c {
            '\n' => {
                self.push(Token::NewLine);
                self.take(1);
                self.line += 1;
            }
            ' ' | '\t' => drop(self.take(1)),
            '\\' if self.text.starts_with("\\\n") => {
                self.take(2);
                self.line += 1;
            }
            '#' => drop(self.take(self.text.find('\n').unwrap_or(self.text.len()))),
            '"' | '\'' => {
                let string = self.quoted(c)?;
                self.push(Token::Quoted(string));
            }
            '$' if macros => self.replace()?,
            _ if SIGNS.iter().any(|sign| self.text.starts_with(sign)) || c == '>' => {
                let sign = SIGNS.iter().find(|sign| self.text.starts_with(**sign)).copied().unwrap_or(">");
                self.take(sign.len());
                self.push(Token::Sign(sign));
            }
            _ if c.is_ascii_alphanumeric() || ":_-".contains(c) => self.word()?,
            _ => return self.error(format!("syntax error at `{c}`")),
        }
        Ok(())
    }

    fn quoted(&mut self, quote: char) -> Result<String, Error> {
        self.take(1);
        let Some(end) = self.text.find([quote, '\n']).filter(|end| self.text[*end..].starts_with(quote)) else {
            return self.error("syntax error: a quoted string has no end on its line".to_owned());
        };
        let string = self.take(end).to_owned();
        self.take(1);
        Ok(string)
    }

    fn word(&mut self) -> Result<(), Error> {
        let word = self.take_word();
        let blank = self.text.len() - self.text.trim_start_matches([' ', '\t']).len();
        if self.at_statement() && self.text[blank..].starts_with('=') {
            self.take(blank + 1);
            return self.define(word);
        }
        self.push(match word.parse() {
            Ok(number) => Token::Number(number),
            Err(_) if words::reserved(self.dialect, word) => Token::Key(word.to_owned()),
            Err(_) => Token::Word(word.to_owned()),
        });
        Ok(())
    }

    /// `name = value …`, to the end of the line.
    fn define(&mut self, name: &str) -> Result<(), Error> {
        if words::reserved(self.dialect, name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return self.error(format!("syntax error at `{name}`"));
        }
        let first = self.tokens.len();
        while !self.text.is_empty() && !self.text.starts_with('\n') {
            self.step(true)?;
        }
        let value: Vec<Placed> = self.tokens.drain(first..).collect();
        let allowed = |token: &Token| matches!(token, Token::Word(_) | Token::Quoted(_) | Token::Number(_));
        match value.iter().find(|(token, _)| !allowed(token)) {
            Some((token, line)) => Err(Error {
                line: *line,
                message: format!("syntax error at `{}` in the value of a macro", token.text()),
            }),
            None if value.is_empty() => self.error(format!("syntax error: the macro `{name}` has no value")),
            None => {
                let words: Vec<String> = value.iter().map(|(token, _)| token.text()).collect();
                self.macros.insert(name.to_owned(), words.join(" "));
                Ok(())
            }
        }
    }

    /// `$name`: its value is read as if it stood here, so what follows without a blank belongs to its last word: `$inside:network`.
    fn replace(&mut self) -> Result<(), Error> {
        self.take(1);
        let length = self.text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.text.len());
        let name = self.take(length);
        let Some(value) = self.macros.get(name).cloned() else {
            return self.error(format!("macro '{name}' not defined"));
        };
        let value = value + self.take_word();
        let mut inner =
            Lexer { dialect: self.dialect, text: &value, line: self.line, macros: HashMap::new(), tokens: Vec::new() };
        // A statement cannot begin inside a value: no macro is defined there.
        inner.push(Token::Sign(","));
        while !inner.text.is_empty() {
            inner.step(false)?;
        }
        self.tokens.extend(inner.tokens.drain(1..));
        Ok(())
    }
}
