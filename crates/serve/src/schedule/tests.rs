//! The scheduler with engines that only count, so that order, fairness and faults can be seen.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::work::{RawJob, Rows, Unit};

/// An engine whose row for a sequence is its first id. It counts passes, and may be slow or panic.
#[derive(Default)]
struct Counting {
    passes: Mutex<Vec<Vec<usize>>>,
    runs: Mutex<HashMap<u32, usize>>,
    pause: Duration,
    /// The first id of sequences at which it panics.
    poison: Option<u32>,
    /// The first id of sequences whose pass fails.
    broken: Option<u32>,
}

impl Runs for Counting {
    fn run(&self, units: &[Unit]) -> mobilebert::Result<Rows> {
        lock(&self.passes).push(units.iter().map(|unit| unit.ids.len()).collect());
        units.iter().for_each(|unit| *lock(&self.runs).entry(unit.ids[0]).or_default() += 1);
        std::thread::sleep(self.pause);
        let holds = |id: Option<u32>| units.iter().any(|unit| Some(unit.ids[0]) == id);
        assert!(!holds(self.poison), "poison");
        if holds(self.broken) {
            return Err(mobilebert::ErrorKind::EmptyText { what: "broken" }.into());
        }
        Ok(Rows::new(units.iter().map(|unit| unit.ids[0] as f32).collect(), (0..=units.len()).collect()))
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
    Instant::now() + Duration::from_secs(60)
}

fn limits(workers: usize, budget: usize) -> Limits {
    Limits { workers, budget, queue: 1 << 20 }
}

fn plan(lane: &Arc<Lane>, jobs: Vec<AnyJob>) -> Plan {
    Plan::new(Arc::clone(lane), jobs, 10_000).unwrap()
}

fn wait(mut ticket: Ticket) -> Outcome {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(ticket.outcome())
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
    let (engine, lane) = lane(Counting { pause: Duration::from_millis(20), ..Counting::default() });
    let scheduler = Scheduler::start(limits(1, 100)).unwrap();
    let tickets: Vec<_> = (1..=31)
        .map(|i| scheduler.submit(plan(&lane, vec![job(i, 10)]), client(1), soon()).unwrap())
        .collect();
    tickets.into_iter().for_each(|ticket| drop(wait(ticket)));
    let passes = lock(&engine.passes);
    // The first starts at once with what is there; the others have ten sequences each.
    assert!(passes.len() <= 10, "{passes:?}");
    assert_eq!(passes.iter().map(Vec::len).sum::<usize>(), 31);
}

#[test]
fn equal_sequences_in_flight_are_run_once() {
    let (engine, lane) = lane(Counting { pause: Duration::from_millis(5), ..Counting::default() });
    let scheduler = Scheduler::start(limits(2, 64)).unwrap();
    let tickets: Vec<_> = (0..50)
        .map(|i| scheduler.submit(plan(&lane, vec![job(7, 5)]), client(i % 5), soon()).unwrap())
        .collect();
    for ticket in tickets {
        assert_eq!(rows(wait(ticket)), [7.0]);
    }
    let runs = lock(&engine.runs)[&7];
    assert!(runs < 50, "{runs}");
    assert_eq!(scheduler.snapshot().counters.shared, 50 - runs as u64);
}

#[test]
fn a_long_request_holds_up_nobody() {
    for same_client in [true, false] {
        let (engine, lane) = lane(Counting { pause: Duration::from_millis(2), ..Counting::default() });
        // The pace that was measured is that of the engine, so order and time agree.
        lane.pace.store((0.002 / cost(100)).to_bits(), Ordering::Relaxed);
        let scheduler = Scheduler::start(limits(1, 100)).unwrap();
        let long = Long { first: 1000, count: 200, tokens: 100, seen: Vec::new() };
        let long = scheduler.submit(plan(&lane, vec![Box::new(long)]), client(1), soon()).unwrap();
        std::thread::sleep(Duration::from_millis(40));
        let other = if same_client { client(1) } else { client(2) };
        let before = lock(&engine.passes).len();
        let short = scheduler.submit(plan(&lane, vec![job(1, 100)]), other, soon()).unwrap();
        assert_eq!(rows(wait(short)), [1.0]);
        let waited = lock(&engine.passes).len() - before;
        assert!(waited <= 20, "{waited} passes came before it (same client: {same_client})");
        let expected: Vec<f32> = (1000..1200).map(|id| id as f32).collect();
        assert_eq!(rows(wait(long)), expected);
    }
}

#[test]
fn the_earliest_deadline_comes_first() {
    let (engine, lane) = lane(Counting { pause: Duration::from_millis(100), ..Counting::default() });
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let submit = |tokens: usize, seconds| {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        scheduler.submit(plan(&lane, vec![job(tokens as u32, tokens)]), client(1), deadline).unwrap()
    };
    let first = submit(10, 60);
    std::thread::sleep(Duration::from_millis(50));
    let others = [submit(9, 50), submit(8, 40), submit(7, 30)];
    others.into_iter().chain([first]).for_each(|ticket| drop(wait(ticket)));
    let order = lock(&engine.passes).concat();
    assert_eq!(order, [10, 7, 8, 9]);
}

#[test]
fn what_would_wait_too_long_is_refused() {
    let (_, lane) = lane(Counting { pause: Duration::from_millis(500), ..Counting::default() });
    lane.pace.store(0.01f64.to_bits(), Ordering::Relaxed);
    let scheduler = Scheduler::start(Limits { workers: 1, budget: 10, queue: 1000 }).unwrap();
    let submit = |tokens, time| {
        scheduler.submit(plan(&lane, vec![job(tokens as u32, tokens)]), client(1), Instant::now() + time)
    };
    let second = Duration::from_secs(1);
    assert_eq!(submit(1001, second).unwrap_err(), Rejected::TooLong { tokens: 1001, limit: 1000 });
    let _running = submit(10, 60 * second).unwrap();
    let _waits = submit(900, 60 * second).unwrap();
    // The queue is full.
    assert!(matches!(submit(101, 60 * second), Err(Rejected::Busy(wait)) if wait > 5 * second));
    // There is room, but not in time.
    assert!(matches!(submit(5, second), Err(Rejected::Busy(_))));
    assert!(submit(5, 60 * second).is_ok());
}

#[test]
fn late_and_abandoned_requests_are_not_run() {
    let (engine, lane) = lane(Counting { pause: Duration::from_millis(200), ..Counting::default() });
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let submit = |id, time| {
        scheduler.submit(plan(&lane, vec![job(id, 10)]), client(1), Instant::now() + time).unwrap()
    };
    let first = submit(1, Duration::from_secs(60));
    std::thread::sleep(Duration::from_millis(50));
    let late = submit(2, Duration::from_millis(20));
    drop(submit(3, Duration::from_secs(60)));
    let last = submit(4, Duration::from_secs(60));
    assert!(matches!(wait(late), Outcome::Late));
    assert_eq!((rows(wait(first)), rows(wait(last))), (vec![1.0], vec![4.0]));
    assert!(!lock(&engine.runs).contains_key(&2) && !lock(&engine.runs).contains_key(&3));
    let snapshot = scheduler.snapshot();
    assert_eq!((snapshot.counters.late, snapshot.counters.gone), (1, 1));
    assert_eq!((snapshot.tokens, snapshot.requests), (0, 0));
}

#[test]
fn a_panic_and_an_error_hit_their_owners_only() {
    for (poison, broken) in [(Some(5), None), (None, Some(5))] {
        let pause = Duration::from_millis(5);
        let (_, lane) = lane(Counting { pause, poison, broken, ..Counting::default() });
        let scheduler = Scheduler::start(limits(2, 100)).unwrap();
        let tickets: Vec<_> = (1..=20)
            .map(|i| (i, scheduler.submit(plan(&lane, vec![job(i, 3)]), client(1), soon()).unwrap()))
            .collect();
        for (i, ticket) in tickets {
            match (i, wait(ticket)) {
                (5, Outcome::Panicked) => assert!(poison.is_some()),
                (5, Outcome::Failed(error)) => assert!(broken.is_some(), "{error}"),
                (5, other) => panic!("{other:?}"),
                (_, outcome) => assert_eq!(rows(outcome), [i as f32]),
            }
        }
        // The workers live on.
        let after = scheduler.submit(plan(&lane, vec![job(9, 3)]), client(1), soon()).unwrap();
        assert_eq!(rows(wait(after)), [9.0]);
        assert_eq!(scheduler.snapshot().counters.panics > 0, poison.is_some());
    }
}

#[test]
fn three_panics_within_a_minute_are_too_many() {
    let (_, lane) = lane(Counting { poison: Some(5), ..Counting::default() });
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    for panics in 1..=3 {
        let ticket = scheduler.submit(plan(&lane, vec![job(5, 3)]), client(1), soon()).unwrap();
        assert!(matches!(wait(ticket), Outcome::Panicked));
        assert_eq!(scheduler.snapshot().panicking, panics == 3);
    }
}

#[test]
fn closing_answers_everyone() {
    let (_, lane) = lane(Counting { pause: Duration::from_millis(20), ..Counting::default() });
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let tickets: Vec<_> = (1..20)
        .map(|i| scheduler.submit(plan(&lane, vec![job(i, 10)]), client(1), soon()).unwrap())
        .collect();
    std::thread::sleep(Duration::from_millis(5));
    scheduler.close();
    let outcomes: Vec<Outcome> = tickets.into_iter().map(wait).collect();
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stopped | Outcome::Done(_))),
        "{outcomes:?}"
    );
    assert!(matches!(
        scheduler.submit(plan(&lane, vec![job(1, 1)]), client(1), soon()),
        Err(Rejected::Closed)
    ));
}

#[test]
fn too_many_sequences_make_no_plan() {
    let (_, lane) = lane(Counting::default());
    let long = || Box::new(Long { first: 0, count: 11, tokens: 1, seen: Vec::new() }) as AnyJob;
    assert!(Plan::new(Arc::clone(&lane), vec![long()], 10).is_none());
    assert_eq!(Plan::new(lane, vec![long()], 11).unwrap().sequences(), 11);
}
