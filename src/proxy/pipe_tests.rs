//! Tests of `pipe` over loopback.
