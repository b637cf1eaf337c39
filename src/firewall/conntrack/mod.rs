//! Conntrack: what becomes of the data connections that came through pinholes, as Linux's connection tracking knows it.
//!
//! Below it: [`Tracker`] and its thread (`tracker`), questions and deletions (`requests`), which messages may wake the thread
//! (`filter`), and the bytes of messages going out (`message`) and coming in (`event`). Only `tracker` and `requests` do I/O.
//! Not here: what is learnt and who waits for it (`tracking`), pinholes (`nftables`), what a session makes of a transfer.
//!
//! The nftables rule that lets a data connection through a pinhole marks it, and the mark is all that tells it from the
//! other connections of the gateway. Those never wake the thread: a program in the kernel drops their messages.

mod event;
mod filter;
mod message;
mod requests;
mod tracker;

pub use self::tracker::{Options, Tracker};
