//! Runs stages on several threads. Threads claim blocks, a stage begins when the one before is complete, and
//! no thread depends on one that has not started.
//!
//! The calling thread and helpers from the current rayon pool run the same loop. If a helper never starts,
//! the others claim its blocks. So a busy or small pool slows a pass down but cannot stop it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Counts the blocks of each stage that are claimed and done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The next block of each participant's share, for one stage after another.
    next: Vec<AtomicUsize>,
    /// The number of finished blocks of each stage.
    done: Vec<AtomicUsize>,
    failed: AtomicBool,
}

impl Progress {
    pub(super) fn reset(&mut self, stages: usize, participants: usize) {
        for (counters, len) in [(&mut self.next, stages * participants), (&mut self.done, stages)] {
            counters.resize_with(len.max(counters.len()), AtomicUsize::default);
            counters.iter_mut().for_each(|c| *c.get_mut() = 0);
        }
        *self.failed.get_mut() = false;
    }
}

/// Tells the others to stop waiting when its thread panics.
struct OnPanic<'a>(&'a AtomicBool);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// How often a waiting thread spins before it yields its core to others. The time is longer than the
/// difference between two blocks and shorter than a time slice.
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
        let _guard = OnPanic(&progress.failed);
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
                    progress.done[stage].fetch_add(1, Ordering::Release);
                }
            }
            let start = work.wait();
            let mut spins = 0;
            while progress.done[stage].load(Ordering::Acquire) < count {
                if progress.failed.load(Ordering::Acquire) {
                    return;
                }
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                } else {
                    std::thread::yield_now();
                }
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
    use std::sync::Mutex;

    use super::*;

    struct Log<'a> {
        counts: &'a [usize],
        seen: Mutex<Vec<(usize, usize)>>,
        panic_at: Option<(usize, usize)>,
    }

    impl Work for Log<'_> {
        fn blocks(&self, stage: usize) -> usize {
            self.counts[stage]
        }

        fn run(&self, _: usize, stage: usize, block: usize) {
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
            let work = Log { counts: &[3, 1, 7, 0, 4], seen: Mutex::default(), panic_at: None };
            on_two_threads(participants, &work);
            let mut log = work.seen.into_inner().unwrap();
            assert!(log.windows(2).all(|w| w[0].0 <= w[1].0), "{log:?}");
            log.sort_unstable();
            let all = work.counts.iter().enumerate().flat_map(|(s, &n)| (0..n).map(move |b| (s, b)));
            assert_eq!(log, all.collect::<Vec<_>>());
        }
    }

    #[test]
    #[cfg_attr(target_family = "wasm", ignore = "no threads")]
    fn a_panic_reaches_the_caller_and_stops_the_others() {
        let work = Log { counts: &[4, 4], seen: Mutex::default(), panic_at: Some((0, 2)) };
        let run = std::panic::AssertUnwindSafe(|| on_two_threads(2, &work));
        assert!(std::panic::catch_unwind(run).is_err());
        assert!(work.seen.into_inner().unwrap().iter().all(|&(stage, _)| stage == 0));
    }
}
