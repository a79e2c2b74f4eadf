//! Runs stages on several threads. Threads claim blocks, a stage begins when the one before is complete, and
//! no thread depends on one that has not started.
//!
//! The calling thread and helpers from the current rayon pool run the same loop. If a helper never starts,
//! the others claim its blocks. So a busy or small pool slows a pass down but cannot stop it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use super::arena::lock;

/// Counts the blocks of each stage that are claimed and done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The next block of each participant's share, for one stage after another.
    next: Vec<AtomicUsize>,
    /// The number of finished blocks of each stage.
    done: Vec<AtomicUsize>,
    failed: AtomicBool,
    /// The number of participants that sleep until a stage is complete.
    sleeping: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl Progress {
    pub(super) fn reset(&mut self, stages: usize, participants: usize) {
        for (counters, len) in [(&mut self.next, stages * participants), (&mut self.done, stages)] {
            counters.resize_with(len.max(counters.len()), AtomicUsize::default);
            counters.iter_mut().for_each(|c| *c.get_mut() = 0);
        }
        *self.failed.get_mut() = false;
        *self.sleeping.get_mut() = 0;
    }

    /// Counts a block as done. The last one of a stage wakes those that sleep.
    fn finish(&self, stage: usize, count: usize) {
        // The order of this addition and the load, and of the addition and the load in `sleep_until`, is the
        // same for all threads. So either this thread sees the sleeper, or the sleeper sees the last block.
        if self.done[stage].fetch_add(1, Ordering::SeqCst) + 1 == count {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        if self.sleeping.load(Ordering::SeqCst) > 0 {
            // A sleeper holds the lock until it is asleep.
            drop(lock(&self.sleep));
            self.wake.notify_all();
        }
    }

    /// Sleeps until a stage is complete or a participant has panicked.
    fn sleep_until(&self, is_over: impl Fn() -> bool) {
        let mut guard = lock(&self.sleep);
        self.sleeping.fetch_add(1, Ordering::SeqCst);
        while !is_over() {
            guard = self.wake.wait(guard).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        self.sleeping.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells the others to stop waiting when its thread panics.
struct OnPanic<'a>(&'a Progress);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.failed.store(true, Ordering::SeqCst);
            self.0.wake_all();
        }
    }
}

/// How often a waiting thread spins before it sleeps and so leaves its core to others. The time is longer
/// than the difference between two blocks and shorter than a time slice. On cores that other programs use
/// too, the slowest passes are shorter with sleep than with a loop that yields (docs/kernels.md).
const SPINS: usize = 4096;

/// The work that the threads share.
pub(super) trait Work: Sync {
    /// Number of blocks of a stage.
    fn blocks(&self, stage: usize) -> usize;

    /// Does one block of a stage.
    fn run(&self, participant: usize, stage: usize, block: usize);

    /// Called when the participant begins to wait for the others. Returns the start for [`Work::waited`].
    fn wait(&self) -> u64 {
        0
    }

    /// Called when the participant has waited since `start`.
    fn waited(&self, _participant: usize, _start: u64) {}
}

/// Runs `work` once for each block of each stage. A block runs after all blocks of the stages before it.
pub(super) fn run(progress: &Progress, participants: usize, stages: usize, work: &dyn Work) {
    let participate = |me: usize| {
        let _guard = OnPanic(progress);
        for stage in 0..stages {
            let count = work.blocks(stage);
            let share = |p: usize| p * count / participants..(p + 1) * count / participants;
            for other in 0..participants {
                let owner = (me + other) % participants;
                let (own, next) = (share(owner), &progress.next[stage * participants + owner]);
                loop {
                    let block = own.start + next.fetch_add(1, Ordering::Relaxed);
                    if block >= own.end {
                        break;
                    }
                    work.run(me, stage, block);
                    progress.finish(stage, count);
                }
            }
            let start = work.wait();
            let is_over = || {
                progress.done[stage].load(Ordering::SeqCst) >= count || progress.failed.load(Ordering::SeqCst)
            };
            let is_over_soon = (0..SPINS).any(|_| {
                let over = is_over();
                if !over {
                    std::hint::spin_loop();
                }
                over
            });
            if !is_over_soon {
                progress.sleep_until(is_over);
            }
            if progress.failed.load(Ordering::SeqCst) {
                return;
            }
            work.waited(me, start);
        }
    };
    join(0, participants, &participate);
}

/// Calls `f(first)`, ..., `f(last - 1)`, in parallel as far as the pool has free threads. Halving with
/// `rayon::join` allocates nothing, unlike a scope.
fn join(first: usize, last: usize, f: &(dyn Fn(usize) + Sync)) {
    match last - first {
        0 => {}
        1 => f(first),
        n => {
            rayon::join(|| join(first, first + n / 2, f), || join(first + n / 2, last, f));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    struct Log<'a> {
        counts: &'a [usize],
        seen: Mutex<Vec<(usize, usize)>>,
        panic_at: Option<(usize, usize)>,
        /// How long each block of even index takes.
        slow: Duration,
    }

    impl Work for Log<'_> {
        fn blocks(&self, stage: usize) -> usize {
            self.counts[stage]
        }

        fn run(&self, _: usize, stage: usize, block: usize) {
            if block.is_multiple_of(2) {
                std::thread::sleep(self.slow);
            }
            assert!(self.panic_at != Some((stage, block)), "on purpose");
            self.seen.lock().unwrap().push((stage, block));
        }
    }

    fn on_two_threads(participants: usize, work: &Log<'_>) {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut progress = Progress::default();
        progress.reset(work.counts.len(), participants);
        pool.install(|| run(&progress, participants, work.counts.len(), work));
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no threads")]
    fn every_block_runs_once_and_stages_in_order() {
        for participants in [1, 2, 5] {
            // Those that wait for a slow block sleep, and are woken.
            for slow in [Duration::ZERO, Duration::from_millis(5)] {
                let work = Log { counts: &[3, 1, 7, 0, 4], seen: Mutex::default(), panic_at: None, slow };
                on_two_threads(participants, &work);
                let mut log = work.seen.into_inner().unwrap();
                assert!(log.windows(2).all(|w| w[0].0 <= w[1].0), "{log:?}");
                log.sort_unstable();
                let all = work.counts.iter().enumerate().flat_map(|(s, &n)| (0..n).map(move |b| (s, b)));
                assert_eq!(log, all.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no threads")]
    fn a_panic_reaches_the_caller_and_stops_the_others() {
        for slow in [Duration::ZERO, Duration::from_millis(20)] {
            let work = Log { counts: &[4, 4], seen: Mutex::default(), panic_at: Some((0, 2)), slow };
            let run = std::panic::AssertUnwindSafe(|| on_two_threads(2, &work));
            assert!(std::panic::catch_unwind(run).is_err());
            assert!(work.seen.into_inner().unwrap().iter().all(|&(stage, _)| stage == 0));
        }
    }
}
