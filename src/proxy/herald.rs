//! How sessions hear that the daemon is going down.
//!
//! Lives here: [`Herald`], which keeps a waker for each session that listens, and [`Ear`], one session's end of it. Not here: what
//! a session makes of the news (`driver`).
//!
//! A receiver of the channel that the daemon speaks on, waiting in each session's task, would take some 250 bytes of it for what
//! happens once in the life of the process. A waker in a list takes 16.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::watch;

use super::GoingDown;

/// Passes the news on to whoever listens.
#[derive(Clone, Debug, Default)]
pub struct Herald(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    started: AtomicBool,
    /// As of [`GoingDown`].
    how_far: AtomicU8,
    ears: Mutex<Ears>,
}

#[derive(Debug, Default)]
struct Ears {
    wakers: Vec<Option<Waker>>,
    free: Vec<u32>,
}

impl Herald {
    /// Begins to listen to the daemon, on a task of its own. Doing so twice is fine.
    pub fn start(&self, mut news: watch::Receiver<GoingDown>) {
        if self.0.started.swap(true, Ordering::Relaxed) {
            return;
        }
        let herald = self.clone();
        tokio::spawn(async move {
            loop {
                let how_far = *news.borrow_and_update();
                herald.tell(how_far);
                if how_far == GoingDown::Now || news.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn tell(&self, how_far: GoingDown) {
        self.0.how_far.store(how_far as u8, Ordering::SeqCst);
        if how_far == GoingDown::No {
            return;
        }
        let wakers: Vec<Waker> = self.0.lock().wakers.iter().flatten().cloned().collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// For a session.
    pub fn ear(&self) -> Ear {
        Ear { herald: self.0.clone(), at: None }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Ears> {
        self.ears.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One session's end of it.
#[derive(Debug)]
pub struct Ear {
    herald: Arc<Inner>,
    /// Its place in the list; none before it was asked for the first time.
    at: Option<u32>,
}

impl Ear {
    /// How far down the daemon is. The task that asked first is woken when that changes: always ask from the same one.
    pub fn hear(&mut self, context: &Context<'_>) -> GoingDown {
        if self.at.is_none() {
            let waker = Some(context.waker().clone());
            let mut ears = self.herald.lock();
            let at = match ears.free.pop() {
                Some(at) => at,
                None => {
                    ears.wakers.push(None);
                    u32::try_from(ears.wakers.len() - 1).unwrap_or(u32::MAX)
                }
            };
            if let Some(place) = usize::try_from(at).ok().and_then(|at| ears.wakers.get_mut(at)) {
                *place = waker;
            }
            self.at = Some(at);
        }
        // Looked at after the waker is in its place: what is told from now on wakes.
        match self.herald.how_far.load(Ordering::SeqCst) {
            0 => GoingDown::No,
            1 => GoingDown::Drain,
            _ => GoingDown::Now,
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            let mut ears = self.herald.lock();
            let waker = usize::try_from(at).ok().and_then(|at| ears.wakers.get_mut(at)).and_then(Option::take);
            ears.free.push(at);
            // Not under the lock: it may be the last that holds the task.
            drop(ears);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_listens_is_woken_and_who_is_gone_is_forgotten() {
        let herald = Herald::default();
        let (stays, goes) = (Arc::new(Counter::default()), Arc::new(Counter::default()));
        let mut ear = herald.ear();
        assert_eq!(ear.hear(&Context::from_waker(&stays.clone().into())), GoingDown::No);
        let mut gone = herald.ear();
        assert_eq!(gone.hear(&Context::from_waker(&goes.clone().into())), GoingDown::No);
        drop(gone);
        assert_eq!(Arc::strong_count(&goes), 1);
        herald.tell(GoingDown::Drain);
        assert_eq!((stays.0.load(Ordering::Relaxed), goes.0.load(Ordering::Relaxed)), (1, 0));
        assert_eq!(ear.hear(&Context::from_waker(Waker::noop())), GoingDown::Drain);
        // Who comes later knows at once, in the place of who has gone.
        let mut late = herald.ear();
        assert_eq!(late.hear(&Context::from_waker(&goes.clone().into())), GoingDown::Drain);
        assert_eq!(herald.0.lock().wakers.len(), 2);
        herald.tell(GoingDown::Now);
        assert_eq!((stays.0.load(Ordering::Relaxed), goes.0.load(Ordering::Relaxed)), (2, 1));
    }
}
