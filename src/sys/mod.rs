//! Sys: sockets options that need more than std.
