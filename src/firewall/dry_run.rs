//! Dry run: a backend that changes nothing.
//!
//! Lives here: [`DryRun`], which logs what another backend would have done, and [`Record`], through which a test sees what it
//! was asked and makes it fail. Not here: any packet filter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Backend, Change, Error, Habits};
use crate::pinhole::{Key, Pinhole};

/// A backend that logs each change and carries out none.
#[derive(Debug, Default)]
pub struct DryRun {
    /// Only in tests: a daemon's would grow for ever.
    record: Option<Record>,
    direct: bool,
}

/// What a recording [`DryRun`] was asked, from its first call on. Clones show the same.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Recorded>>);

#[derive(Debug, Default)]
struct Recorded {
    calls: Vec<Call>,
    /// Fail that many calls of `apply` from now on (1: the next).
    failing: Option<(usize, Error)>,
    refused: Vec<(Key, Error)>,
}

/// One call of the [`Backend`] trait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `verify`.
    Verify,
    /// An `apply` that succeeded.
    Applied(Vec<Change>),
    /// An `apply` that was made to fail.
    Failed(Vec<Change>),
    /// `clear`.
    Clear,
}

impl DryRun {
    /// One that only logs.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that can be looked at, for tests.
    pub fn recording() -> (Self, Record) {
        let record = Record::default();
        (Self { record: Some(record.clone()), direct: false }, record)
    }

    /// Another one that `record` shows as well: who was asked first?
    pub fn recorded_in(record: &Record) -> Self {
        Self { record: Some(record.clone()), direct: false }
    }

    /// The same with [`Habits::direct`], as a packet filter that is quick.
    #[must_use]
    pub fn direct(self) -> Self {
        Self { direct: true, ..self }
    }

    fn note(&self, call: Call) {
        if let Some(record) = &self.record {
            record.lock().calls.push(call);
        }
    }
}

impl Record {
    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// The changes of every `apply` that succeeded, in order.
    pub fn changes(&self) -> Vec<Change> {
        let applied = |call| if let Call::Applied(changes) = call { changes } else { Vec::new() };
        self.calls().into_iter().flat_map(applied).collect()
    }

    /// The pinholes that would be in force now, in the order in which they were opened. Nothing expires in a dry run.
    pub fn in_force(&self) -> Vec<Pinhole> {
        let mut in_force: Vec<Pinhole> = Vec::new();
        for call in self.calls() {
            match call {
                Call::Applied(changes) => {
                    for change in changes {
                        let (Change::Open(pinhole) | Change::Close(pinhole)) = change else { continue };
                        in_force.retain(|other| other.key() != pinhole.key());
                        in_force.extend(matches!(change, Change::Open(_)).then_some(pinhole));
                    }
                }
                Call::Clear => in_force.clear(),
                Call::Verify | Call::Failed(_) => {}
            }
        }
        in_force
    }

    /// Makes the `nth` call of `apply` from now on fail, the next being the first.
    pub fn fail_apply(&self, nth: usize, error: Error) {
        self.lock().failing = Some((nth, error));
    }

    /// Makes every `apply` fail that opens or closes the pinhole with this key.
    pub fn refuse(&self, key: Key, error: Error) {
        self.lock().refused.push((key, error));
    }

    /// What `apply` answers to these changes.
    fn judge(&self, changes: &[Change]) -> Result<(), Error> {
        let mut recorded = self.lock();
        if let Some((left, error)) = recorded.failing.take() {
            match left.saturating_sub(1) {
                0 => return Err(error),
                left => recorded.failing = Some((left, error)),
            }
        }
        let touches = |key: Key| {
            changes
                .iter()
                .any(|change| matches!(change, Change::Open(other) | Change::Close(other) if other.key() == key))
        };
        match recorded.refused.iter().find(|(key, _)| touches(*key)) {
            Some((_, error)) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// A test that panicked elsewhere must not hide what was recorded.
    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for DryRun {
    fn name(&self) -> &'static str {
        "dry-run"
    }

    fn habits(&self) -> Habits {
        Habits { direct: self.direct, ranges: true, ..Habits::default() }
    }

    fn verify(&mut self) -> Result<(), Error> {
        self.note(Call::Verify);
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), Error> {
        if let Some(Err(error)) = self.record.as_ref().map(|record| record.judge(changes)) {
            self.note(Call::Failed(changes.to_vec()));
            return Err(error);
        }
        for change in changes {
            match change {
                Change::Open(pinhole) => tracing::info!(%pinhole, "dry run: would open"),
                Change::Close(pinhole) => tracing::info!(%pinhole, "dry run: would close"),
                Change::Reset(reset) => tracing::info!(%reset, "dry run: would reset"),
                Change::OpenRange(range) => tracing::info!(%range, "dry run: would open"),
                Change::CloseRange(range) => tracing::info!(%range, "dry run: would close"),
            }
        }
        self.note(Call::Applied(changes.to_vec()));
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Error> {
        tracing::info!("dry run: would close all pinholes");
        self.note(Call::Clear);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::firewall::ErrorKind;
    use crate::pinhole::Announcement;

    fn pinhole(port: u16) -> Pinhole {
        let server = SocketAddr::from(([203, 0, 113, 5], port));
        Pinhole {
            session: 1,
            announcement: Announcement::Pasv,
            initiator: [192, 0, 2, 1].into(),
            on_behalf_of: None,
            entrance: server,
            target: server,
            source: [198, 51, 100, 1].into(),
            lifetime: Duration::from_secs(60),
            protection: crate::pinhole::Protection::default(),
        }
    }

    #[test]
    fn it_remembers_what_it_was_asked() {
        let (mut backend, record) = DryRun::recording();
        let (a, b) = (pinhole(1), pinhole(2));
        backend.verify().unwrap();
        backend.apply(&[Change::Open(a), Change::Open(b)]).unwrap();
        backend.apply(&[Change::Close(a)]).unwrap();
        assert_eq!(record.in_force(), [b]);
        assert_eq!(record.changes(), [Change::Open(a), Change::Open(b), Change::Close(a)]);
        backend.clear().unwrap();
        assert_eq!(record.in_force(), []);
        assert_eq!(record.calls().first(), Some(&Call::Verify));
        assert_eq!(record.calls().last(), Some(&Call::Clear));
    }

    #[test]
    fn it_fails_when_told_to_and_then_nothing_is_in_force() {
        let (mut backend, record) = DryRun::recording();
        let error = Error::new(ErrorKind::Full, "full");
        record.fail_apply(2, error.clone());
        assert_eq!(backend.apply(&[Change::Open(pinhole(1))]), Ok(()));
        assert_eq!(backend.apply(&[Change::Open(pinhole(2))]), Err(error.clone()));
        assert_eq!(backend.apply(&[Change::Open(pinhole(3))]), Ok(()));
        record.refuse(pinhole(4).key(), error.clone());
        assert_eq!(backend.apply(&[Change::Open(pinhole(5)), Change::Open(pinhole(4))]), Err(error));
        assert_eq!(record.in_force(), [pinhole(1), pinhole(3)]);
    }

    #[test]
    fn without_a_record_it_remembers_nothing() {
        let mut backend = DryRun::new();
        assert_eq!(backend.apply(&[Change::Open(pinhole(1))]), Ok(()));
        assert!(backend.record.is_none());
    }
}
