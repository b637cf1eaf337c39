//! Who may still come in: sessions in all and per client address.
//!
//! Lives here: the counts, and the [`Permit`] that gives its place back when it is dropped, by whatever way a session ends. Not
//! here: what a client is told that may not (`listener`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The sessions that are in.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `limits.sessions`.
    Sessions,
    /// `limits.sessions_per_client`.
    Client,
}

/// A place among the sessions.
#[derive(Debug)]
pub struct Permit {
    counts: Arc<Mutex<Counts>>,
    client: IpAddr,
}

impl Limits {
    /// A place for a session of `client`.
    ///
    /// # Errors
    /// Says which limit is reached.
    pub fn admit(&self, client: IpAddr, all: usize, per_client: usize) -> Result<Permit, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= all {
            return Err(Full::Sessions);
        }
        if counts.by_client.get(&client).is_some_and(|&n| n >= per_client) {
            return Err(Full::Client);
        }
        counts.all += 1;
        *counts.by_client.entry(client).or_default() += 1;
        Ok(Permit { counts: self.counts.clone(), client })
    }

    /// Sessions that are in.
    pub fn sessions(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(n) = counts.by_client.get_mut(&self.client) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                counts.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_gives_its_place_back_and_forgets_the_client() {
        let limits = Limits::default();
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let first = limits.admit(a, 2, 1).unwrap();
        assert_eq!(limits.admit(a, 2, 1).unwrap_err(), Full::Client);
        let second = limits.admit(b, 2, 1).unwrap();
        assert_eq!(limits.admit("192.0.2.3".parse().unwrap(), 2, 1).unwrap_err(), Full::Sessions);
        drop((first, second));
        assert_eq!(limits.sessions(), 0);
        assert!(limits.counts.lock().unwrap().by_client.is_empty());
    }
}
