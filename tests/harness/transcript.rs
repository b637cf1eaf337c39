//! Transcript files: what `tests/transcripts/README.md` describes, taken apart.
//!
//! Lives here: [`Transcript`] and its parser, which knows the file's name and line for every complaint. Not here: running one
//! (`player`), escapes (`notation`).

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use ftpgate::pinhole::Traffic;
use ftpgate::session::effect::Side;
use ftpgate::session::{Detour, Ends, Ftps, Security, ServerMode, Settings};

use super::notation;

/// One file.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The file's name.
    pub name: String,
    /// Who talks to whom.
    pub ends: Ends,
    /// The administrator's limits.
    pub settings: Settings,
    /// The administrator's rules about FTPS.
    pub security: Security,
    /// Whether the segments must come as they are: what arrives behind a line that a handshake follows is seen only if it
    /// comes with that line, and otherwise left to the handshake.
    pub as_it_is: bool,
    /// Whether greeting, USER and PASS are over before the first step.
    pub logged_in: bool,
    /// What the client has said in the lobby, if it came through there.
    pub lobby: Option<Vec<u8>>,
    /// What happens.
    pub steps: Vec<Step>,
}

/// One line of the file.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its number.
    pub line: usize,
    /// What it says.
    pub what: What,
}

/// What a line says.
#[derive(Clone, Debug)]
pub enum What {
    /// Something happens to the session.
    Input(Input),
    /// The session does this; in the notation's canonical form.
    Expect(String),
    /// The session reads, or does not read, a side.
    Wants(Side, bool),
}

/// Something that happens to the session.
#[derive(Clone, Debug)]
pub enum Input {
    /// Bytes from a side.
    Bytes(Side, Vec<u8>),
    /// What comes next from the client is urgent.
    Urgent,
    /// A side closes.
    Eof(Side),
    /// The firewall opened a pinhole; its entrance got this port.
    Granted(u32, u16),
    /// The joint stands; its legs listen at these ports, the client's and the server's.
    Joined(u32, u16, u16),
    /// The firewall could not.
    Refused(u32),
    /// The TLS handshake with that side is done.
    Secured(Side),
    /// The TLS handshake that is under way has failed.
    HandshakeFails,
    /// A data connection has come through the pinhole, from there.
    Used(u32, SocketAddr),
    /// It is over, and carried this, if that was counted.
    Over(u32, Option<Traffic>),
    /// It has carried so many bytes by now.
    Measured(u32, u64),
    /// Time passes, in milliseconds.
    Wait(u64),
    /// The daemon is going down.
    Drain,
}

/// Every transcript there is, by name.
pub fn all() -> Vec<Transcript> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no transcript in {}", folder.display());
    files.iter().map(|path| parse(path)).collect()
}

/// The text of every transcript, by name.
pub fn texts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    all().into_iter().map(|each| (each.name.clone(), fs::read_to_string(folder.join(each.name)).unwrap())).collect()
}

fn parse(path: &Path) -> Transcript {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    parse_text(&name, &text).unwrap_or_else(|problem| panic!("{problem}"))
}

/// Takes a transcript apart; the error names the line.
pub fn parse_text(name: &str, text: &str) -> Result<Transcript, String> {
    let mut header = Header::default();
    let mut steps = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let at_line = |problem: String| format!("{name}:{}: {problem}\n    {line}", at + 1);
        if line.ends_with([' ', '\t']) {
            return Err(at_line("a blank at the end of the line cannot be seen: write \\x20".to_owned()));
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if header.take(line).map_err(at_line)? {
            if !steps.is_empty() {
                return Err(at_line("header lines come before the first step".to_owned()));
            }
            continue;
        }
        let what = step(line).map_err(at_line)?;
        steps.push(Step { line: at + 1, what });
    }
    if steps.is_empty() {
        return Err(format!("{name}: nothing happens in it"));
    }
    header.finish(name, steps)
}

/// The header lines seen so far.
struct Header {
    client: Option<SocketAddr>,
    original: Option<SocketAddr>,
    source: Option<SocketAddr>,
    server: Option<SocketAddr>,
    announced: Option<IpAddr>,
    entrance: Option<IpAddr>,
    balancer: Option<IpAddr>,
    logged_in: Option<bool>,
    lobby: Option<Vec<u8>>,
    settings: Settings,
    security: Security,
    as_it_is: bool,
}

impl Default for Header {
    fn default() -> Self {
        let settings = Settings {
            line_length: 4096,
            pipeline: 32,
            pinhole_timeout: 60_000,
            login_timeout: 120_000,
            idle_timeout: 900_000,
            data_idle_timeout: 300_000,
            tracked: false,
            reset_on_close: true,
            server_mode: ServerMode::AsClient,
        };
        Self {
            client: None,
            original: None,
            source: None,
            server: None,
            announced: None,
            entrance: None,
            balancer: None,
            logged_in: None,
            lobby: None,
            settings,
            security: Security::default(),
            as_it_is: false,
        }
    }
}

impl Header {
    /// Whether `line` is one of ours.
    fn take(&mut self, line: &str) -> Result<bool, String> {
        if let Some(text) = line.strip_prefix("lobby ") {
            (self.lobby, self.logged_in) = (Some(notation::to_bytes(text)?), Some(false));
            return Ok(true);
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["client", "closes"] | ["server", "closes"] => return Ok(false),
            ["client", value] => self.client = Some(value_of(value)?),
            ["original", value] => self.original = Some(value_of(value)?),
            ["source", value] => self.source = Some(value_of(value)?),
            ["server", value] => self.server = Some(value_of(value)?),
            ["announced", value] => self.announced = Some(value_of(value)?),
            ["entrance", value] => self.entrance = Some(value_of(value)?),
            ["balancer", value] => self.balancer = Some(value_of(value)?),
            ["login", "done"] => self.logged_in = Some(true),
            ["login", "no"] => self.logged_in = Some(false),
            ["set", "line_length", value] => self.settings.line_length = value_of(value)?,
            ["set", "pipeline", value] => self.settings.pipeline = value_of(value)?,
            ["set", "pinhole_timeout", value] => self.settings.pinhole_timeout = millis(value)?,
            ["set", "login_timeout", value] => self.settings.login_timeout = millis(value)?,
            ["set", "idle_timeout", value] => self.settings.idle_timeout = millis(value)?,
            ["set", "data_idle_timeout", value] => self.settings.data_idle_timeout = millis(value)?,
            ["set", "tracked", value] => self.settings.tracked = yes(value)?,
            ["set", "server_mode", "passive"] => self.settings.server_mode = ServerMode::Passive,
            ["set", "server_mode", "active"] => self.settings.server_mode = ServerMode::Active,
            ["set", "ftps", "refuse"] => self.security.ftps = Ftps::Refuse,
            ["set", "ftps", "terminate"] => self.security.ftps = Ftps::Terminate,
            ["set", "ftps", "bridge"] => self.security.ftps = Ftps::Bridge,
            ["set", "server_tls", value] => self.security.server_tls = yes(value)?,
            ["set", "implicit", value] => self.security.implicit = yes(value)?,
            ["set", "require", value] => self.security.require = yes(value)?,
            ["set", "allow_ccc", value] => self.security.allow_ccc = yes(value)?,
            ["set", "range", first, last] => self.security.range = Some((value_of(first)?, value_of(last)?)),
            ["segments", "as", "they", "are"] => self.as_it_is = true,
            ["set", "reset_on_close", value] => self.settings.reset_on_close = yes(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, name: &str, steps: Vec<Step>) -> Result<Transcript, String> {
        let missing = |what: &str| format!("{name}: the header line `{what}` is missing");
        let ends = Ends {
            client: self.client.ok_or_else(|| missing("client"))?,
            original: self.original.ok_or_else(|| missing("original"))?,
            source: self.source.ok_or_else(|| missing("source"))?,
            server: self.server.ok_or_else(|| missing("server"))?,
            detour: Detour { announced: self.announced, entrance: self.entrance, balancer: self.balancer }.boxed(),
        };
        let logged_in = self.logged_in.ok_or_else(|| missing("login"))?;
        let Self { settings, security, as_it_is, lobby, .. } = self;
        Ok(Transcript { name: name.to_owned(), ends, settings, security, as_it_is, logged_in, lobby, steps })
    }
}

fn value_of<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` cannot be read"))
}

fn yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("`{text}` is neither yes nor no")),
    }
}

fn millis(text: &str) -> Result<u64, String> {
    for (unit, factor) in [("ms", 1), ("s", 1_000), ("m", 60_000)] {
        if let Some(number) = text.strip_suffix(unit) {
            return value_of::<u64>(number).map(|number| number * factor);
        }
    }
    Err(format!("`{text}` is no time: write 61s, 15m or 500ms"))
}

fn step(line: &str) -> Result<What, String> {
    let (sign, text) = line.split_once(' ').unwrap_or((line, ""));
    let bytes = |side| notation::to_bytes(text).map(|bytes| What::Input(Input::Bytes(side, bytes)));
    match sign {
        ">" => bytes(Side::Client),
        "<<" => bytes(Side::Server),
        "<" | "<!" | ">>" | ">>!" => expected_send(sign, text),
        "!" => firewall(text),
        "=" => Ok(What::Expect(line.to_owned())),
        _ => words(line),
    }
}

/// In canonical form: the file may write the same bytes differently.
fn expected_send(sign: &str, text: &str) -> Result<What, String> {
    let bytes = notation::to_bytes(text)?;
    match &notation::to_text(&bytes)[..] {
        [one] => Ok(What::Expect(format!("{sign} {one}"))),
        _ => Err("one line each, please".to_owned()),
    }
}

fn firewall(text: &str) -> Result<What, String> {
    let number = |text: &str| value_of::<u32>(text.trim_start_matches('#'));
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["joined", id, client, server] => {
            Ok(What::Input(Input::Joined(number(id)?, value_of(client)?, value_of(server)?)))
        }
        ["granted", id, port] => Ok(What::Input(Input::Granted(number(id)?, value_of(port)?))),
        ["refused", id] => Ok(What::Input(Input::Refused(number(id)?))),
        ["used", id, dialler] => Ok(What::Input(Input::Used(number(id)?, value_of(dialler)?))),
        ["over", id] => Ok(What::Input(Input::Over(number(id)?, None))),
        ["over", id, from, to] => {
            let traffic = Traffic { from_initiator: value_of(from)?, to_initiator: value_of(to)? };
            Ok(What::Input(Input::Over(number(id)?, Some(traffic))))
        }
        ["measured", id, total] => Ok(What::Input(Input::Measured(number(id)?, value_of(total)?))),
        ["open" | "join" | "close" | "measure" | "reset" | "range", ..] => Ok(What::Expect(format!("! {text}"))),
        _ => Err(
            "`!` is followed by open, join, close, granted, joined, refused, used, over, measure, measured, reset or range"
                .to_owned(),
        ),
    }
}

fn words(line: &str) -> Result<What, String> {
    let side = |word: &str| match word {
        "client" => Ok(Side::Client),
        "server" => Ok(Side::Server),
        _ => Err(format!("`{word}` is neither client nor server")),
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        [who, "closes"] => Ok(What::Input(Input::Eof(side(who)?))),
        ["urgent"] => Ok(What::Input(Input::Urgent)),
        ["drain"] => Ok(What::Input(Input::Drain)),
        ["wait", time] => Ok(What::Input(Input::Wait(millis(time)?))),
        ["secured", who] => Ok(What::Input(Input::Secured(side(who)?))),
        ["handshake", "fails"] => Ok(What::Input(Input::HandshakeFails)),
        ["shutdown" | "secure" | "unsecure", who] => side(who).map(|_| What::Expect(line.to_owned())),
        ["wants", who, "yes"] => Ok(What::Wants(side(who)?, true)),
        ["wants", who, "no"] => Ok(What::Wants(side(who)?, false)),
        _ => Err("no such line; tests/transcripts/README.md lists them all".to_owned()),
    }
}
