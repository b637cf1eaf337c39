//! The daemon under test: the real binary with a configuration, in a gateway's namespace.
//!
//! Lives here: [`Config`] (an example file with what a test adds), [`Ftpgate`], its log, its metrics, its pinholes. Not here:
//! what any of them should be.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::Family;
use super::files::Folder;
use super::host::Host;
use super::process::Daemon;

/// A configuration: the text of an example, and further sections.
#[derive(Clone, Debug)]
pub struct Config {
    text: String,
    sections: BTreeMap<&'static str, String>,
}

impl Config {
    /// The text as it is, for the lab: without a user of its own, with everything on the log.
    pub fn new(text: &str) -> Self {
        let sections =
            BTreeMap::from([("log", "{ level: debug, format: text }".to_owned()), ("user", "nobody".to_owned())]);
        Self { text: text.to_owned(), sections }
    }

    /// Sets a section, e.g. `limits` to `{ sessions: 2 }`.
    #[must_use]
    pub fn with(mut self, section: &'static str, value: &str) -> Self {
        self.sections.insert(section, value.to_owned());
        self
    }

    /// Replaces a part of a section that was set, which must be there.
    #[must_use]
    pub fn replacing_section(mut self, section: &'static str, old: &str, new: &str) -> Self {
        let value = self.sections.get_mut(section).unwrap_or_else(|| panic!("no section {section} was set"));
        assert!(value.contains(old), "{old:?} is not in {value}");
        *value = value.replace(old, new);
        self
    }

    /// Replaces a part of the example's text, which must be there.
    #[must_use]
    pub fn replacing(mut self, old: &str, new: &str) -> Self {
        assert!(self.text.contains(old), "{old:?} is not in the configuration:\n{}", self.text);
        self.text = self.text.replace(old, new);
        self
    }

    /// The whole file.
    fn render(&self, folder: &Folder) -> String {
        let mut text = self.text.clone();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let socket = format!("{{ socket: {} }}", folder.file("control.sock").display());
        let mut sections = self.sections.clone();
        sections.entry("control").or_insert(socket);
        for (name, value) in sections {
            let present = text.lines().any(|line| line.starts_with(&format!("{name}:")));
            assert!(!present, "the example has a section {name} already; use `replacing`");
            text.push_str(&format!("{name}: {value}\n"));
        }
        text
    }
}

/// Where the binary is: `FTPGATE` in the environment, or what cargo has built for the tests.
pub fn binary() -> String {
    match (std::env::var("FTPGATE"), option_env!("CARGO_BIN_EXE_ftpgate")) {
        (Ok(path), _) => path,
        (Err(_), Some(path)) => path.to_owned(),
        (Err(_), None) => panic!("FTPGATE must name the ftpgate binary: start the demo with `make demo`"),
    }
}

/// What makes a command one of an ordinary user.
pub const UNPRIVILEGED: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--inh-caps=-all",
    "--bounding-set=-all",
    "--no-new-privs",
];

/// Where a gateway with an /etc/hosts of its own asks for other names. Nobody answers there, unless a test does.
pub const NAME_SERVER: &str = "127.0.0.9";

/// Where it serves its metrics, by default.
const METRICS: &str = "127.0.0.1:9821";

/// A running daemon. It is killed with the value; its log is shown when a test panics.
#[derive(Debug)]
pub struct Ftpgate {
    pub daemon: Daemon,
    folder: Folder,
}

impl Ftpgate {
    /// Starts it and waits until its log says `ready`.
    pub fn start(host: &Host, config: &Config) -> Self {
        Self::try_start(host, config).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same as an ordinary user: nobody, with no capability, nor a way to one.
    pub fn start_unprivileged(host: &Host, config: &Config) -> Self {
        Self::start_by(host, config, UNPRIVILEGED).unwrap_or_else(|error| panic!("{error}"))
    }

    /// As of [`Ftpgate::start`]; an error holds its log.
    pub fn try_start(host: &Host, config: &Config) -> Result<Self, String> {
        Self::start_by(host, config, &[])
    }

    /// With this /etc/hosts, which nobody else sees, a name server at [`NAME_SERVER`], and by means of a command.
    pub fn start_knowing(host: &Host, config: &Config, hosts: &str, by: &[&str]) -> Self {
        let folder = Folder::new();
        let [hosts, servers] =
            [("hosts", hosts), ("resolv.conf", &format!("nameserver {NAME_SERVER}\n"))].map(|(name, text)| {
                let file = folder.write(name, text);
                super::files::set_mode(&file, 0o644);
                file.to_string_lossy().into_owned()
            });
        let mount = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && shift 2 && exec \"$@\"";
        let by = [&["unshare", "--mount", "sh", "-c", mount, "sh", &hosts, &servers], by].concat();
        Self::start_by(host, config, &by).unwrap_or_else(|error| panic!("{error}"))
    }

    fn start_by(host: &Host, config: &Config, by: &[&str]) -> Result<Self, String> {
        let folder = Folder::new();
        // The control socket is made by the unprivileged user.
        super::files::set_mode(folder.path(), 0o777);
        let file = folder.write("ftpgate.yaml", config.render(&folder));
        super::files::set_mode(&file, 0o644);
        let (binary, file) = (binary(), file.to_string_lossy());
        let mut daemon = host.spawn(&[by, &[&binary, "run", "-c", &file]].concat());
        match daemon.wait_for_line(Duration::from_secs(15), says_ready) {
            Some(_) => Ok(Self { daemon, folder }),
            None => {
                daemon.kill();
                Err(format!("ftpgate did not become ready:\n{}", daemon.log().join("\n")))
            }
        }
    }

    /// Writes another configuration over its file; SIGHUP makes it read that.
    pub fn rewrite(&self, config: &Config) {
        self.folder.write("ftpgate.yaml", config.render(&self.folder));
    }

    pub fn signal(&self, signal: Signal) {
        self.daemon.signal(signal);
    }

    pub fn log(&self) -> String {
        self.daemon.log().join("\n")
    }

    /// The events "transfer" of its log, which must be in JSON.
    pub fn transfers(&self) -> Vec<Value> {
        let entries = self.daemon.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        entries.filter(|entry| entry["message"] == "transfer").collect()
    }

    /// Waits until there are so many of them; one more would end the test.
    pub fn wait_for_transfers(&self, count: usize) -> Vec<Value> {
        let all = super::wait_for(&format!("{count} transfers on the log"), Duration::from_secs(10), || {
            let all = self.transfers();
            (all.len() >= count).then_some(all)
        });
        assert_eq!(all.len(), count, "{all:#?}");
        all
    }

    /// Resident memory in KiB, of the process itself.
    pub fn memory_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.daemon.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

fn says_ready(line: &str) -> bool {
    line.contains("\"message\":\"ready\"") || line.split_whitespace().any(|word| word == "ready")
}

/// What the metrics page says.
#[derive(Clone, Debug)]
pub struct Metrics(pub String);

impl Metrics {
    /// Reads them from inside the gateway.
    pub fn read(host: &Host) -> Self {
        Self::try_read(host).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_read(host: &Host) -> Result<Self, String> {
        let address: SocketAddr = METRICS.parse().unwrap();
        host.http_get(address, "/metrics").map(Self)
    }

    /// The sum of all samples of a name that carry these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.samples(name, labels).sum()
    }

    /// Whether there is a sample at all.
    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.samples(name, labels).next().is_some()
    }

    fn samples<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = f64> + 'a {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (found, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once('}')?,
                None if rest.starts_with(' ') => ("", rest),
                None => return None,
            };
            let wanted =
                labels.iter().all(|(key, value)| found.split(',').any(|label| label == format!("{key}=\"{value}\"")));
            wanted.then(|| value.trim().parse().ok()).flatten()
        })
    }
}

/// The pinholes that are in force for a family, one line each, as `nft` lists them.
pub fn pinholes(host: &Host, table: &str, family: Family) -> Vec<String> {
    let set = match family {
        Family::V4 => "pinhole4",
        Family::V6 => "pinhole6",
    };
    let text = host.run(&["nft", "list", "set", "inet", table, set]).expect_ok();
    let Some((_, elements)) = text.split_once("elements = {") else { return Vec::new() };
    let elements = elements.split('}').next().unwrap_or_default();
    elements.split(',').map(|element| element.trim().to_owned()).filter(|element| !element.is_empty()).collect()
}
