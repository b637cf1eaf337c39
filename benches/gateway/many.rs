//! Many sessions at once: each does its next operation as soon as it has the answer to the last one.
//!
//! Lives here: the threads that own the sessions, one tokio runtime each. What is measured is how many operations they do in a
//! given time; what processor time that takes is looked at from outside (`process.rs`).

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::pattern::File;
use super::session::{Mode, Session, Target};

/// As many as the server has.
const THREADS: usize = 2;
/// How much longer than it should an order may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
enum Order {
    /// Log in so many times more.
    Open(usize),
    /// NOOP, for so long.
    Noops(Duration),
    /// Fetch files of so many bytes, for so long, announced in all ways by turns.
    Transfers(Duration, u64),
    /// Log all out.
    Close,
}

/// What was done.
#[derive(Clone, Copy, Default)]
struct Done {
    operations: u64,
    refused: u64,
}

struct Worker {
    orders: Sender<Order>,
    answers: Receiver<Result<Done>>,
}

/// All sessions.
pub struct Many {
    workers: Vec<Worker>,
}

impl Many {
    /// Starts the threads, which end when the value is dropped.
    pub fn start(target: Target) -> Result<Self> {
        let start = |_| {
            let (orders, incoming) = channel();
            let (outgoing, answers) = channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            std::thread::spawn(move || {
                let mut sessions = Vec::new();
                for order in incoming {
                    let limit = PATIENCE + order_time(order);
                    let result = LocalSet::new().block_on(&runtime, async {
                        let done = tokio::time::timeout(limit, follow(order, target, &mut sessions));
                        done.await.context("it takes too long")?
                    });
                    if outgoing.send(result).is_err() {
                        break;
                    }
                }
            });
            Ok(Worker { orders, answers })
        };
        Ok(Self { workers: (0..THREADS).map(start).collect::<Result<_>>()? })
    }

    /// So many sessions, logged in.
    pub fn open(&self, count: usize) -> Result<Vec<u64>> {
        let share = |at: usize| Order::Open((count + at) / THREADS);
        self.give(share).map(|_| Vec::new())
    }

    /// How many commands were answered, and in how many nanoseconds.
    pub fn noops(&self, time: Duration) -> Result<Vec<u64>> {
        let begun = Instant::now();
        let done = self.give(|_| Order::Noops(time))?;
        Ok(vec![done.operations, begun.elapsed().as_nanos() as u64])
    }

    /// How many transfers were made, in how many nanoseconds, and how many announcements were refused and repeated.
    pub fn transfers(&self, time: Duration, length: u64) -> Result<Vec<u64>> {
        let begun = Instant::now();
        let done = self.give(|_| Order::Transfers(time, length))?;
        Ok(vec![done.operations, begun.elapsed().as_nanos() as u64, done.refused])
    }

    pub fn close(&self) -> Result<Vec<u64>> {
        self.give(|_| Order::Close).map(|_| Vec::new())
    }

    /// Gives each thread its order and waits for all of them.
    fn give(&self, order: impl Fn(usize) -> Order) -> Result<Done> {
        for (at, worker) in self.workers.iter().enumerate() {
            worker.orders.send(order(at)).context("a thread of the load generator is gone")?;
        }
        let mut all = Done::default();
        let answers: Vec<_> = self.workers.iter().map(|worker| worker.answers.recv()).collect();
        for answer in answers {
            let done = answer.context("a thread of the load generator is gone")??;
            all.operations += done.operations;
            all.refused += done.refused;
        }
        Ok(all)
    }
}

fn order_time(order: Order) -> Duration {
    match order {
        Order::Noops(time) | Order::Transfers(time, _) => time,
        Order::Open(_) | Order::Close => Duration::ZERO,
    }
}

async fn follow(order: Order, target: Target, sessions: &mut Vec<Session<TcpStream>>) -> Result<Done> {
    match order {
        Order::Open(count) => {
            for _ in 0..count {
                sessions.push(Session::login(target).await?);
            }
            Ok(Done::default())
        }
        Order::Close => {
            for session in sessions.drain(..) {
                session.quit().await?;
            }
            Ok(Done::default())
        }
        Order::Noops(_) | Order::Transfers(..) => work(order, sessions).await,
    }
}

/// All sessions work until the time is up; each finishes what it has begun.
async fn work(order: Order, sessions: &mut Vec<Session<TcpStream>>) -> Result<Done> {
    let end = Instant::now() + order_time(order);
    let tasks: Vec<_> = (0_u64..)
        .zip(sessions.drain(..))
        .map(|(number, mut session)| {
            tokio::task::spawn_local(async move {
                let mut operations = 0;
                while Instant::now() < end {
                    if let Order::Transfers(_, length) = order {
                        let turn = number + operations;
                        let mode = Mode::ALL[turn as usize % Mode::ALL.len()];
                        session.fetch(mode, File { length, seed: turn }).await.with_context(|| mode.name())?;
                    } else {
                        session.noop().await?;
                    }
                    operations += 1;
                }
                Ok::<_, anyhow::Error>((session, operations))
            })
        })
        .collect();
    let mut all = Done::default();
    for task in tasks {
        let (mut session, operations) = task.await??;
        all.operations += operations;
        all.refused += std::mem::take(&mut session.refused);
        sessions.push(session);
    }
    Ok(all)
}
