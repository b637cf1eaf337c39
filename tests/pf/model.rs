//! What a ruleset does to packets.
use crate::grammar::Dialect;
pub struct Model;
impl Model {
    pub fn new(_dialect: Dialect, _main: &str) -> Self {
        Self
    }
    pub fn load(&mut self, _name: &str, _text: &str) {}
}
