//! Stages on several threads: blocks are claimed, a stage begins when the one before is complete, and nobody
//! depends on a thread that has not come.
//!
//! The calling thread and helpers from the current rayon pool run the same loop. A helper that never starts
//! costs nothing: whoever is there claims its blocks. So a busy or small pool slows a pass down and cannot
//! stop it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Which blocks of which stage are claimed and done.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Next block of each participant's share, stage after stage.
    next: Vec<AtomicUsize>,
    /// Blocks done, per stage.
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

/// Rounds of waiting before the thread offers its core to others: longer than the difference between two
/// blocks, shorter than a time slice.
const SPINS: usize = 4096;

/// What the threads do.
pub(super) trait Work: Sync {
    /// Number of blocks of a stage.
    fn blocks(&self, stage: usize) -> usize;

    /// Does one block of a stage.
    fn run(&self, participant: usize, stage: usize, block: usize);

    /// The participant begins to wait for the others.
    fn wait(&self) -> u64 {
        0
    }

    /// The participant has waited since `start`, the answer of [`Work::wait`].
    fn waited(&self, _participant: usize, _start: u64) {}
}

/// Runs `work` once for each block of each stage. A block of a stage runs after all blocks of the stages
/// before.
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

/// `f(first)`, ..., `f(last - 1)`, side by side as far as the pool has threads to spare. Halving by
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
