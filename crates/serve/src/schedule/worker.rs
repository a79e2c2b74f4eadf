//! A worker: takes sequences, runs a pass on its own thread, hands the rows back, and again.

use std::collections::{HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use super::queue::{Owner, Picked};
use super::{Lane, Outcome, Shared, cost, lock};
use crate::work::{Key, Rows, Unit};

/// What a step that may panic ended with.
type Step<T> = Result<T, Outcome>;

/// Runs until the queue is closed.
pub(super) fn run(shared: &Shared) {
    loop {
        let (lane, picked) = {
            let mut queue = shared.queue();
            queue.begin_idle();
            let picked = loop {
                if queue.is_closed() {
                    return;
                }
                if let Some(picked) = queue.pick(Instant::now()) {
                    break picked;
                }
                queue = shared.wake.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            };
            let (lane, members) = &picked;
            let work: f64 = members.iter().map(|picked| cost(picked.tokens)).sum();
            queue.end_idle(Instant::now(), work * lane.pace());
            picked
        };
        // The guard ends what waits for the pass, and the worker goes on to the next one.
        if catch_unwind(AssertUnwindSafe(|| pass(shared, &lane, picked))).is_err() {
            shared.queue().panicked(Instant::now());
        }
    }
}

/// What a pass still owes: the sequences that are marked as running, and those that wait for rows which are
/// being handed out. If the pass panics, their requests are ended, so that nobody waits for a sequence that
/// nobody runs.
struct Debts<'s> {
    shared: &'s Shared,
    keys: HashSet<Key>,
    owners: VecDeque<Owner>,
}

impl<'s> Debts<'s> {
    fn new(shared: &'s Shared, picked: &[Picked]) -> Self {
        Self { shared, keys: picked.iter().map(|picked| picked.key).collect(), owners: VecDeque::new() }
    }

    /// Takes a sequence off those that run. Whoever waits for it comes out of `owners` from now on.
    fn settle(&mut self, key: &Key) {
        if self.keys.remove(key) {
            self.owners.extend(self.shared.queue().owners(key));
        }
    }
}

impl Drop for Debts<'_> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        for key in &self.keys {
            self.owners.extend(queue.owners(key));
        }
        self.owners.drain(..).for_each(|owner| queue.end(owner.request, Outcome::Panicked));
    }
}

/// Runs the sequences of a pass. If the pass fails, each sequence is run alone, so only those at fault fail.
fn pass(shared: &Shared, lane: &Lane, picked: Vec<Picked>) {
    let mut debts = Debts::new(shared, &picked);
    let mut members = Vec::new();
    let mut units = Vec::new();
    for picked in picked {
        match make(&picked.owner) {
            Ok(unit) => {
                members.push(picked);
                units.push(unit);
            }
            Err(outcome) => fail(&mut debts, &picked.key, outcome),
        }
    }
    if units.is_empty() {
        return;
    }
    let start = Instant::now();
    match forward(shared, lane, &units) {
        Ok(rows) => {
            let work: f64 = members.iter().map(|picked| cost(picked.tokens)).sum();
            lane.observe(work, start.elapsed().as_secs_f64());
            for (i, picked) in members.iter().enumerate() {
                deliver(&mut debts, &picked.key, rows.of(i));
            }
        }
        Err(outcome) if members.len() == 1 => fail(&mut debts, &members[0].key, outcome),
        Err(_) => {
            for (picked, unit) in members.iter().zip(units) {
                match forward(shared, lane, &[unit]) {
                    Ok(rows) => deliver(&mut debts, &picked.key, rows.of(0)),
                    Err(outcome) => fail(&mut debts, &picked.key, outcome),
                }
            }
        }
    }
}

/// Makes the sequence of an owner.
fn make(owner: &Owner) -> Step<Unit> {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let job = owner.jobs.get(owner.job).map(lock)?;
        job.unit(owner.index)
    }));
    // A job that has fewer sequences than it said is as broken as one that panics.
    made.ok().flatten().ok_or(Outcome::Panicked)
}

fn forward(shared: &Shared, lane: &Lane, units: &[Unit]) -> Step<Rows> {
    match catch_unwind(AssertUnwindSafe(|| lane.engine().run(units))) {
        Ok(rows) => rows.map_err(Outcome::Failed),
        Err(_) => {
            shared.queue().panicked(Instant::now());
            Err(Outcome::Panicked)
        }
    }
}

/// Gives the rows of a sequence to all that wait for it.
fn deliver(debts: &mut Debts<'_>, key: &Key, rows: &[f32]) {
    let shared = debts.shared;
    debts.settle(key);
    while let Some(owner) = debts.owners.pop_front() {
        let accepted = catch_unwind(AssertUnwindSafe(|| {
            owner.jobs.get(owner.job).map(lock).map(|mut job| job.accept(owner.index, rows))
        }));
        match accepted {
            Ok(Some(Ok(()))) => {
                let finished = shared.queue().accepted(&owner, Instant::now());
                let Some(finished) = finished else { continue };
                finished.answer(|job| match catch_unwind(AssertUnwindSafe(|| job.finish())) {
                    Ok(found) => found.map_err(Outcome::Failed),
                    Err(_) => Err(Outcome::Panicked),
                });
            }
            Ok(Some(Err(error))) => shared.queue().end(owner.request, Outcome::Failed(error)),
            Ok(None) | Err(_) => shared.queue().end(owner.request, Outcome::Panicked),
        }
    }
}

/// Ends the requests of all that wait for a sequence that cannot be run.
fn fail(debts: &mut Debts<'_>, key: &Key, outcome: Outcome) {
    let shared = debts.shared;
    debts.settle(key);
    let message = match &outcome {
        Outcome::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let mut outcome = Some(outcome);
    while let Some(owner) = debts.owners.pop_front() {
        // Errors cannot be copied; those that share a sequence share its message.
        let own = outcome.take().unwrap_or_else(|| match &message {
            Some(message) => Outcome::Failed(again(message)),
            None => Outcome::Panicked,
        });
        shared.queue().end(owner.request, own);
    }
}

fn again(message: &str) -> mobilebert::Error {
    let source = message.to_owned().into();
    mobilebert::ErrorKind::Backend { backend: "native", node: "pass".to_owned(), source }.into()
}

#[cfg(test)]
mod panics {
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;
    use crate::schedule::queue::{Client, Queue};
    use crate::schedule::{Limits, Plan};
    use crate::work::{RawJob, Runs};

    /// An error that panics when it is shown, which no guard around the engine catches.
    #[derive(Debug)]
    struct Unspeakable;

    impl std::fmt::Display for Unspeakable {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("unspeakable")
        }
    }

    impl std::error::Error for Unspeakable {}

    struct Fails;

    impl Runs for Fails {
        fn run(&self, _: &[Unit]) -> mobilebert::Result<Rows> {
            let source = Box::new(Unspeakable);
            Err(mobilebert::ErrorKind::Backend { backend: "native", node: "x".to_owned(), source }.into())
        }
    }

    /// Nobody waits for a sequence of a pass that panicked, and an equal one is run again.
    #[test]
    fn a_pass_that_panics_leaves_nothing_running() {
        let limits = Limits { workers: 1, budget: 512, queue: 10_000 };
        let shared = Shared { queue: Mutex::new(Queue::new(limits)), wake: Condvar::new(), limits };
        let lane = Lane::new(Arc::new(Fails), 1e-3);
        let now = Instant::now();
        let admit = |id| {
            let unit = Unit { ids: vec![id; 3], types: vec![0; 3], requested: Vec::new() };
            let plan = Plan::new(Arc::clone(&lane), vec![Box::new(RawJob::new(unit, 1))], 1).unwrap();
            let (sender, outcome) = oneshot::channel();
            let later = now + Duration::from_secs(1000);
            shared.queue().admit(plan, Client::Local, now, later, sender).unwrap();
            outcome
        };
        let mut outcomes = [admit(1), admit(2), admit(1)];
        let (_, picked) = shared.queue().pick(now).unwrap();
        assert_eq!(picked.len(), 2, "equal sequences are one");
        assert!(catch_unwind(AssertUnwindSafe(|| pass(&shared, &lane, picked))).is_err());
        for outcome in &mut outcomes {
            assert!(matches!(outcome.try_recv(), Ok(Outcome::Panicked)));
        }
        let _again = admit(2);
        let picked = shared.queue().pick(now).map(|(_, picked)| picked.len());
        assert_eq!(picked, Some(1));
    }
}
