//! nftables: pinholes as elements of sets and maps, over netlink.
//!
//! Lives here: [`Settings`]. Below it, each in its file: the `Backend` (`backend`); what the ruleset is (`ruleset`)
//! and its renderings ([`text`], `expressions`, `install`); which elements a pinhole needs (`book`) and their bytes
//! (`elements`); its netlink messages (`message`) and transactions (`netlink`); looking (`verify`) and sentences
//! (`explain`); all of it without a kernel (`offline`). Only `netlink` does I/O. Not here: choosing ports, timing, retrying. Only the text is there on other systems
//! than Linux, so that the rules for a Linux gateway can be printed anywhere.
//!
//! Opening a pinhole adds up to three elements in one transaction:
//!
//! ```text
//! add element inet ftpgate pinhole4 { 192.0.2.10 . 203.0.113.1 . 61000 timeout 60s }
//! add element inet ftpgate dnat4 { 192.0.2.10 . 203.0.113.1 . 61000 timeout 62s : 10.0.0.5 . 50000 }
//! add element inet ftpgate snat4 { 192.0.2.10 . 10.0.0.5 . 50000 timeout 62s : 10.0.0.1 }
//! ```
//!
//! The connection takes the first away, in the kernel, as it arrives; closing takes away what is left.

#[cfg(target_os = "linux")]
mod backend;
#[cfg(target_os = "linux")]
mod book;
#[cfg(target_os = "linux")]
mod elements;
#[cfg(target_os = "linux")]
mod explain;
#[cfg(target_os = "linux")]
mod expressions;
#[cfg(target_os = "linux")]
mod install;
#[cfg(target_os = "linux")]
mod message;
#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod offline;
#[cfg(target_os = "linux")]
mod ranges;
#[cfg_attr(not(target_os = "linux"), allow(dead_code))] // the text needs a part of it
mod ruleset;
pub mod text;
#[cfg(target_os = "linux")]
mod verify;

#[cfg(target_os = "linux")]
pub use self::backend::Nftables;
#[cfg(target_os = "linux")]
pub use self::elements::MAX_CHANGES;
#[cfg(target_os = "linux")]
pub use self::offline::Offline;

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind};

/// Who creates the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// ftpgate does, with `flags owner`: nobody else can change it, and it goes away with the process, however that ends.
    #[default]
    Managed,
    /// The administrator does, in their own ruleset; ftpgate only adds and deletes elements.
    Sets,
}

/// The settings `firewall.nftables`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The table's name. Its family is always inet.
    pub table: String,
    /// Who creates it.
    pub ownership: Ownership,
    /// The value that the connection mark of a data connection has in the bits of `mask`.
    pub mark: u32,
    /// The bits of the connection mark that are ours.
    pub mask: u32,
    /// The passive ports of servers whose sessions may become TLS: there are sets and rules for each of these, none twice.
    pub ranges: Vec<Ports>,
}

/// The first and the last of a range of ports.
pub type Ports = (u16, u16);

impl Default for Settings {
    fn default() -> Self {
        Self {
            table: "ftpgate".to_owned(),
            ownership: Ownership::Managed,
            mark: 0x1000_0000,
            mask: 0x1000_0000,
            ranges: Vec::new(),
        }
    }
}

impl Settings {
    /// Checks what a configuration file can get wrong.
    ///
    /// # Errors
    /// `Other`: names the key and says what it must be.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Other, text));
        let begins_well = self.table.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
        let is_name = self.table.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        // NFT_TABLE_MAXNAMELEN is 256 with the NUL.
        if !begins_well || !is_name || self.table.len() > 255 {
            return wrong(format!(
                "firewall.nftables.table: {:?} is no name for a table; use letters, digits, `_`, `-` and `.`, at most 255, \
                 with a letter or `_` in front",
                self.table
            ));
        }
        if self.mark == 0 || self.mark & !self.mask != 0 {
            return wrong(format!(
                "firewall.nftables.mark: {:#x} must not be 0 and must lie within the mask, {:#x}; set one of the mask's bits",
                self.mark, self.mask
            ));
        }
        Ok(())
    }
}
