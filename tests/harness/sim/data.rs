//! The simulation's data connections: they come through pinholes in force, carry bytes and end, in any order with respect to
//! what is said about them.
//!
//! Lives here: [`Flows`], and what must be true of the effects that concern them. Not here: pinholes (`firewall`).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ftpgate::pinhole::{DataEvent, Traffic};
use ftpgate::session::data::Transfer;
use ftpgate::session::effect::PinholeId;

use super::random::Random;

/// Diallers are told apart by their ports.
const FIRST_PORT: u32 = 20_000;

#[derive(Debug, Default)]
struct Flow {
    used: bool,
    over: bool,
    reset: bool,
    closed: bool,
    unwatched: bool,
    traffic: Traffic,
    /// A transfer uses it, as the session's inside shows.
    started: bool,
    records: u32,
}

impl Flow {
    fn is_live(&self) -> bool {
        self.used && !self.over && !self.unwatched
    }
}

/// The data connections of one session, by pinhole.
#[derive(Debug, Default)]
pub struct Flows {
    flows: BTreeMap<PinholeId, Flow>,
    to_measure: Vec<PinholeId>,
    /// Records of transfers.
    pub records: u64,
    /// Data connections that were reset.
    pub resets: u64,
}

/// What happens to one of them.
pub enum Happening {
    /// The firewall tells.
    Data(PinholeId, DataEvent),
    /// It was asked.
    Measured(PinholeId, u64),
}

impl Flows {
    /// A pinhole is in force.
    pub fn granted(&mut self, id: PinholeId) {
        assert!(self.flows.insert(id, Flow::default()).is_none(), "{id:?} was granted twice");
    }

    /// What happens next. `last`: nobody dials any more, and all comes to its end.
    pub fn act(&mut self, dialler: SocketAddr, last: bool, random: &mut Random) -> Option<Happening> {
        if let Some(id) = self.to_measure.pop() {
            let flow = &self.flows[&id];
            // Not every kernel counts, and what is asked for may be gone.
            return (flow.is_live() && !random.once_in(8)).then(|| Happening::Measured(id, flow.traffic.total()));
        }
        let able: Vec<PinholeId> = self
            .flows
            .iter()
            .filter(|(_, flow)| !flow.unwatched && !flow.over && (flow.used || !last))
            .map(|(id, _)| *id)
            .collect();
        if able.is_empty() {
            return None;
        }
        let id = *random.pick(&able);
        let flow = self.flows.get_mut(&id).unwrap();
        if !flow.used {
            // A packet may have passed just before the pinhole was closed.
            if flow.closed && !random.once_in(8) {
                return None;
            }
            flow.used = true;
            let port = u16::try_from(FIRST_PORT + id.0).unwrap();
            return Some(Happening::Data(id, DataEvent::Used { dialler: SocketAddr::new(dialler.ip(), port) }));
        }
        if !flow.reset && !last && !random.once_in(4) {
            flow.traffic.to_initiator += u64::try_from(random.below(2)).unwrap() * 1_000;
            return None;
        }
        // Some ends are never told.
        if !last && random.once_in(20) {
            return None;
        }
        flow.over = true;
        Some(Happening::Data(id, DataEvent::Over(Some(flow.traffic))))
    }

    /// The session wants the pinhole no more.
    pub fn closed(&mut self, id: PinholeId) {
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.closed = true;
        }
    }

    /// The session asks what it has carried.
    pub fn measure(&mut self, id: PinholeId) {
        assert!(self.flows[&id].is_live(), "{id:?} is measured and does not live");
        self.to_measure.push(id);
    }

    /// The session ends it.
    pub fn reset(&mut self, id: PinholeId) {
        let flow = self.flows.get_mut(&id).unwrap();
        assert!(flow.is_live(), "{id:?} is reset and does not live");
        assert!(!std::mem::replace(&mut flow.reset, true), "{id:?} is reset twice");
        self.resets += 1;
    }

    /// The session does not want to hear of it any more.
    pub fn unwatch(&mut self, id: PinholeId) {
        let Some(flow) = self.flows.get_mut(&id) else { panic!("{id:?} was never granted") };
        assert!(!std::mem::replace(&mut flow.unwatched, true), "{id:?} is let go twice");
    }

    /// Transfers use these.
    pub fn started(&mut self, ids: impl Iterator<Item = u32>) {
        for id in ids {
            self.flows.get_mut(&PinholeId(id)).unwrap().started = true;
        }
    }

    /// A record.
    pub fn transferred(&mut self, transfer: &Transfer) {
        self.records += 1;
        let Some(dialler) = transfer.dialler else { return };
        let id = PinholeId(u32::from(dialler.port()) - FIRST_PORT);
        let flow = self.flows.get_mut(&id).unwrap();
        flow.records += 1;
        assert_eq!(flow.records, 1, "{id:?} has more than one record");
        if let Some(traffic) = transfer.traffic {
            assert_eq!((traffic, flow.over), (flow.traffic, true), "{id:?}");
        }
    }

    /// Whether bytes may be moving.
    pub fn is_live(&self) -> bool {
        self.flows.values().any(Flow::is_live)
    }

    /// The session is over: everything was let go, and every transfer told.
    pub fn check_end(&self) {
        for (id, flow) in &self.flows {
            assert!(flow.unwatched, "{id:?} was never let go: {flow:?}");
            assert!(!(flow.started && flow.used) || flow.records == 1, "{id:?} has no record: {flow:?}");
        }
    }
}
