//! Tests of `driver`: how large a session is. What it does is shown by the end-to-end tests.

use super::*;

/// What the future is as large as that a function returns.
fn size_of_what<F: Future>(_: fn(Admitted) -> F) -> usize {
    size_of::<F>()
}

/// Every idle session holds one. Whoever makes it larger should know, and say why; `docs/scaling.md`.
#[test]
#[cfg(target_pointer_width = "64")]
fn the_task_of_a_session_is_no_larger_than_it_was() {
    // With tokio's 104 bytes that makes 896; one more would make it 1,024.
    assert!(size_of::<Session>() <= 408, "session: {}", size_of::<Session>());
    assert!(size_of_what(run) <= 792, "task: {}", size_of_what(run));
}
