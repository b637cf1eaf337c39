//! The folder beside the executable: what the stand-in keeps there, and the knobs that tests put there.
//!
//! Kept: `anchors` (JSON, name to text), `main` (text), `states` (JSON), `calls.log` (one JSON line per invocation), `lock`. Knobs:
//! `fail_busy` (how many of the next loads fail with EBUSY, and at will at which request), `hang` (milliseconds to sleep
//! first), `realise` (the mark of what anchors let pass, see `realise.rs`), `limit_anchors`, `altq` (a FreeBSD kernel with queues), `disabled` and `denied` (by being there). A file is replaced
//! whole, so that a reader needs no lock.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::call::Call;
use crate::grammar::{Dialect, Place, Ruleset, parse};
use crate::state::State;

pub struct Store {
    folder: PathBuf,
    pub dialect: Dialect,
}

impl Store {
    pub fn beside_executable() -> Self {
        let executable = std::env::current_exe().expect("an executable has a path");
        let folder = executable.parent().expect("an executable lies in a folder").to_owned();
        let word = fs::read_to_string(folder.join("dialect")).expect("a file `dialect` beside the executable");
        let dialect = Dialect::from_word(word.trim()).expect("`dialect` says freebsd or openbsd");
        Self { folder, dialect }
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    fn write(&self, name: &str, text: &str) {
        replace(&self.folder.join(name), text);
    }

    /// Held while anything is changed; the kernel lets go of it when the process ends, however it ends.
    pub fn lock(&self) -> Flock<File> {
        let file = File::options().create(true).append(true).open(self.folder.join("lock")).unwrap();
        Flock::lock(file, FlockArg::LockExclusive).unwrap()
    }

    pub fn anchors(&self) -> BTreeMap<String, String> {
        self.read("anchors").map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    }

    pub fn write_anchors(&self, anchors: &BTreeMap<String, String>) {
        self.write("anchors", &serde_json::to_string_pretty(anchors).unwrap());
    }

    pub fn states(&self) -> Vec<State> {
        self.read("states").map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    }

    pub fn write_states(&self, states: &[State]) {
        self.write("states", &serde_json::to_string_pretty(states).unwrap());
    }

    pub fn main_text(&self) -> Option<String> {
        self.read("main")
    }

    /// The main ruleset, if one was loaded.
    pub fn main(&self) -> Option<Ruleset> {
        let text = self.main_text()?;
        Some(parse(self.dialect, Place::Main, &text).expect("only a correct main ruleset is kept"))
    }

    pub fn write_main(&self, text: &str) {
        self.write("main", text);
    }

    /// How many nodes of anchors there may be: the limit itself is one too many.
    pub fn anchor_limit(&self) -> usize {
        self.read("limit_anchors").map_or(512, |text| text.trim().parse().expect("limit_anchors holds a number"))
    }

    pub fn set_anchor_limit(&self, limit: u64) {
        self.write("limit_anchors", &limit.to_string());
    }

    pub fn disabled(&self) -> bool {
        self.folder.join("disabled").exists()
    }

    pub fn denied(&self) -> bool {
        self.folder.join("denied").exists()
    }

    pub fn altq(&self) -> bool {
        self.folder.join("altq").exists()
    }

    /// The mark that forwarded connections get if anchors are to work.
    pub fn realise(&self) -> Option<String> {
        self.read("realise")
    }

    pub fn hang(&self) {
        if let Some(milliseconds) = self.read("hang") {
            std::thread::sleep(Duration::from_millis(milliseconds.trim().parse().expect("hang holds a number")));
        }
    }

    /// The request at which this load fails with EBUSY, if one is left to fail. By default DIOCXCOMMIT, where a ticket that somebody
    /// else made stale is noticed; pfctl does not say the reason when DIOCXBEGIN fails.
    pub fn busy(&self) -> Option<String> {
        let text = self.read("fail_busy")?;
        let mut words = text.split_whitespace();
        let left: u64 = words.next()?.parse().expect("fail_busy begins with a number");
        let request = words.next().unwrap_or("DIOCXCOMMIT").to_owned();
        if left == 0 {
            return None;
        }
        self.write("fail_busy", &format!("{} {request}", left - 1));
        Some(request)
    }

    pub fn log(&self, call: &Call) {
        let mut line = serde_json::to_string(call).unwrap();
        line.push('\n');
        // One write of an appending file: lines of concurrent calls do not mix.
        let mut file = File::options().create(true).append(true).open(self.folder.join("calls.log")).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

/// Replaces the file at once.
pub fn replace(path: &Path, text: &str) {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    fs::write(&new, text).unwrap();
    fs::rename(&new, path).unwrap();
}
