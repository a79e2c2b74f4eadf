//! Requests that end without a result, and engines that fail.

use super::*;

#[test]
fn late_and_abandoned_requests_are_not_run() {
    let (engine, lane) = lane(Counting::closed());
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let _opened = Opened(engine.gate());
    let submit = |id, deadline| scheduler.submit(plan(&lane, vec![job(id, 10)]), client(1), deadline);
    let first = submit(1, soon()).unwrap();
    engine.gate().wait_for(1);
    // Nothing else waits, so it is taken although its time is short, unless this thread is held up meanwhile.
    let (deadline, late) = (1..100)
        .find_map(|tries| {
            let deadline = Instant::now() + Duration::from_millis(50 * tries);
            Some((deadline, submit(2, deadline).ok()?))
        })
        .unwrap();
    let before = scheduler.snapshot().counters;
    drop(submit(3, soon()).unwrap());
    let last = submit(4, soon()).unwrap();
    std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    engine.gate().open();
    assert!(matches!(wait(late), Outcome::Late));
    assert_eq!((rows(wait(first)), rows(wait(last))), (vec![1.0], vec![4.0]));
    assert!(!lock(&engine.runs).contains_key(&2) && !lock(&engine.runs).contains_key(&3));
    let snapshot = scheduler.snapshot();
    assert_eq!((snapshot.counters.late, snapshot.counters.gone), (before.late + 1, before.gone + 1));
    assert_eq!((snapshot.tokens, snapshot.requests), (0, 0));
}

#[test]
fn a_panic_and_an_error_hit_their_owners_only() {
    for (poison, broken) in [(Some(5), None), (None, Some(5))] {
        let (engine, lane) = lane(Counting { poison, broken, ..Counting::closed() });
        let scheduler = Scheduler::start(limits(1, 100)).unwrap();
        let _opened = Opened(engine.gate());
        let submit = |i| (i, scheduler.submit(plan(&lane, vec![job(i, 3)]), client(1), soon()).unwrap());
        let first = submit(1);
        engine.gate().wait_for(1);
        let others: Vec<_> = (2..=20).map(submit).collect();
        engine.gate().open();
        for (i, ticket) in others.into_iter().chain([first]) {
            match (i, wait(ticket)) {
                (5, Outcome::Panicked) => assert!(poison.is_some()),
                (5, Outcome::Failed(error)) => assert!(broken.is_some(), "{error}"),
                (5, other) => panic!("{other:?}"),
                (_, outcome) => assert_eq!(rows(outcome), [i as f32]),
            }
        }
        // The pass that failed had company, which was run again, each sequence alone.
        let company = lock(&engine.passes).iter().map(Vec::len).max();
        assert_eq!((company, lock(&engine.passes).len()), (Some(19), 2 + 19));
        // The worker lives on.
        let (_, after) = submit(9);
        assert_eq!(rows(wait(after)), [9.0]);
        // A panic of the whole pass, and one of the sequence alone.
        assert_eq!(scheduler.snapshot().counters.panics, if poison.is_some() { 2 } else { 0 });
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
    let (engine, lane) = lane(Counting::closed());
    let scheduler = Scheduler::start(limits(1, 10)).unwrap();
    let _opened = Opened(engine.gate());
    let tickets: Vec<_> = (1..20)
        .map(|i| scheduler.submit(plan(&lane, vec![job(i, 10)]), client(1), soon()).unwrap())
        .collect();
    engine.gate().wait_for(1);
    std::thread::scope(|scope| {
        // It waits for the pass that runs, but nobody else does.
        let closing = scope.spawn(|| scheduler.close());
        let _opened = Opened(engine.gate());
        let outcomes: Vec<Outcome> = tickets.into_iter().map(wait).collect();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Stopped)), "{outcomes:?}");
        assert!(!closing.is_finished(), "a pass runs still");
    });
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
