//! A strict grammar of pf.conf, written from the man pages and the facts measured on real kernels, for judging text that nobody here can give
//! to a real pfctl. What the grammar does not know, it refuses.
//!
//! Stricter than pfctl on purpose: `include` is not followed, host names are not looked up, tables must be defined in sight,
//! `rdr-to` only on `in` and `nat-to` only on `out` rules, `divert-to` not on FreeBSD at all. Not modelled, and therefore
//! refused: ether and dummynet rules, `af-to`, limiters, `ipsec` marks. Not here: what a ruleset does to packets (`model.rs`).

pub mod ast;
mod check;
mod cursor;
mod lexer;
mod matching;
mod rule;
mod statement;
mod translation;
pub mod words;

pub use ast::{Dialect, Error, Ruleset};

/// Where a text is loaded to.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The main ruleset: pf.conf.
    Main,
    /// An anchor, below a main ruleset with these tables.
    Anchor(&'a [String]),
}

impl<'a> Place<'a> {
    fn is_main(&self) -> bool {
        matches!(self, Self::Main)
    }

    fn tables(&self) -> &'a [String] {
        match self {
            Self::Main => &[],
            Self::Anchor(tables) => tables,
        }
    }
}

/// Reads `text` as the pfctl of `dialect` would, up to the first error.
pub fn parse(dialect: Dialect, place: Place<'_>, text: &str) -> Result<Ruleset, Error> {
    let tokens = lexer::tokens(dialect, text)?;
    statement::ruleset(&mut cursor::Cursor::new(dialect, tokens), place)
}

/// Whether an anchor may bear this name.
pub fn check_anchor_name(dialect: Dialect, name: &str) -> Result<(), Error> {
    translation::check_name(&cursor::Cursor::new(dialect, vec![(lexer::Token::NewLine, 1)]), name)
}
