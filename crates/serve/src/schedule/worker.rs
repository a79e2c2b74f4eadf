//! A worker: takes sequences, runs a pass on its own thread, hands the rows back, and again.

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
            queue.set_idle(true);
            let picked = loop {
                if queue.is_closed() {
                    return;
                }
                if let Some(picked) = queue.pick(Instant::now()) {
                    break picked;
                }
                queue = shared.wake.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner);
            };
            queue.set_idle(false);
            picked
        };
        pass(shared, &lane, picked);
    }
}

/// Runs the sequences of a pass. If the pass fails, each sequence is run alone, so only those at fault fail.
fn pass(shared: &Shared, lane: &Lane, picked: Vec<Picked>) {
    let mut members = Vec::new();
    let mut units = Vec::new();
    for picked in picked {
        match make(&picked.owner) {
            Ok(unit) => {
                members.push(picked);
                units.push(unit);
            }
            Err(outcome) => fail(shared, &picked.key, outcome),
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
                deliver(shared, &picked.key, rows.of(i));
            }
        }
        Err(outcome) if members.len() == 1 => fail(shared, &members[0].key, outcome),
        Err(_) => {
            for (picked, unit) in members.iter().zip(units) {
                match forward(shared, lane, &[unit]) {
                    Ok(rows) => deliver(shared, &picked.key, rows.of(0)),
                    Err(outcome) => fail(shared, &picked.key, outcome),
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
fn deliver(shared: &Shared, key: &Key, rows: &[f32]) {
    let owners = shared.queue().owners(key);
    for owner in owners {
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
fn fail(shared: &Shared, key: &Key, outcome: Outcome) {
    let mut queue = shared.queue();
    let owners = queue.owners(key);
    let message = match &outcome {
        Outcome::Failed(error) => Some(error.to_string()),
        _ => None,
    };
    let mut outcome = Some(outcome);
    for owner in owners {
        // Errors cannot be copied; those that share a sequence share its message.
        let own = outcome.take().unwrap_or_else(|| match &message {
            Some(message) => Outcome::Failed(again(message)),
            None => Outcome::Panicked,
        });
        queue.end(owner.request, own);
    }
}

fn again(message: &str) -> mobilebert::Error {
    let source = message.to_owned().into();
    mobilebert::ErrorKind::Backend { backend: "native", node: "pass".to_owned(), source }.into()
}
