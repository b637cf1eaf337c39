//! What a session did, as the simulation keeps it until it is carried out.
//!
//! Lives here: [`Did`], an effect with its own bytes. Not here: carrying it out (`world`).

use ftpgate::pinhole::{Joint, RangeRequest, Request};
use ftpgate::session::data::Transfer;
use ftpgate::session::effect::{Effect, EndReason, Note, PinholeId, Side};

/// An effect with its own bytes.
pub enum Did {
    Send(Side, Vec<u8>, bool),
    Secure(Side),
    Unsecure(Side),
    OpenRange(Box<RangeRequest>),
    CloseRange,
    Shutdown(Side),
    Open(PinholeId, Request),
    Join(PinholeId, Box<Joint>),
    Close(PinholeId),
    Measure(PinholeId),
    Unwatch(PinholeId),
    Reset(PinholeId),
    Transferred(Box<Transfer>),
    Note(Note),
    End(EndReason),
}

impl From<Effect<'_>> for Did {
    fn from(effect: Effect<'_>) -> Self {
        match effect {
            Effect::Send { side, bytes, urgent } => Self::Send(side, bytes.to_vec(), urgent),
            Effect::Secure(side) => Self::Secure(side),
            Effect::Unsecure(side) => Self::Unsecure(side),
            Effect::OpenRange(range) => Self::OpenRange(range),
            Effect::CloseRange => Self::CloseRange,
            Effect::Shutdown(side) => Self::Shutdown(side),
            Effect::Open(id, request) => Self::Open(id, request),
            Effect::Join(id, joint) => Self::Join(id, joint),
            Effect::Close(id) => Self::Close(id),
            Effect::Measure(id) => Self::Measure(id),
            Effect::Unwatch(id) => Self::Unwatch(id),
            Effect::Reset(id, _) => Self::Reset(id),
            Effect::Transferred(transfer) => Self::Transferred(transfer),
            Effect::Note(note) => Self::Note(note),
            Effect::End(reason) => Self::End(reason),
        }
    }
}
