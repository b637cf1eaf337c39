//! What several test binaries share: transcripts, the notation in which they are written, and a player that drives a session
//! with them. Not here: the transcripts themselves (`tests/transcripts`), the simulation (`harness/sim`).

pub mod conversation;
pub mod notation;
pub mod player;
pub mod transcript;
