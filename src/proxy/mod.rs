//! Proxy: tokio at work between the sockets and the session.
