//! Real FTP clients: curl, lftp, tnftp and Python's ftplib.
//!
//! Lives here: what a client is asked to do ([`Job`], [`Step`]), which combinations exist, and the check that the wanted mode
//! was really used. Not here: how each client is told (`curl.rs`, `scripted.rs`).

mod curl;
pub mod everything;
mod scripted;

use std::net::IpAddr;
use std::path::PathBuf;

use super::Family;
use super::files::Folder;
use super::host::Host;
use super::server::{PASSWORD, Server};

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    Curl,
    Lftp,
    Tnftp,
    Ftplib,
}

/// Which command announces the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Port,
    Eprt,
    Pasv,
    Epsv,
}

impl Mode {
    pub const ALL: [Self; 4] = [Self::Port, Self::Eprt, Self::Pasv, Self::Epsv];

    /// The command.
    pub fn verb(self) -> &'static str {
        match self {
            Self::Port => "PORT",
            Self::Eprt => "EPRT",
            Self::Pasv => "PASV",
            Self::Epsv => "EPSV",
        }
    }

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Eprt => "eprt",
            Self::Pasv => "pasv",
            Self::Epsv => "epsv",
        }
    }
}

impl Client {
    pub const ALL: [Self; 4] = [Self::Curl, Self::Lftp, Self::Tnftp, Self::Ftplib];

    pub fn name(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Lftp => "lftp",
            Self::Tnftp => "tnftp",
            Self::Ftplib => "ftplib",
        }
    }

    /// Why the client cannot do this, if it cannot. The whole table:
    ///
    /// |        | v4 PORT | v4 EPRT | v4 PASV | v4 EPSV | v6 PORT | v6 EPRT | v6 PASV | v6 EPSV |
    /// |--------|---------|---------|---------|---------|---------|---------|---------|---------|
    /// | curl   | yes     | yes     | yes     | yes     | -       | yes     | -       | yes     |
    /// | lftp   | yes     | -       | yes     | yes     | -       | yes     | -       | yes     |
    /// | tnftp  | yes     | yes     | yes     | yes     | -       | yes     | -       | yes     |
    /// | ftplib | yes     | yes     | yes     | yes     | -       | yes     | -       | yes     |
    pub fn cannot(self, mode: Mode, family: Family) -> Option<&'static str> {
        match (self, mode, family) {
            (_, Mode::Port | Mode::Pasv, Family::V6) => Some("RFC 959 has no syntax for an IPv6 address"),
            (Self::Lftp, Mode::Eprt, Family::V4) => Some("lftp sends EPRT over IPv6 only"),
            _ => None,
        }
    }
}

/// One combination that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Combination {
    pub client: Client,
    pub mode: Mode,
    pub family: Family,
}

/// All that exist.
pub fn combinations() -> Vec<Combination> {
    let mut all = Vec::new();
    for client in Client::ALL {
        for family in Family::ALL {
            for mode in Mode::ALL {
                if client.cannot(mode, family).is_none() {
                    all.push(Combination { client, mode, family });
                }
            }
        }
    }
    all
}

/// One thing to do. Local files are in the job's folder, remote ones in the server's.
#[derive(Clone, Copy, Debug)]
pub enum Step<'a> {
    /// List the server's folder.
    List,
    /// Fetch a file.
    Fetch { remote: &'a str, local: &'a str },
    /// Store a file.
    Store { local: &'a str, remote: &'a str },
    /// Fetch the rest of a file of which the beginning is there (REST, RETR).
    ResumeFetch { remote: &'a str, local: &'a str },
    /// Store the rest of a file of which this much is there (REST and STOR, or APPE, as the client does).
    ResumeStore { local: &'a str, remote: &'a str, offset: u64 },
}

/// What a client shall do, all steps in one session.
#[derive(Debug)]
pub struct Job<'a> {
    pub combination: Combination,
    pub server: IpAddr,
    pub user: &'a str,
    pub steps: &'a [Step<'a>],
    /// Where its local files are.
    pub folder: &'a Folder,
    /// The limit for each command.
    pub seconds: u32,
}

impl<'a> Job<'a> {
    /// The usual one.
    pub fn new(
        combination: Combination,
        to: IpAddr,
        server: &Server,
        folder: &'a Folder,
        steps: &'a [Step<'a>],
    ) -> Self {
        Self { combination, server: to, user: server.user(), steps, folder, seconds: 20 }
    }

    /// Runs it. `Ok` is everything that the client said; an error tells what went wrong and what was said until then.
    pub fn run(&self, host: &Host) -> Result<String, String> {
        let said = match self.combination.client {
            Client::Curl => curl::run(self, host)?,
            Client::Lftp => scripted::lftp(self, host)?,
            Client::Tnftp => scripted::tnftp(self, host)?,
            Client::Ftplib => scripted::ftplib(self, host)?,
        };
        self.check_mode(&said)?;
        Ok(said)
    }

    /// The address as it stands in a URL.
    fn url_host(&self) -> String {
        match self.server {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        }
    }

    fn local(&self, name: &str) -> PathBuf {
        self.folder.file(name)
    }

    /// Every step must have used this mode, and nothing else may have been tried: clients fall back silently.
    fn check_mode(&self, said: &str) -> Result<(), String> {
        for mode in Mode::ALL {
            let sent = said.lines().filter(|line| sends(line, mode.verb())).count();
            let expected = if mode == self.combination.mode { self.steps.len() } else { 0 };
            if sent != expected {
                return Err(format!("{} was sent {sent} times instead of {expected}:\n{said}", mode.verb()));
            }
        }
        Ok(())
    }
}

/// Whether a line of a client's log says that it sent this command. The clients write `> PORT`, `---> PORT`, `*cmd* 'PORT`.
fn sends(line: &str, verb: &str) -> bool {
    ["> ", "---> ", "*cmd* '"].iter().any(|arrow| {
        line.strip_prefix(arrow)
            .and_then(|rest| rest.strip_prefix(verb))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\'', '\r']))
    })
}

/// What every client sends as its password.
fn password() -> &'static str {
    PASSWORD
}
