//! What ftpgate itself says to a client, in FTP.
//!
//! Lives here: every reply text that does not come from the server, one row each. Not here: when it is said.

use serde::{Deserialize, Serialize};

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// A reply of ftpgate's own.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Local { $($(#[$doc])* $name,)+ }

        impl Local {
            /// The whole line with its line end.
            pub fn line(self) -> &'static [u8] {
                match self { $(Self::$name => concat!($text, "\r\n").as_bytes(),)+ }
            }
        }
    };
}

replies! {
    /// An argument that cannot be parsed.
    Syntax = "501 Syntax error in the argument.",
    /// PORT or EPRT for somebody else (RFC 2577 §3 leaves the code open; 501 as most servers do).
    ForeignAddress = "501 The address is not yours; this gateway opens data connections to the client only.",
    /// RFC 2577 §3: 504 for a port below 1024.
    LowPort = "504 Ports below 1024 are refused.",
    /// RFC 2428 §2, on an IPv4 session.
    OnlyIpv4 = "522 Network protocol not supported, use (1)",
    /// RFC 2428 §2, on an IPv6 session.
    OnlyIpv6 = "522 Network protocol not supported, use (2)",
    /// LPRT, LPSV.
    LongAddress = "502 Long addresses are not implemented; use EPRT or EPSV.",
    /// RFC 2428 §3.
    EpsvAll = "501 Not after EPSV ALL.",
    /// RFC 6384 §6: the server, which is asked for PASV, could not keep it.
    EpsvAllTranslated = "504 EPSV ALL is not implemented here: the server is reached over IPv4.",
    /// `EPSV ALL` where the server is told PORT instead.
    EpsvAllConverted = "504 EPSV ALL is not implemented here: the server uses active mode.",
    /// PORT or EPRT, and the server has given a passive port instead.
    PortOk = "200 The data connection will be made.",
    /// A 227 has no room for an IPv6 address.
    PasvIpv6 = "425 PASV cannot name an IPv6 address; use EPSV.",
    /// RFC 6384 §11: EPSV and EPRT are translated.
    AlgsOn = "216 EPSVEPRT",
    /// RFC 6384 §11: they are not.
    AlgsOff = "216 NONE",
    /// RFC 6384 §11: ALGS with an argument of a later document.
    AlgsUnknown = "504 ALGS knows STATUS64, ENABLE64 and DISABLE64.",
    /// RFC 959 §3.2 would use the default data port, which no gateway can see coming.
    NoDataPort = "425 Use PORT, EPRT, PASV or EPSV first.",
    /// RFC 959 §4.2: 500 covers lines that are too long.
    LineTooLong = "500 Line too long.",
    /// Control bytes where there can be none.
    NotUnderstood = "500 Command not understood.",
    /// The firewall could not do it.
    NoPinhole = "425 The gateway cannot open the data connection; try again.",
    /// EPSV where data connections arrive at another address than the control connection.
    NoExtendedPassive = "502 Extended passive mode would miss this gateway; use PASV, PORT or EPRT.",
    /// A 227 or 229 that cannot be used.
    BadPassive = "425 The server's answer names no usable port; try another mode.",
    /// Login took too long.
    LoginTimeout = "421 Login timeout; closing control connection.",
    /// Nothing happened.
    IdleTimeout = "421 Idle timeout; closing control connection.",
    /// SIGTERM.
    Draining = "421 The gateway is shutting down; closing control connection.",
    /// Another protocol, or somebody who hammers.
    NotFtp = "421 This does not look like FTP; closing control connection.",
    /// Plain text behind AUTH.
    Injection = "421 Plain text after AUTH; closing control connection.",
    /// RFC 6384 §12.
    ServerLost = "421 The server answers something else than was asked; closing control connection.",
    /// A gateway that the client dials itself greets: `mode: login`.
    Lobby = "220 FTP gateway: log in as user@host or user@host:port.",
    /// Whatever needs a server, while there is none.
    NoServer = "530 Log in first: USER user@host or USER user@host:port.",
    /// USER names a server, but not so that it can be understood.
    BadServer = "501 That names no server: write USER user@host, user@host:port or user@[IPv6 address]:port.",
    /// AUTH, while there is no server. RFC 2228 §3: 534 refuses it for good.
    AuthNoServer = "534 There is no server yet to secure the connection with; log in first.",
    /// HELP, while there is no server.
    Help = "214-This is a gateway to FTP servers. Log in with\r\n USER user@host, or USER user@host:port\r\n PASS password\r\n\
            214 and go on as with that server.",
    /// NOOP, while there is no server.
    Okay = "200 Okay.",
    /// QUIT, while there is no server.
    Goodbye = "221 Goodbye.",
    /// Many commands, and no server.
    TooMany = "421 Too many attempts to log in; closing control connection.",
    /// USER names a second server.
    OtherServer = "503 This session is for another server; QUIT, connect again and name the new one.",
    /// The server closed before it greeted.
    NoGreeting = "421 The server has closed the connection without a greeting.",
    /// What connects there speaks another protocol.
    NoFtpServer = "421 The server does not greet as FTP servers do; closing control connection.",
    /// AUTH where the policy is to refuse it (RFC 2228 §3: for good).
    AuthRefused = "534 TLS is refused here by policy.",
    /// AUTH that is taken here (RFC 4217 §4).
    Secure = "234 Begin TLS.",
    /// AUTH within TLS, or after CCC.
    AuthAgain = "503 This connection has been secured already.",
    /// AUTH with another mechanism than TLS (RFC 2228 §3).
    NotThisAuth = "504 Only AUTH TLS is known here.",
    /// PBSZ, PROT, ADAT and their kin where there is no TLS, or none any more.
    NotSecured = "503 Not without AUTH TLS before it.",
    /// PBSZ: TLS knows no size (RFC 4217 §8).
    PbszZero = "200 PBSZ=0",
    /// PROT before PBSZ (RFC 4217 §9).
    PbszFirst = "503 PBSZ comes first.",
    /// `PROT C`.
    ProtClear = "200 Data connections are clear.",
    /// `PROT P`.
    ProtPrivate = "200 Data connections are private.",
    /// `PROT C` where that is not enough.
    ProtTooLow = "534 Data connections must be private: PROT P.",
    /// `PROT S`, `PROT E` (RFC 4217 §9).
    ProtUnknownToTls = "536 TLS has the levels C and P only.",
    /// PROT with a level that no document knows.
    ProtUnknown = "504 The levels are C and P.",
    /// CCC that is taken here.
    ClearCommands = "200 Commands are clear from now on.",
    /// CCC without TLS (RFC 4217 §5).
    NotProtected = "533 The control connection is not protected.",
    /// CCC that the policy forbids.
    CccRefused = "534 The control connection stays protected.",
    /// REIN within TLS.
    ReinRefused = "502 REIN is not implemented within TLS; connect again.",
    /// USER, PASS and ACCT in clear text.
    NeedsTls = "530 Not in clear text: AUTH TLS first.",
    /// A transfer in clear text (RFC 4217 §10).
    NeedsPrivate = "521 Not in clear text: PBSZ 0 and PROT P first.",
    /// The server refuses TLS, and must not.
    ServerNoTls = "421 The server refuses the TLS that this gateway requires; closing control connection.",
    /// The server does not end a reply.
    ServerBroken = "421 The server's reply does not end; closing control connection.",
}
