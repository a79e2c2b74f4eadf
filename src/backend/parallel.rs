//! The threads that work on a pass: those of a rayon pool, or the calling thread alone.
//!
//! Threads do not survive `fork`. A child that hands work to a pool of its parent waits forever, because the
//! threads that would do it exist in the parent only. So each pool is stored together with the process that
//! made it, and in any other process the calling thread does all the work. It does the same work in the same
//! order, so the results have the same bits.

use std::cell::Cell;
use std::error::Error as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};

thread_local! {
    /// Whether this thread must work alone.
    static ALONE: Cell<bool> = const { Cell::new(false) };
    /// The process that made this thread for a pool of this crate; 0 for all other threads.
    static WORKER_OF: Cell<u32> = const { Cell::new(0) };
}

/// The first process, among this one and its ancestors, that used a pool that this crate did not make. 0
/// until there is one.
static FIRST: AtomicU32 = AtomicU32::new(0);

/// The id of this process. It is always the same number on systems without `fork`.
pub(crate) fn process() -> u32 {
    if cfg!(unix) { std::process::id() } else { 1 }
}

/// Whether the threads of rayon's global pool, and of pools that callers made, may belong to the parent
/// process.
fn forked() -> bool {
    let me = process();
    match FIRST.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => false,
        Err(first) => first != me,
    }
}

/// Whether rayon has threads for the calling thread: those of its pool, or the global ones. Rayon panics where
/// the system starts no threads for the global pool, so this asks for it in a way that may fail.
fn has_threads() -> bool {
    static GLOBAL: OnceLock<bool> = OnceLock::new();
    let start = || match ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // Without an error of the system, somebody else has made the pool.
        Err(error) => error.source().is_none(),
    };
    rayon::current_thread_index().is_some() || *GLOBAL.get_or_init(start)
}

/// Whether the calling thread must do all the work, so that nothing may be handed to rayon.
fn alone() -> bool {
    ALONE.get()
        || match WORKER_OF.get() {
            0 => forked() || !has_threads(),
            home => home != process(),
        }
}

/// Number of threads that share the work: those of rayon's current pool, or 1 for the calling thread alone.
pub(crate) fn threads() -> usize {
    if alone() { 1 } else { rayon::current_num_threads() }
}

/// Runs both functions, in parallel if there are threads for it.
pub(crate) fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if threads() == 1 { (a(), b()) } else { rayon::join(a, b) }
}

/// Applies `f` to each item, in parallel if there are threads for it, and returns the results in order.
pub(crate) fn map<T: Send, U: Send>(items: Vec<T>, f: impl Fn(T) -> U + Send + Sync) -> Vec<U> {
    use rayon::prelude::*;
    if threads() == 1 { items.into_iter().map(f).collect() } else { items.into_par_iter().map(f).collect() }
}

/// Runs `work` on the calling thread alone.
fn on_caller<R>(work: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _restore = Restore(ALONE.replace(true));
    work()
}

/// The threads of an engine.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The calling thread alone.
    Caller,
    /// The pool that the calling thread belongs to, or rayon's global pool for other threads.
    Current,
    /// A pool.
    Pool(Pool),
}

impl Place {
    /// Runs `work` so that [`threads`], [`join`] and [`map`] use these threads.
    pub(crate) fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match self {
            Place::Current if !alone() => work(),
            Place::Current | Place::Caller => on_caller(work),
            Place::Pool(pool) => match pool.alive() {
                Some(threads) => threads.install(work),
                None => on_caller(work),
            },
        }
    }

    /// The current number of these threads.
    pub(crate) fn threads(&self) -> usize {
        match self {
            Place::Current => threads(),
            Place::Caller => 1,
            Place::Pool(pool) => pool.alive().map_or(1, ThreadPool::current_num_threads),
        }
    }
}

/// A pool and the process that its threads belong to.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    /// `None` only while it is dropped.
    threads: Option<Arc<ThreadPool>>,
    process: u32,
    /// Whether this crate made the pool, so that `process` is known to be right.
    ours: bool,
}

impl Pool {
    /// Makes a pool of this many threads.
    pub(crate) fn new(threads: usize) -> Result<Self, ThreadPoolBuildError> {
        let process = process();
        let builder = ThreadPoolBuilder::new().num_threads(threads);
        let pool = builder.start_handler(move |_| WORKER_OF.set(process)).build()?;
        Ok(Self { threads: Some(Arc::new(pool)), process, ours: true })
    }

    /// Takes a caller's pool, which this process should have made.
    pub(crate) fn of_caller(pool: Arc<ThreadPool>) -> Self {
        Self { threads: Some(pool), process: process(), ours: false }
    }

    /// The pool, if its threads are in this process.
    fn alive(&self) -> Option<&ThreadPool> {
        let here = self.process == process() && (self.ours || !forked());
        self.threads.as_deref().filter(|_| here)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Dropping a pool locks what its threads sleep on. A thread of the parent may have held that lock at
        // the moment of the fork, and then nobody releases it here.
        if self.alive().is_none() {
            std::mem::forget(self.threads.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_thread_alone_does_all_the_work() {
        let me = std::thread::current().id();
        let here = |_: u32| assert_eq!(std::thread::current().id(), me);
        Place::Caller.run(|| {
            assert_eq!(threads(), 1);
            join(|| here(0), || here(1));
            map((0..100).collect(), here);
        });
        assert!(!ALONE.get());
    }

    #[test]
    fn a_panic_leaves_the_thread_as_it_was() {
        let panicked = std::panic::catch_unwind(|| Place::Caller.run(|| panic!("on purpose")));
        assert!(panicked.is_err() && !ALONE.get());
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no threads")]
    fn a_pool_is_used_in_its_own_process_only() {
        let mut place = Place::Pool(Pool::new(3).unwrap());
        assert_eq!((place.threads(), place.run(threads)), (3, 3));
        assert_eq!(place.run(|| map((0..100).collect(), |i: u32| i)), (0..100).collect::<Vec<_>>());
        if let Place::Pool(pool) = &mut place {
            pool.process += 1;
        }
        assert_eq!((place.threads(), place.run(threads)), (1, 1));
    }
}
