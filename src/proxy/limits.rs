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

impl Counts {
    fn add(&mut self, client: IpAddr, per_client: usize) -> Result<(), Full> {
        let count = self.by_client.entry(client).or_default();
        if *count >= per_client {
            return Err(Full::Client);
        }
        *count += 1;
        Ok(())
    }
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
    /// Whose it is, once that is known.
    client: Option<IpAddr>,
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
        counts.add(client, per_client)?;
        counts.all += 1;
        Ok(Permit { counts: self.counts.clone(), client: Some(client) })
    }

    /// A place for a client that is not known yet.
    ///
    /// # Errors
    /// There are as many sessions as may be.
    pub fn admit_unknown(&self, all: usize) -> Result<Permit, Full> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= all {
            return Err(Full::Sessions);
        }
        counts.all += 1;
        Ok(Permit { counts: self.counts.clone(), client: None })
    }

    /// Sessions that are in.
    pub fn sessions(&self) -> usize {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Permit {
    /// Whose place it is. To be said once.
    ///
    /// # Errors
    /// That client has as many as it may have.
    pub fn belongs_to(&mut self, client: IpAddr, per_client: usize) -> Result<(), Full> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).add(client, per_client)?;
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        let Some(client) = self.client else { return };
        if let Some(n) = counts.by_client.get_mut(&client) {
            *n = n.saturating_sub(1);
            if *n == 0 {
                counts.by_client.remove(&client);
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

    #[test]
    fn a_place_counts_for_its_client_once_that_is_known() {
        let limits = Limits::default();
        let a: IpAddr = "192.0.2.1".parse().unwrap();
        let (mut first, mut second) = (limits.admit_unknown(2).unwrap(), limits.admit_unknown(2).unwrap());
        assert_eq!(limits.admit_unknown(2).unwrap_err(), Full::Sessions, "who is not known yet counts too");
        assert_eq!(first.belongs_to(a, 1), Ok(()));
        assert_eq!(second.belongs_to(a, 1), Err(Full::Client));
        drop(second);
        assert_eq!((limits.sessions(), limits.counts.lock().unwrap().by_client.get(&a)), (1, Some(&1)));
        drop(first);
        assert_eq!(limits.sessions(), 0);
        assert!(limits.counts.lock().unwrap().by_client.is_empty());
    }
}
