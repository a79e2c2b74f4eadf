//! The scheduler with engines that only count, so that order, fairness and faults can be seen.

mod faults;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::work::{RawJob, Rows, Unit};

/// Lets as many passes run as it has permits, so that a test decides what is queued when a pass ends.
#[derive(Default)]
struct Gate {
    state: Mutex<Passage>,
    changed: Condvar,
}

#[derive(Default)]
struct Passage {
    entered: usize,
    permits: usize,
}

impl Gate {
    /// Waits for a permit, as the engine does at the begin of a pass.
    fn pass(&self) {
        let mut state = lock(&self.state);
        state.entered += 1;
        self.changed.notify_all();
        state = self.changed.wait_while(state, |state| state.permits == 0).unwrap();
        state.permits -= 1;
    }

    /// Waits until that many passes have begun since the start.
    fn wait_for(&self, passes: usize) {
        let entered = |state: &mut Passage| state.entered < passes;
        let waited = self.changed.wait_timeout_while(lock(&self.state), PATIENCE, entered);
        let entered = waited.unwrap().0.entered;
        assert!(entered >= passes, "{entered} of {passes} passes began");
    }

    /// Lets some more passes run.
    fn permit(&self, passes: usize) {
        let mut state = lock(&self.state);
        state.permits = state.permits.saturating_add(passes);
        self.changed.notify_all();
    }

    fn open(&self) {
        self.permit(usize::MAX / 2);
    }
}

/// Opens a gate at the end of a test, also of one that failed, for whoever waits for the workers to end.
struct Opened<'a>(&'a Gate);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine whose row for a sequence is its first id. It counts passes, and may wait at a gate or panic.
#[derive(Default)]
struct Counting {
    passes: Mutex<Vec<Vec<usize>>>,
    runs: Mutex<HashMap<u32, usize>>,
    gate: Option<Gate>,
    /// The first id of sequences at which it panics.
    poison: Option<u32>,
    /// The first id of sequences whose pass fails.
    broken: Option<u32>,
}

impl Runs for Counting {
    fn run(&self, units: &[Unit]) -> mobilebert::Result<Rows> {
        lock(&self.passes).push(units.iter().map(|unit| unit.ids.len()).collect());
        units.iter().for_each(|unit| *lock(&self.runs).entry(unit.ids[0]).or_default() += 1);
        if let Some(gate) = &self.gate {
            gate.pass();
        }
        let holds = |id: Option<u32>| units.iter().any(|unit| Some(unit.ids[0]) == id);
        assert!(!holds(self.poison), "poison");
        if holds(self.broken) {
            return Err(mobilebert::ErrorKind::EmptyText { what: "broken" }.into());
        }
        Ok(Rows::new(units.iter().map(|unit| unit.ids[0] as f32).collect(), (0..=units.len()).collect()))
    }
}

impl Counting {
    /// An engine whose passes wait until the test lets them run.
    fn closed() -> Self {
        Self { gate: Some(Gate::default()), ..Self::default() }
    }

    fn gate(&self) -> &Gate {
        self.gate.as_ref().unwrap()
    }
}

fn job(id: u32, tokens: usize) -> AnyJob {
    Box::new(RawJob::new(Unit { ids: vec![id; tokens], types: vec![0; tokens], requested: Vec::new() }, 1))
}

/// A job of several sequences of the same length with different ids.
struct Long {
    first: u32,
    count: usize,
    tokens: usize,
    seen: Vec<f32>,
}

impl crate::work::Work for Long {
    fn count(&self) -> usize {
        self.count
    }

    fn unit(&self, index: usize) -> Option<Unit> {
        let ids = vec![self.first + index as u32; self.tokens];
        (index < self.count).then(|| Unit { types: vec![0; self.tokens], ids, requested: Vec::new() })
    }

    fn accept(&mut self, _: usize, rows: &[f32]) -> mobilebert::Result<()> {
        self.seen.extend(rows);
        Ok(())
    }

    fn finish(&mut self) -> mobilebert::Result<Found> {
        self.seen.sort_by(f32::total_cmp);
        Ok(Found::Rows(std::mem::take(&mut self.seen), 1))
    }
}

fn client(number: u8) -> Client {
    Client::Address(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn limits(workers: usize, budget: usize) -> Limits {
    Limits { workers, budget, queue: 1 << 20 }
}

fn plan(lane: &Arc<Lane>, jobs: Vec<AnyJob>) -> Plan {
    Plan::new(Arc::clone(lane), jobs, 10_000).unwrap()
}

fn wait(mut ticket: Ticket) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let outcome = async { tokio::time::timeout(PATIENCE, ticket.outcome()).await };
    runtime.block_on(outcome).expect("an outcome comes")
}

fn rows(outcome: Outcome) -> Vec<f32> {
    let Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
    let numbers = |found| match found {
        Found::Rows(rows, _) => rows,
        other => panic!("{other:?}"),
    };
    done.found.into_iter().flat_map(numbers).collect()
}

fn lane(engine: Counting) -> (Arc<Counting>, Arc<Lane>) {
    let engine = Arc::new(engine);
    let lane = Lane::new(Arc::clone(&engine) as Arc<dyn Runs>, 1e-6);
    (engine, lane)
}

#[test]
fn every_job_gets_its_own_rows_for_every_budget() {
    // A budget below the longest sequence must not hang.
    for budget in [1, 2, 7, 20, 64, 512] {
        for workers in [1, 3] {
            let (engine, lane) = lane(Counting::default());
            let scheduler = Scheduler::start(limits(workers, budget)).unwrap();
            let tickets: Vec<_> = (0..40u32)
                .map(|i| {
                    let jobs =
                        (0..1 + i % 3).map(|j| job(100 * i + j + 1, 1 + (i as usize * 7) % 20)).collect();
                    (i, scheduler.submit(plan(&lane, jobs), client(i as u8 % 4), soon()).unwrap())
                })
                .collect();
            for (i, ticket) in tickets {
                let expected: Vec<f32> = (0..1 + i % 3).map(|j| (100 * i + j + 1) as f32).collect();
                assert_eq!(rows(wait(ticket)), expected);
            }
            for pass in lock(&engine.passes).iter() {
                assert!(pass.len() == 1 || pass.iter().sum::<usize>() <= budget, "{budget}: {pass:?}");
            }
            let snapshot = scheduler.snapshot();
            assert_eq!((snapshot.tokens, snapshot.requests), (0, 0));
        }
    }
}

#[test]
fn passes_are_filled_with_what_is_queued() {
    let (engine, lane) = lane(Counting::closed());
    let scheduler = Scheduler::start(limits(1, 100)).unwrap();
    let _opened = Opened(engine.gate());
    let submit = |i| scheduler.submit(plan(&lane, vec![job(i, 10)]), client(1), soon()).unwrap();
    let first = submit(1);
    engine.gate().wait_for(1);
    let others: Vec<_> = (2..=31).map(submit).collect();
    engine.gate().open();
    others.into_iter().chain([first]).for_each(|ticket| drop(rows(wait(ticket))));
    // The first starts at once with what is there; the others have ten sequences each.
    assert_eq!(lock(&engine.passes).iter().map(Vec::len).collect::<Vec<_>>(), [1, 10, 10, 10]);
}

#[test]
fn equal_sequences_in_flight_are_run_once() {
    let (engine, lane) = lane(Counting::closed());
    let scheduler = Scheduler::start(limits(2, 64)).unwrap();
    let _opened = Opened(engine.gate());
    let submit = |i: u8| scheduler.submit(plan(&lane, vec![job(7, 5)]), client(i % 5), soon()).unwrap();
    let first = submit(0);
    engine.gate().wait_for(1);
    let others: Vec<_> = (1..50).map(submit).collect();
    // The other worker finds all of them in flight while the first pass runs.
    wait_until("the sequences are shared", || scheduler.snapshot().counters.shared == 49);
    engine.gate().open();
    for ticket in others.into_iter().chain([first]) {
        assert_eq!(rows(wait(ticket)), [7.0]);
    }
    assert_eq!(*lock(&engine.passes), [[5]]);
    assert_eq!((lock(&engine.runs)[&7], scheduler.snapshot().counters.shared), (1, 49));
}

/// Waits for what another thread will do.
fn wait_until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_long_request_holds_up_nobody() {
    for same_client in [true, false] {
        let (engine, lane) = lane(Counting::closed());
        let scheduler = Scheduler::start(limits(1, 100)).unwrap();
        let _opened = Opened(engine.gate());
        let gate = engine.gate();
        let far = Instant::now() + Duration::from_secs(600);
        // Each sequence costs ten seconds in the eyes of the queue.
        lane.pace.store((10.0 / cost(100)).to_bits(), Ordering::Relaxed);
        let long = Box::new(Long { first: 1000, count: 30, tokens: 100, seen: Vec::new() });
        let long = scheduler.submit(plan(&lane, vec![long]), client(1), far).unwrap();
        gate.wait_for(1);
        for passes in 2..=10 {
            gate.permit(1);
            gate.wait_for(passes);
        }
        let other = if same_client { client(1) } else { client(2) };
        // It comes later and may wait longer, but by less than the long one was moved back for its work.
        let later = far + Duration::from_secs(10);
        let short = scheduler.submit(plan(&lane, vec![job(1, 100)]), other, later).unwrap();
        // The pass that runs ends, and then it is its turn.
        gate.permit(2);
        assert_eq!(rows(wait(short)), [1.0]);
        gate.wait_for(12);
        assert_eq!(lock(&engine.runs).keys().filter(|id| **id >= 1000).count(), 11, "{same_client}");
        gate.open();
        assert_eq!(rows(wait(long)), (1000..1030).map(|id| id as f32).collect::<Vec<_>>());
    }
}

#[test]
fn the_earliest_deadline_comes_first() {
    let (engine, lane) = lane(Counting::closed());
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let _opened = Opened(engine.gate());
    let start = Instant::now();
    let submit = |tokens: usize, seconds| {
        let deadline = start + Duration::from_secs(seconds);
        scheduler.submit(plan(&lane, vec![job(tokens as u32, tokens)]), client(1), deadline).unwrap()
    };
    let first = submit(10, 600);
    engine.gate().wait_for(1);
    let others = [submit(9, 500), submit(8, 400), submit(7, 300)];
    engine.gate().open();
    others.into_iter().chain([first]).for_each(|ticket| drop(rows(wait(ticket))));
    assert_eq!(lock(&engine.passes).concat(), [10, 7, 8, 9]);
}

#[test]
fn what_would_wait_too_long_is_refused() {
    let (engine, lane) = lane(Counting::closed());
    lane.pace.store(1f64.to_bits(), Ordering::Relaxed);
    let scheduler = Scheduler::start(Limits { workers: 1, budget: 10, queue: 1000 }).unwrap();
    let _opened = Opened(engine.gate());
    let submit = |tokens, seconds| {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        scheduler.submit(plan(&lane, vec![job(tokens as u32, tokens)]), client(1), deadline)
    };
    assert_eq!(submit(1001, 60).unwrap_err(), Rejected::TooLong { tokens: 1001, limit: 1000 });
    let _running = submit(10, 6000).unwrap();
    engine.gate().wait_for(1);
    let _waits = submit(800, 6000).unwrap();
    // The queue is full.
    let second = Duration::from_secs(1);
    assert!(matches!(submit(201, 6000), Err(Rejected::Busy(wait)) if wait > 800 * second));
    // There is room, but one client alone may not have all of it.
    assert!(matches!(submit(150, 6000), Err(Rejected::Busy(_))));
    // There is room, but not in time: what waits takes half an hour.
    assert!(matches!(submit(5, 600), Err(Rejected::Busy(_))));
    assert!(submit(5, 6000).is_ok());
}
