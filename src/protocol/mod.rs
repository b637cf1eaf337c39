//! Protocol: FTP text, pure and without memory of the session; and the header that load balancers put before it.
//!
//! - `line`: lines out of a byte stream, however it was cut into segments;
//! - `telnet`: the Telnet commands that RFC 959 allows in the control connection, taken out of the stream;
//! - `command`: the command table, everything else passes as `Other`;
//! - `reply`: reply codes and multi-line replies;
//! - `address`: the four notations for an address and a port, and where in the line they stand;
//! - `destination`: `user@host:port`, by which a client names a server to a gateway;
//! - `splice`: replaces those digits and nothing else;
//! - `proxy_header`: the PROXY protocol, versions 1 and 2;
//! - `nat64`: IPv4 addresses written as IPv6 ones.
//! - `tls_record`: where in a TLS connection of others one record ends and the next begins.
//!
//! Not here: which command answers what, what is allowed, any I/O. Imports `std`, `memchr` and `serde` only; no function
//! panics on any input.

pub mod address;
pub mod command;
pub mod destination;
pub mod line;
pub mod nat64;
pub mod proxy_header;
pub mod reply;
pub mod splice;
pub mod telnet;
pub mod tls_record;
