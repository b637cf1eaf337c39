//! The bytes of every file: position and file decide them, so that a byte lost, doubled or moved is found.
//!
//! Lives here: making them and comparing them, both without a copy. Not here: who sends them.

use std::sync::LazyLock;

use anyhow::{Result, ensure};

use super::lab::files::noise;

/// After so many bytes they begin again. A prime: no block that any buffer could skip or repeat is a multiple of it.
const PERIOD: usize = 65_521;
/// The longest piece that is made at once.
pub const PIECE: usize = 256 << 10;

/// Long enough that a piece that begins anywhere in the first period needs no second look.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| noise(1, PERIOD).into_iter().cycle().take(PERIOD + PIECE).collect());

/// A file: its length, and where in the pattern it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct File {
    pub length: u64,
    pub seed: u64,
}

impl File {
    /// Its name, which says everything about it.
    pub fn name(self) -> String {
        format!("{}.{}", self.length, self.seed)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        let (length, seed) = name.split_once('.')?;
        Some(Self { length: length.parse().ok()?, seed: seed.parse().ok()? })
    }

    /// What comes at a position: up to [`PIECE`] bytes; none at the end.
    pub fn piece(self, at: u64) -> &'static [u8] {
        let begin = ((self.seed.wrapping_mul(2_654_435_761) + at) % PERIOD as u64) as usize;
        let count = self.length.saturating_sub(at).min(PIECE as u64) as usize;
        &BYTES[begin..begin + count]
    }

    /// Whether these bytes, and not too many, belong at a position. Gives the position behind them.
    pub fn compare(self, at: u64, bytes: &[u8]) -> Result<u64> {
        let mut done = 0;
        while done < bytes.len() {
            let expected = self.piece(at + done as u64);
            ensure!(!expected.is_empty(), "{}: more bytes than {}", self.name(), self.length);
            let count = expected.len().min(bytes.len() - done);
            ensure!(bytes[done..done + count] == expected[..count], "{}: wrong bytes from {at} on", self.name());
            done += count;
        }
        Ok(at + done as u64)
    }

    /// Whether the end may be here.
    pub fn ends_at(self, at: u64) -> Result<()> {
        ensure!(at == self.length, "{}: {at} bytes came", self.name());
        Ok(())
    }
}
