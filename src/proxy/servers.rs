//! What sessions have found out about servers, for the sessions after them.
//!
//! Lives here: [`Servers`], which servers lack EPSV. Not here: finding it out (`session::convert`).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

/// Most servers that are remembered; then the oldest is forgotten, and found out again.
const MOST: usize = 256;

/// Servers of which something is known. Not kept over a restart: servers are replaced.
#[derive(Debug, Default)]
pub struct Servers {
    without_epsv: Mutex<VecDeque<SocketAddr>>,
}

impl Servers {
    /// This one does not know EPSV.
    pub fn lacks_epsv(&self, server: SocketAddr) {
        let mut known = self.without_epsv.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&server) {
            if known.len() >= MOST {
                known.pop_front();
            }
            known.push_back(server);
        }
    }

    /// Whether it is known not to.
    pub fn is_without_epsv(&self, server: SocketAddr) -> bool {
        self.without_epsv.lock().unwrap_or_else(PoisonError::into_inner).contains(&server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_servers_are_remembered_and_no_more_than_so_many() {
        let servers = Servers::default();
        let server = |port: usize| SocketAddr::from(([192, 0, 2, 5], u16::try_from(port).unwrap()));
        assert!(!servers.is_without_epsv(server(1)));
        for port in 1..=MOST + 1 {
            servers.lacks_epsv(server(port));
            servers.lacks_epsv(server(port));
        }
        assert!(!servers.is_without_epsv(server(1)));
        assert!(servers.is_without_epsv(server(2)) && servers.is_without_epsv(server(MOST + 1)));
    }
}
