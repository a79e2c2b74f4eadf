//! What the queue counts, and whom it admits.

use super::*;
use crate::work::{RawJob, Rows, Runs, Unit};

struct Nothing;

impl Runs for Nothing {
    fn run(&self, _: &[Unit]) -> mobilebert::Result<Rows> {
        Ok(Rows::default())
    }
}

fn plan(lane: &Arc<Lane>, id: u32) -> Plan {
    let unit = Unit { ids: vec![id; 100], types: vec![0; 100], requested: Vec::new() };
    Plan::new(Arc::clone(lane), vec![Box::new(RawJob::new(unit, 1))], 1).unwrap()
}

#[test]
fn a_deadline_that_has_passed_is_late_and_not_too_much() {
    let lane = Lane::new(Arc::new(Nothing), 1e-3);
    let mut queue = Queue::new(Limits { workers: 1, budget: 512, queue: 10_000 });
    let now = Instant::now();
    let admitted = queue.admit(plan(&lane, 1), Client::Local, now, now, oneshot::channel().0);
    assert_eq!(admitted, Err(Rejected::Late));
    assert_eq!(queue.counters.late, 1);
}

/// What a request adds to the expected wait is what it takes off, however the pace changed meanwhile.
#[test]
fn the_expected_wait_forgets_what_it_counted() {
    let lane = Lane::new(Arc::new(Nothing), 1e-3);
    let mut queue = Queue::new(Limits { workers: 1, budget: 512, queue: 10_000 });
    let now = Instant::now();
    let admit = |queue: &mut Queue, id| {
        let later = now + Duration::from_secs(1000);
        queue.admit(plan(&lane, id), Client::Local, now, later, oneshot::channel().0).unwrap()
    };
    let (first, second) = (admit(&mut queue, 1), admit(&mut queue, 2));
    (0..50).for_each(|_| lane.observe(1.0, 1.0));
    let _third = admit(&mut queue, 3);
    let slow = cost(100) * lane.pace();
    queue.cancel(first, false);
    queue.take(second, now).unwrap();
    let left = queue.expected_wait(Client::Local, 0.0, now).as_secs_f64();
    assert!((left - slow).abs() < 1e-6 * slow, "{left} {slow}");
}

/// A client that fills the queue leaves room for others, and its work does not count as theirs.
#[test]
fn who_has_much_in_the_queue_keeps_nobody_out() {
    let lane = Lane::new(Arc::new(Nothing), 1.0);
    let mut queue = Queue::new(Limits { workers: 1, budget: 100, queue: 10_000 });
    let now = Instant::now();
    let mut number = 0;
    let mut admit = |queue: &mut Queue, client, seconds| {
        number += 1;
        let deadline = now + Duration::from_secs(seconds);
        queue.admit(plan(&lane, number), client, now, deadline, oneshot::channel().0)
    };
    let (greedy, second, third) = (Client::Key(1), Client::Key(2), Client::Key(3));
    let mut taken = 0;
    while admit(&mut queue, greedy, 1_000_000).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 88, "eight ninths of a hundred");
    let wait = |rejected| match rejected {
        Err(Rejected::Busy(wait)) => wait.as_secs_f64(),
        other => panic!("{other:?}"),
    };
    let all = 88.0 * cost(100);
    assert!((wait(admit(&mut queue, greedy, 1_000_000)) - all).abs() < 1.0);
    // What the first one waits for is hours, and still the second one is in time: it has its turn first.
    assert!(cost(100) * 3.0 < 400.0 && all > 9000.0);
    assert!(admit(&mut queue, second, 400).is_ok());
    assert!(admit(&mut queue, third, 400).is_ok());
    // Its second request waits for its first one, and as long for each of the others.
    let waits = wait(admit(&mut queue, third, 400));
    assert!((waits - cost(100) * 4.0).abs() < 1.0, "{waits}");
    // Whoever has nothing in the queue may use the rest, to the last token.
    let mut last = 4;
    while admit(&mut queue, Client::Key(last), 1_000_000).is_ok() {
        last += 1;
    }
    assert_eq!(queue.snapshot(now).tokens, 10_000);
}

/// Whoever waits has to get the result in time, and not only its turn.
#[test]
fn a_result_that_would_come_too_late_is_refused_at_once() {
    let lane = Lane::new(Arc::new(Nothing), 1e-3);
    let mut queue = Queue::new(Limits { workers: 2, budget: 300, queue: 10_000 });
    let now = Instant::now();
    let mut number = 0;
    let mut admit = |queue: &mut Queue, millis| {
        number += 1;
        let deadline = now + Duration::from_millis(millis);
        queue.admit(plan(&lane, number), Client::Local, now, deadline, oneshot::channel().0)
    };
    // Each costs 110 ms of one of the two workers. They are idle, so one that is late even alone is tried.
    (0..2).for_each(|_| queue.begin_idle());
    assert!(admit(&mut queue, 50).is_ok());
    for _ in 0..2 {
        let (_, members) = queue.pick(now).unwrap_or_else(|| {
            admit(&mut queue, 1000).unwrap();
            queue.pick(now).unwrap()
        });
        queue.end_idle(now, 0.11 * members.len() as f64);
    }
    // Both run passes of 110 ms now. The next one begins when they end, and takes as long.
    assert!(matches!(admit(&mut queue, 200), Err(Rejected::Busy(wait)) if wait.as_millis() == 110));
    assert!(admit(&mut queue, 230).is_ok());
    // Behind it, with half of the work of one worker in front: the pass is shared with the other one.
    assert!(matches!(admit(&mut queue, 300), Err(Rejected::Busy(wait)) if wait.as_millis() == 165));
    assert!(admit(&mut queue, 400).is_ok());
    // A pass has ended, so a worker is there at once.
    queue.begin_idle();
    assert!(matches!(admit(&mut queue, 300), Err(Rejected::Busy(wait)) if wait.as_millis() == 110));
}

#[test]
fn the_addresses_of_one_network_are_one_client() {
    let of = |text: &str| Client::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
}
