//! A bound on log lines that a stranger can cause.
//!
//! Lives here: [`Limiter`]: one for each kind of line. Not here: metrics, which count every case without a bound.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets a number of lines through in each second and counts the others.
///
/// ```
/// use ftpgate::observe::limiter::Limiter;
///
/// static REFUSED: Limiter = Limiter::per_second(10);
/// if let Some(suppressed) = REFUSED.admit() {
///     tracing::info!(suppressed, "command refused");
/// }
/// ```
#[derive(Debug)]
pub struct Limiter {
    per_second: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    window: Option<Instant>,
    admitted: u32,
    suppressed: u64,
}

impl Limiter {
    /// At most so many lines in a second; 10 is what a person can still follow.
    pub const fn per_second(per_second: u32) -> Self {
        Self { per_second, state: Mutex::new(State { window: None, admitted: 0, suppressed: 0 }) }
    }

    /// Whether to write a line now: `Some` with how many were suppressed since the last one that was written.
    pub fn admit(&self) -> Option<u64> {
        self.admit_at(Instant::now())
    }

    fn admit_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.window.is_none_or(|begun| now.saturating_duration_since(begun) >= Duration::from_secs(1)) {
            state.window = Some(now);
            state.admitted = 0;
        }
        if state.admitted >= self.per_second {
            state.suppressed += 1;
            return None;
        }
        state.admitted += 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_a_second_and_the_rest_is_counted() {
        let limiter = Limiter::per_second(3);
        let start = Instant::now();
        let admitted: Vec<_> = (0..10).map(|_| limiter.admit_at(start)).collect();
        assert_eq!(admitted.iter().filter(|line| line.is_some()).count(), 3);
        let later = start + Duration::from_millis(999);
        assert_eq!(limiter.admit_at(later), None);
        let next = start + Duration::from_secs(1);
        assert_eq!(limiter.admit_at(next), Some(8));
        assert_eq!(limiter.admit_at(next), Some(0));
    }
}
