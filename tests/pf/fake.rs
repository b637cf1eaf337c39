//! The stand-in for pfctl in a folder of its own, for one test.
//!
//! [`Fake::install`] builds it if need be, copies it, and removes everything when dropped. A test hands [`Fake::path`] to whatever
//! runs pfctl, turns knobs, and looks at what came of it. Needs the modules `call`, `grammar`, `state` and `model` beside it. Not here: what the
//! stand-in does (`tests/fake_pfctl`).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Deserialize;

use crate::call::Call;
use crate::grammar::Dialect;
use crate::model::Model;
use crate::state::State;

pub struct Fake {
    folder: PathBuf,
    dialect: Dialect,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Fake {
    /// An empty pf of this dialect.
    pub fn install(dialect: Dialect) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fake-pfctl-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let fake = Self { folder, dialect };
        // A link cannot be "text file busy" when another thread forks while a copy is being written.
        if fs::hard_link(built(), fake.path()).is_err() {
            fs::copy(built(), fake.path()).unwrap();
        }
        fs::write(fake.folder.join("dialect"), dialect.as_str()).unwrap();
        fake
    }

    /// The program.
    pub fn path(&self) -> PathBuf {
        self.folder.join("pfctl")
    }

    /// Where it keeps its files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn json<T: Default + for<'a> Deserialize<'a>>(&self, name: &str) -> T {
        fs::read_to_string(self.folder.join(name)).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
    }

    /// What every anchor holds, by its path.
    pub fn anchors(&self) -> BTreeMap<String, String> {
        self.json("anchors")
    }

    /// Every invocation so far, in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        let text = fs::read_to_string(self.folder.join("calls.log")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn states(&self) -> Vec<State> {
        self.json("states")
    }

    pub fn set_states(&self, states: &[State]) {
        self.put("states", &serde_json::to_string(states).unwrap());
    }

    /// Puts a file there at once, so that no invocation sees half of it.
    pub fn put(&self, name: &str, text: &str) {
        let new = self.folder.join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join(name)).unwrap();
    }

    /// Takes a knob away again.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.folder.join(name));
    }

    /// From now on what anchors say is done by nftables; what they let pass gets this mark.
    pub fn realise(&self, mark: &str) {
        self.put("realise", mark);
    }

    /// The next `times` loads fail with EBUSY at their end.
    pub fn fail_busy(&self, times: u32) {
        self.put("fail_busy", &times.to_string());
    }

    /// Every invocation sleeps first.
    pub fn hang(&self, time: Duration) {
        self.put("hang", &time.as_millis().to_string());
    }

    pub fn limit_anchors(&self, limit: usize) {
        self.put("limit_anchors", &limit.to_string());
    }

    /// pf is not enabled; rules can be loaded all the same.
    pub fn disable(&self) {
        self.put("disabled", "");
    }

    /// /dev/pf cannot be opened.
    pub fn deny(&self) {
        self.put("denied", "");
    }

    /// Runs it: exit status, standard output, standard error.
    pub fn run(&self, arguments: &[&str], stdin: &str) -> (i32, String, String) {
        let mut child = Command::new(self.path())
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without having read anything.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// Loads the main ruleset, which must be correct.
    pub fn load_main(&self, text: &str) {
        let (exit, _, stderr) = self.run(&["-q", "-f", "-"], text);
        assert_eq!(exit, 0, "{stderr}{:?}", self.calls().last().and_then(|call| call.reason.clone()));
    }

    /// What its rules, as they are now, do to packets.
    pub fn model(&self) -> Model {
        let main = fs::read_to_string(self.folder.join("main")).unwrap_or_default();
        let mut model = Model::new(self.dialect, &main);
        for (name, text) in self.anchors() {
            model.load(&name, &text);
        }
        model
    }
}

/// The program, built from what stands in the tree now.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // target/PROFILE/deps/TEST
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        // Cargo builds examples only along with all tests; for one test by name nobody has.
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--offline", "--locked", "--example", "fake-pfctl", "--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().unwrap())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(status.success(), "cargo could not build the stand-in for pfctl");
        folder.join("examples/fake-pfctl")
    })
}
