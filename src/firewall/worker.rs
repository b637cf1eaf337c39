//! Worker: the one thread that owns a backend.
