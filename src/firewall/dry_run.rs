//! Dry run: a backend that changes nothing and remembers what it was asked.
