//! Tests of the relay over loopback.
