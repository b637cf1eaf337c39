//! A state of pf as `pfctl -ss` shows it, and the text that each dialect's pfctl prints for it (pf_print_state.c of FreeBSD 14 and
//! OpenBSD 7.x).
//!
//! Shared by the stand-in for pfctl, which prints and kills them, and by tests, which write them. Not here: which states a packet
//! makes (`model.rs`).

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::grammar::Dialect;

/// The window that one side of a connection has announced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    pub low: u32,
    pub size: u32,
    /// Absent where it offered no scaling.
    pub scale: Option<u8>,
}

impl Default for Window {
    fn default() -> Self {
        Self { low: 1, size: 65535, scale: Some(6) }
    }
}

/// One state. `before` and `after` are the addresses before and after translation, in the direction of the first packet: for an
/// inbound state what came in on the wire and what the stack then sees, for an outbound one the other way round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub id: u64,
    pub creator: u32,
    /// The label of the rule that made it.
    pub label: Option<String>,
    /// `all` where states float.
    pub interface: String,
    /// FreeBSD 14 also says on which interface it was made.
    pub made_on: Option<String>,
    pub outbound: bool,
    pub before: (SocketAddr, SocketAddr),
    pub after: (SocketAddr, SocketAddr),
    /// `ESTABLISHED` and the like, of the host that dialled and of the one that was dialled.
    pub tcp: (String, String),
    pub windows: (Window, Window),
    /// Seconds.
    pub age: u64,
    /// Seconds.
    pub expires: u64,
    /// Packets from the host that dialled, and to it.
    pub packets: (u64, u64),
    /// The same in bytes, headers included.
    pub bytes: (u64, u64),
    /// Place of the rule of the main ruleset through which the anchor was reached.
    pub anchor: Option<u32>,
    /// Place of the rule in its ruleset.
    pub rule: Option<u32>,
    /// The rule logs; only FreeBSD shows it.
    pub log: bool,
    /// Only FreeBSD shows it.
    pub rtable: Option<u16>,
}

impl State {
    /// An established connection from `from` to `to`, without translation.
    pub fn new(id: u64, label: &str, outbound: bool, from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            id,
            creator: 0xdead_beef,
            label: Some(label.to_owned()),
            interface: "all".to_owned(),
            made_on: Some("em0".to_owned()),
            outbound,
            before: (from, to),
            after: (from, to),
            tcp: ("ESTABLISHED".to_owned(), "ESTABLISHED".to_owned()),
            windows: (Window::default(), Window::default()),
            age: 70,
            expires: 86_398,
            packets: (5, 4),
            bytes: (300, 400),
            anchor: Some(3),
            rule: Some(1),
            log: false,
            rtable: None,
        }
    }

    /// The lines that pfctl prints for it. `verbosity`: how many `-v` there were.
    pub fn print(&self, dialect: Dialect, verbosity: usize) -> String {
        // What an inbound state shows first is its destination, and what it shows first of the TCP states is the dialled side's.
        let (left, right, arrow) = if self.outbound {
            (side(self.after.0, self.before.0), side(self.after.1, self.before.1), "->")
        } else {
            (side(self.after.1, self.before.1), side(self.after.0, self.before.0), "<-")
        };
        let order = |pair: &(String, String)| {
            if self.outbound { format!("{}:{}", pair.0, pair.1) } else { format!("{}:{}", pair.1, pair.0) }
        };
        let mut text = format!("{} tcp {left} {arrow} {right}       {}\n", self.interface, order(&self.tcp));
        if verbosity > 0 {
            let windows =
                if self.outbound { [&self.windows.0, &self.windows.1] } else { [&self.windows.1, &self.windows.0] };
            let scaled = windows.iter().all(|window| window.scale.is_some());
            let shown = windows.map(|window| match window.scale.filter(|_| scaled) {
                Some(scale) => format!("[{} + {}] wscale {scale}", window.low, window.size),
                None => format!("[{} + {}]", window.low, window.size),
            });
            text += &format!("   {}  {}\n", shown[0], shown[1]);
            text += &format!("   age {}, expires in {}", clock(self.age), clock(self.expires));
            text += &format!(", {}:{} pkts, {}:{} bytes", self.packets.0, self.packets.1, self.bytes.0, self.bytes.1);
            text += &self.anchor.map(|anchor| format!(", anchor {anchor}")).unwrap_or_default();
            text += &self.rule.map(|rule| format!(", rule {rule}")).unwrap_or_default();
            text += if self.log && dialect == Dialect::FreeBsd { ", log\n" } else { "\n" };
        }
        if verbosity > 1 {
            text += &format!("   id: {:016x} creatorid: {:08x}", self.id, self.creator);
            if dialect == Dialect::FreeBsd {
                text += &self.rtable.map(|rtable| format!(" rtable: {rtable}")).unwrap_or_default();
            }
            text += "\n";
            if dialect == Dialect::FreeBsd
                && let Some(interface) = self.made_on.as_ref().filter(|interface| **interface != self.interface)
            {
                text += &format!("   origif: {interface}\n");
            }
        }
        text
    }
}

/// The address the network sees, and in parentheses the other one where it differs.
fn side(shown: SocketAddr, other: SocketAddr) -> String {
    if shown == other { host(shown) } else { format!("{} ({})", host(shown), host(other)) }
}

fn host(address: SocketAddr) -> String {
    match (address, address.port()) {
        (_, 0) => address.ip().to_string(),
        (SocketAddr::V4(_), port) => format!("{}:{port}", address.ip()),
        (SocketAddr::V6(_), port) => format!("{}[{port}]", address.ip()),
    }
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
