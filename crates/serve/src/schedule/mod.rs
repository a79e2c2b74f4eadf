//! JOBS -> PASSES: which sequences run next, on which worker, and for whom the queue is too long.
//!
//! The unit is a sequence. No result depends on the sequences beside it, so any sequences of any requests of
//! one model may share a pass, in any order. A worker takes what is queued, up to the budget, and starts at
//! once: nothing waits for company, and nothing is padded.
//!
//! No lock is held while the model runs.

mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::work::{AnyJob, Found, Key, Runs};
use queue::Queue;
pub(crate) use queue::{Client, Snapshot};

/// Locks, whether or not another thread panicked while it held the lock: the data is only ever changed in
/// steps that leave it whole.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the cost of a sequence in token equivalents: linears cost as many tokens as there are, attention
/// the square of that.
pub(crate) fn cost(tokens: usize) -> f64 {
    let tokens = tokens as f64;
    tokens + tokens * tokens / 1000.0
}

/// An engine with its number and its measured pace. Sequences share passes if they share a lane.
pub(crate) struct Lane {
    id: u64,
    engine: Arc<dyn Runs>,
    /// The bits of an `f64`: seconds of one worker for one token equivalent.
    pace: AtomicU64,
}

impl Lane {
    /// Makes a lane of an engine, which was measured to take `pace` seconds for a token equivalent.
    pub(crate) fn new(engine: Arc<dyn Runs>, pace: f64) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self { id, engine, pace: AtomicU64::new(pace.to_bits()) })
    }

    pub(crate) fn engine(&self) -> &dyn Runs {
        &*self.engine
    }

    pub(crate) fn pace(&self) -> f64 {
        f64::from_bits(self.pace.load(Ordering::Relaxed))
    }

    /// Lets the time of a pass move the pace: a tenth of the way, so that one slow pass does not refuse
    /// requests.
    fn observe(&self, cost: f64, seconds: f64) {
        if cost > 0.0 && seconds > 0.0 {
            let pace = self.pace() * 0.9 + seconds / cost * 0.1;
            self.pace.store(pace.to_bits(), Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A sequence that is known by its length and its key.
#[derive(Debug, Clone, Copy)]
struct Planned {
    tokens: usize,
    key: Key,
}

/// The jobs of one request, with their sequences measured. Making it tokenises again what is cut into
/// windows, so long texts are measured away from the threads that answer everyone.
pub(crate) struct Plan {
    lane: Arc<Lane>,
    jobs: Vec<AnyJob>,
    units: Vec<(usize, usize, Planned)>,
    tokens: usize,
    cost: f64,
}

impl Plan {
    /// Measures jobs. The result is `None` if there are more than `most` sequences.
    pub(crate) fn new(lane: Arc<Lane>, jobs: Vec<AnyJob>, most: usize) -> Option<Self> {
        if jobs.iter().map(|job| job.count()).sum::<usize>() > most {
            return None;
        }
        let mut plan = Self { lane, jobs: Vec::new(), units: Vec::new(), tokens: 0, cost: 0.0 };
        for (number, job) in jobs.iter().enumerate() {
            for index in 0..job.count() {
                let unit = job.unit(index).unwrap_or_default();
                let planned = Planned { tokens: unit.ids.len(), key: unit.key(plan.lane.id) };
                plan.tokens += planned.tokens;
                plan.cost += cost(planned.tokens);
                plan.units.push((number, index, planned));
            }
        }
        plan.jobs = jobs;
        Some(plan)
    }

    pub(crate) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn sequences(&self) -> usize {
        self.units.len()
    }
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rejected {
    /// More waits than the queue may hold, or than can be done before the deadline. The time is the expected
    /// wait.
    Busy(Duration),
    /// The request alone has more tokens than the queue may hold.
    TooLong { tokens: usize, limit: usize },
    /// The deadline has passed already.
    Late,
    /// The server stops.
    Closed,
}

/// What became of a request that was taken.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done(Done),
    /// A job could not use its rows, or the engine failed.
    Failed(mobilebert::Error),
    /// The engine or a job panicked.
    Panicked,
    /// The deadline passed before the last sequence began.
    Late,
    /// The server stopped before the request was done.
    Stopped,
}

/// The results of all jobs of a request, in their order, and what they took.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) found: Vec<Found>,
    pub(crate) queued: Duration,
    pub(crate) computed: Duration,
}

/// A request that was taken. If it is dropped, the sequences that did not begin are not run.
#[derive(Debug)]
pub(crate) struct Ticket {
    shared: Arc<Shared>,
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
    answered: bool,
}

impl Ticket {
    /// Waits for the outcome.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let outcome = (&mut self.outcome).await;
        self.answered = true;
        // The sender is dropped with the queue only.
        outcome.unwrap_or(Outcome::Stopped)
    }

    /// Gives up because the deadline has passed.
    pub(crate) fn give_up_late(&mut self) {
        self.answered = true;
        self.shared.queue().cancel(self.id, true);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.queue().cancel(self.id, false);
        }
    }
}

/// What the workers share.
#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    limits: Limits,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }
}

/// The bounds of passes and of the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The number of worker threads.
    pub(crate) workers: usize,
    /// The number of tokens of a pass, unless one sequence is longer.
    pub(crate) budget: usize,
    /// The number of tokens that may wait.
    pub(crate) queue: usize,
}

/// The workers and their queue.
#[derive(Debug)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

impl Scheduler {
    /// Starts the workers.
    pub(crate) fn start(limits: Limits) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new(limits)), wake: Condvar::new(), limits });
        let scheduler = Self { shared, workers: Mutex::default() };
        for number in 0..limits.workers {
            let shared = Arc::clone(&scheduler.shared);
            let worker = std::thread::Builder::new()
                .name(format!("pass-{number}"))
                .spawn(move || worker::run(&shared))?;
            lock(&scheduler.workers).push(worker);
        }
        Ok(scheduler)
    }

    /// Takes a request, whole or not at all.
    pub(crate) fn submit(&self, plan: Plan, client: Client, deadline: Instant) -> Result<Ticket, Rejected> {
        let (sender, outcome) = oneshot::channel();
        let id = self.shared.queue().admit(plan, client, Instant::now(), deadline, sender)?;
        match self.shared.limits.workers {
            1 => self.shared.wake.notify_one(),
            _ => self.shared.wake.notify_all(),
        }
        Ok(Ticket { shared: Arc::clone(&self.shared), id, outcome, answered: false })
    }

    /// Returns what waits and what was done so far.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.shared.queue().snapshot(Instant::now())
    }

    /// Refuses new requests and answers those that wait with [`Outcome::Stopped`]. Passes that run go on to
    /// their end, and this waits for them.
    pub(crate) fn close(&self) {
        self.shared.queue().close();
        self.shared.wake.notify_all();
        for worker in std::mem::take(&mut *lock(&self.workers)) {
            // A worker catches the panics of engines and jobs; there is nobody to tell of another one.
            let _ = worker.join();
        }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.close();
    }
}
