//! Netlink to netfilter: what the nf_tables backend and the connection tracker have in common.
//!
//! - `encode`: attributes and headers, going out; pure;
//! - `answer`: messages and attributes, coming in; pure;
//! - `socket`: opening a socket, sending a request and reading its answers.
//!
//! Not here: any message of either subsystem.

pub(in crate::firewall) mod answer;
pub(in crate::firewall) mod encode;
pub(in crate::firewall) mod socket;
