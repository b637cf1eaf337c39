//! The rules of `policy` and `listeners[].policy`: which servers are listed, and where a list must be or makes no sense.
//!
//! Lives here: [`section`], [`of_listener`], [`fits`]. Not here: how an entry is written and what it allows (`crate::policy`).

use super::super::raw::{OneOrMany, RawPolicy, Scalar};
use super::super::values::Fault;
use super::super::{Backend, Listener, Mode, Policy};
use super::{Keyed, keyed};
use crate::policy::{Entry, Servers};

/// A section.
pub(super) fn section(key: &str, raw: RawPolicy) -> Keyed<Policy> {
    let Some(OneOrMany(entries)) = raw.servers else { return Ok(Policy::default()) };
    let key = format!("{key}.servers");
    if entries.is_empty() {
        let fault = Fault::new("a list without a server lets nobody go anywhere", "list servers, or remove the key");
        return Err((key, fault));
    }
    let read = |(n, Scalar(text)): (usize, &Scalar)| {
        let entry = Entry::parse(text).map_err(|fault| Fault::new(fault.problem, fault.remedy));
        keyed(&format!("{key}[{n}]"), entry)
    };
    let entries = entries.iter().enumerate().map(read).collect::<Keyed<Vec<Entry>>>()?;
    Ok(Policy { servers: Some(Servers::new(entries)) })
}

/// That of one listener.
pub(super) fn of_listener(key: &str, raw: RawPolicy, mode: Mode) -> Keyed<Policy> {
    if mode == Mode::Reverse && raw.servers.is_some() {
        let fault = Fault::new("in mode: reverse sessions go to `server` and nowhere else", "remove the list");
        return Err((format!("{key}.servers"), fault));
    }
    section(key, raw)
}

/// What can only be seen of the whole.
pub(super) fn fits(policy: &Policy, listeners: &[Listener], backend: Backend) -> Keyed<()> {
    for (index, listener) in listeners.iter().enumerate().filter(|(_, listener)| listener.mode == Mode::Login) {
        let (key, servers) = match (&listener.policy.servers, &policy.servers) {
            (Some(servers), _) => (format!("listeners[{index}].policy.servers"), servers),
            (None, Some(servers)) => ("policy.servers".to_owned(), servers),
            (None, None) => {
                let fault = Fault::new(
                    "mode: login lets clients go nowhere until policy.servers lists the servers that they may name",
                    "add `policy: { servers: [ ftp.example.net, 192.0.2.0/24 ] }` to the listener or to the file",
                );
                return Err((format!("listeners[{index}].mode"), fault));
            }
        };
        let name = servers.entries().iter().position(Entry::is_name).filter(|_| backend == Backend::Pf);
        if let Some(at) = name {
            let fault = Fault::new(
                "with firewall.backend: pf the daemon is in an empty root directory, where no name can be looked up",
                "list addresses or networks, which clients then name too; or use firewall.backend: relay",
            );
            return Err((format!("{key}[{at}]"), fault));
        }
    }
    Ok(())
}
