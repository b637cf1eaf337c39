//! Session: the FTP session state machine, pure.

pub mod effect;
