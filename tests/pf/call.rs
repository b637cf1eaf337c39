//! One invocation of the stand-in for pfctl, as it writes it down (`tests/fake_pfctl`) and tests read it (`fake.rs`): a JSON line of
//! `calls.log`. Not here: what any invocation does.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    pub argv: Vec<String>,
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub exit: u8,
    /// What the grammar has against the text, with line and token.
    pub reason: Option<String>,
    pub milliseconds: u64,
}
