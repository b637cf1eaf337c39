//! Rules: what one session's anchor holds, in pf's own language, pf.conf(5).
//!
//! Lives here: [`anchor`], a pure function from pinholes to text, and what the two dialects have in common. Below it, each in its
//! file: `openbsd` (translation is part of a rule) and `freebsd` (translation is a rule of its own, and comes first). Not here:
//! loading the text (`pfctl`), what the administrator's own pf.conf must say (`cli/rules`).
//!
//! Each pinhole is two rules, for the packet's way into the gateway and its way out. Here a client dials the server behind the
//! gateway, `203.0.113.1:61000` is announced, OpenBSD:
//!
//! ```text
//! pass in quick inet proto tcp from 198.51.100.7 to 203.0.113.1 port = 61000 flags S/SA keep state (max 1) label "ftpgate/811.3" rdr-to 10.0.0.5 port 50000
//! pass out quick inet proto tcp from 198.51.100.7 to 10.0.0.5 port = 50000 flags S/SA keep state (max 1) label "ftpgate/811.3" nat-to 10.0.0.1
//! ```
//!
//! `(max 1)` is as near to one-shot as both systems come: no second connection while the first, or its closing state, is there. The
//! rule itself stays until the anchor is loaded without it. The label is the session's: its states outlive its rules, and can
//! then be found by nothing else (`pfctl -k label -k NAME`).
//!
//! **With a tag** the same rules say `match` instead of `pass quick`: they translate, name and tag, and decide nothing. The
//! administrator's `pass … tagged NAME` behind the anchor decides, and without one the default block does. `keep state (max 1)` is left
//! out: pfctl refuses it ("keep state is great, but only for pass rules"), and the kernel would count states for the rule that passed,
//! not for a match rule. So with a tag one use is bounded by how soon the rule is taken away. For the same reason the label names the
//! session in listings and in pflog, but the states carry the label of the administrator's rule, and cannot be killed by ours.
//! `flags S/SA` stays, since it is a condition: only packets that open a connection are translated and tagged.
//!
//! **Text from outside** never gets here (attack C93): numbers and addresses are written from their values, and of names only
//! letters, digits and `_ . / : -` are kept, in quotes, so that even a tag that is a keyword of pf stays a name.

mod freebsd;
mod openbsd;

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::pinhole::Pinhole;

/// The longest label in bytes: `PF_RULE_LABEL_SIZE` of `<net/pfvar.h>` is 64 with the NUL, on both systems. pfctl refuses a longer one.
pub const LABEL_MAX: usize = 63;

/// Which pf it is: the languages differ in how translation is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dialect {
    /// FreeBSD 14 and 15: `nat` and `rdr` rules in front of filter rules; filter rules see translated addresses.
    FreeBsd,
    /// OpenBSD 4.7 and later: `nat-to` and `rdr-to` as parts of filter rules; each sees its packet before its own translation.
    OpenBsd,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::FreeBsd, Self::OpenBsd];

    /// The word for configurations and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FreeBsd => "freebsd",
            Self::OpenBsd => "openbsd",
        }
    }
}

/// What the administrator wants of every rule. The names are validated where they are read (`config`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// Tag data connections with this word and let the administrator's own rules decide about them.
    pub tag: Option<String>,
    /// FreeBSD: put data connections in this queue, which must be defined in pf.conf. Not carried out on OpenBSD, where pfctl takes
    /// no queue in an anchor; the configuration refuses it there.
    pub queue: Option<String>,
    /// Look up the route of data connections in this table.
    pub rtable: Option<u16>,
    /// Log the first packet of data connections to pflog(4).
    pub log: bool,
}

/// A pinhole, and what its rules say beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passage {
    /// What may pass.
    pub pinhole: Pinhole,
    /// Whether the target sees it come from port 20. In active mode clients expect that (RFC 959 §3.2), and where the source is
    /// translated the port is ours to choose. Otherwise pf takes one at random from 50001 to 65535.
    pub from_port_20: bool,
}

impl From<Pinhole> for Passage {
    /// As clients expect it.
    fn from(pinhole: Pinhole) -> Self {
        Self { pinhole, from_port_20: pinhole.announcement.is_active() && pinhole.needs_snat() }
    }
}

/// Packets of a connection that has ended: they are answered with a reset. Its states must be gone, or they pass before any rule
/// is looked at. The addresses are those that a packet carries when the gateway receives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    /// Who sends the packets.
    pub from: SocketAddr,
    /// To whom. Of the same family.
    pub to: IpAddr,
    /// To which port; any, if it is not known.
    pub to_port: Option<u16>,
}

/// The label of one session's rules: no other session of any process has it, and it fits in [`LABEL_MAX`] for every `anchor`
/// that the configuration accepts (32 bytes) and every `pid` that a BSD gives (99999 at most).
pub fn session_label(anchor: &str, pid: u32, session: u64) -> String {
    format!("{anchor}/{pid}.{session}")
}

/// The whole content of one session's anchor, for `pfctl -a ANCHOR -f -`: lines that end with a newline, in the order that pf
/// demands. Nothing for no pinholes and no cuts, which empties the anchor.
///
/// A label longer than [`LABEL_MAX`] is not cut here: nobody could kill its states by the name they know. pfctl refuses it.
pub fn anchor(dialect: Dialect, options: &Options, label: &str, passages: &[Passage], cuts: &[Cut]) -> String {
    let writer = Writer { options, label };
    let mut text = String::new();
    match dialect {
        Dialect::FreeBsd => {
            for passage in passages {
                freebsd::translation(&mut text, passage);
            }
            writer.cuts(&mut text, cuts);
            for passage in passages {
                freebsd::filter(&mut text, &writer, &passage.pinhole);
            }
        }
        Dialect::OpenBsd => {
            writer.cuts(&mut text, cuts);
            for passage in passages {
                openbsd::rules(&mut text, &writer, passage);
            }
        }
    }
    text
}

/// The direction of a packet as pf sees it: into the gateway or out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Way {
    fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What all rules of an anchor have in common.
struct Writer<'a> {
    options: &'a Options,
    label: &'a str,
}

impl Writer<'_> {
    /// A filter rule up to where the dialects part. `queue`: the dialect's word for it, if an anchor can have it.
    ///
    /// ```text
    /// pass in log quick inet proto tcp from A to B port = P flags S/SA keep state (max 1) label "L" queue "Q" rtable 2
    /// match in log inet proto tcp from A to B port = P flags S/SA label "L" queue "Q" rtable 2 tag "T"
    /// ```
    fn filter_rule(&self, text: &mut String, way: Way, queue: Option<&str>, from: IpAddr, to: SocketAddr) {
        let options = self.options;
        text.push_str(if options.tag.is_some() { "match " } else { "pass " });
        text.push_str(way.as_str());
        self.log(text);
        if options.tag.is_none() {
            text.push_str(" quick");
        }
        let _ = write!(text, " {} flags S/SA", peers(from, to.ip()).port("=", to.port()));
        if options.tag.is_none() {
            text.push_str(" keep state (max 1)");
        }
        let _ = write!(text, " label {}", quoted(self.label));
        if let (Some(word), Some(name)) = (queue, &options.queue) {
            let _ = write!(text, " {word} {}", quoted(name));
        }
        // Only before the route is looked up, which is between in and out (pf.conf(5), "rtable").
        if let Some(table) = options.rtable.filter(|_| way == Way::In) {
            let _ = write!(text, " rtable {table}");
        }
        if let Some(tag) = &options.tag {
            let _ = write!(text, " tag {}", quoted(tag));
        }
    }

    /// The rules that answer what is left of connections that have ended. They decide whatever the tag: the administrator has
    /// no say in a connection that is no more.
    fn cuts(&self, text: &mut String, cuts: &[Cut]) {
        for cut in cuts {
            // block return-rst in log quick inet proto tcp from A port = a to B port = b label "L"
            text.push_str("block return-rst in");
            self.log(text);
            let (from, port) = (cut.from.ip(), cut.from.port());
            let _ = write!(text, " quick {} proto tcp from {from} port = {port} to {}", family(from), cut.to);
            if let Some(port) = cut.to_port {
                let _ = write!(text, " port = {port}");
            }
            let _ = writeln!(text, " label {}", quoted(self.label));
        }
    }

    fn log(&self, text: &mut String) {
        if self.options.log {
            text.push_str(" log");
        }
    }
}

/// `inet proto tcp from A to B`, what every rule about a pinhole says.
fn peers(from: IpAddr, to: IpAddr) -> Peers {
    Peers { from, to }
}

struct Peers {
    from: IpAddr,
    to: IpAddr,
}

impl Peers {
    /// With the port that is dialled. `operator` is `=` or nothing: both mean the same, and pfctl prints the first in filter rules.
    fn port(&self, operator: &str, port: u16) -> String {
        let space = if operator.is_empty() { "" } else { " " };
        format!("{} proto tcp from {} to {} port {operator}{space}{port}", family(self.from), self.from, self.to)
    }
}

/// pf's word for a family.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "inet6" } else { "inet" }
}

/// What stands behind `nat-to SOURCE` or `-> SOURCE`.
fn source_port(passage: &Passage) -> &'static str {
    if passage.from_port_20 { " port 20" } else { "" }
}

/// A name as pf's language takes it: quoted, and without anything that could end the quotes or be expanded (`$nr`).
fn quoted(name: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '-');
    format!("\"{}\"", name.chars().filter(plain).collect::<String>())
}

#[cfg(test)]
mod tests;
