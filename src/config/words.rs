//! Words: keys whose values are one of a few words.
//!
//! Lives here: an enumeration for each of them. Not here: which key has which, and its default (`mod.rs`, `validate.rs`).

/// A value that is one of a few words.
pub(super) trait Word: Sized {
    /// The words.
    const WORDS: &[&str];

    /// The value that a word stands for.
    fn from_word(text: &str) -> Option<Self>;
}

macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word that the configuration uses.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl Word for $name {
            const WORDS: &[&str] = &[$($word,)+];

            fn from_word(text: &str) -> Option<Self> {
                match text { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

words! {
    /// On which side of the gateway the FTP server stands.
    Mode {
        /// Clients behind the gateway; the server is the original destination.
        Forward = "forward",
        /// The server behind the gateway; it comes from the configuration.
        Reverse = "reverse",
        /// Clients dial the gateway; the server is the one that they name: `USER user@host`.
        Login = "login",
    }
}

words! {
    /// How connections get to the listener, and so how the original destination is learnt.
    Capture {
        /// An nftables `redirect` or `dnat` rule: ask conntrack (`SO_ORIGINAL_DST`). A `rdr` rule of FreeBSD's pf: ask pf
        /// (`DIOCNATLOOK`).
        Redirect = "redirect",
        /// An nftables `tproxy` rule: the local address of the socket.
        Tproxy = "tproxy",
        /// A `divert-to` rule of OpenBSD's pf: the local address of the socket.
        Divert = "divert",
        /// Clients dial the listener: its own address.
        Direct = "direct",
    }
}

words! {
    /// What happens to sessions that want TLS.
    Ftps {
        /// They become opaque: bytes are passed, announcements can no longer be read.
        Pass = "pass",
        /// AUTH is refused, so they stay in clear text.
        Refuse = "refuse",
        /// The client speaks TLS with the gateway.
        Terminate = "terminate",
    }
}

words! {
    /// What servers are spoken to in, behind `ftps: terminate`.
    ServerTls {
        /// Clear text.
        Plain = "plain",
        /// TLS, asked for by AUTH (RFC 4217) before the client hears anything.
        Explicit = "explicit",
    }
}

words! {
    /// The PROXY header that servers are sent.
    SendHeader {
        /// None.
        Off = "off",
        /// A line of text.
        V1 = "v1",
        /// Binary.
        V2 = "v2",
    }
}

words! {
    /// Who opens pinholes.
    Backend {
        /// The Linux kernel, through netlink.
        Nftables = "nftables",
        /// The FreeBSD or OpenBSD kernel, through pfctl(8).
        Pf = "pf",
        /// ftpgate itself: it listens, connects and copies, and needs no packet filter.
        Relay = "relay",
        /// Nobody: they are logged only.
        DryRun = "dry-run",
    }
}

words! {
    /// Whose pf, and so which rules it understands.
    Dialect {
        /// FreeBSD's: `rdr` and `nat` rules, then filter rules that see translated addresses.
        FreeBsd = "freebsd",
        /// OpenBSD's: `rdr-to` and `nat-to` in filter rules.
        OpenBsd = "openbsd",
    }
}

words! {
    /// Whose the nftables table is.
    Ownership {
        /// ftpgate's: made at start, gone with the process.
        Managed = "managed",
        /// The administrator's: ftpgate only adds and removes elements of the sets in it.
        Sets = "sets",
    }
}

words! {
    /// What happens to live data connections when the control session ends.
    OnControlClose {
        /// Both ends see the connection reset (RFC 959 §3.2).
        Reset = "reset",
        /// They may finish, within a limit.
        Drain = "drain",
        /// They are left alone.
        Keep = "keep",
    }
}

words! {
    /// Who follows data connections once they are there.
    Tracking {
        /// Linux's connection tracking tells.
        Conntrack = "conntrack",
        /// pf's table of states is looked at now and then.
        States = "states",
        /// The relay, which copies them.
        Relay = "relay",
        /// Nobody: no bytes, no `idle_timeout`, no `on_control_close`.
        Off = "off",
    }
}

words! {
    /// How data connections with servers are made.
    ServerMode {
        /// As the client makes them.
        AsClient = "as-client",
        /// The server listens.
        Passive = "passive",
        /// The server dials.
        Active = "active",
    }
}

words! {
    /// What to do about `net.netfilter.nf_conntrack_acct`, without which transfers are recorded without their bytes.
    Accounting {
        /// Nothing; say so if it is off.
        Leave = "leave",
        /// Switch it on at the start. It stays on.
        Enable = "enable",
    }
}

words! {
    /// How much is logged.
    Level {
        /// What needs the administrator now.
        Error = "error",
        /// What may need the administrator.
        Warn = "warn",
        /// Start, stop, sessions.
        Info = "info",
        /// What each session does.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

words! {
    /// How the log is written.
    LogFormat {
        /// For people.
        Text = "text",
        /// For programs: one object per line.
        Json = "json",
    }
}

impl Dialect {
    /// That of the system this program was built for, if it has pf.
    pub fn of_this_system() -> Option<Self> {
        Self::from_word(std::env::consts::OS)
    }
}
