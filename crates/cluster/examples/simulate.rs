//! Simulates a query on a cluster: how long it takes with stragglers and lost executors, and how many
//! executors an hour needs.
//!
//! ```sh
//! cargo run --example simulate -- [ROWS [EXECUTORS [SEED]]]
//! ```
//!
//! The query has two stages, as `select label, count(*) … group by 1` has: tasks that run the model and write
//! a few groups to the disk of their executor, and one that merges them. A lost executor takes its running
//! tasks and the results of its finished ones along. The scheduler notices after the timeout, and gives these
//! tasks to others. No task is run twice for being slow, because Ballista does not do that.
//!
//! Without arguments, the program first predicts the runs that were measured with one and two executors, and
//! fails if it is off by more than 15 %. docs/scale.md has its output.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::process::ExitCode;

/// What was measured on one machine, with executors of one thread.
struct Measured {
    rows: f64,
    tasks: usize,
    /// Texts a second of one thread of `mobilebert-sql`, on the same texts and model.
    rate: f64,
    /// Seconds of the same query on eight rows: planning, both stages, and the client.
    empty: f64,
    /// Executors, and the seconds that the query took.
    runs: [(usize, f64); 2],
}

const MEASURED: Measured =
    Measured { rows: 8000.0, tasks: 8, rate: 418.0, empty: 1.0, runs: [(1, 20.18), (2, 10.79)] };

/// What a cluster is like.
#[derive(Debug, Clone, Copy)]
struct Cluster {
    executors: usize,
    /// The cores of an executor, each of which runs one task.
    cores: usize,
    /// Texts a second of a core.
    rate: f64,
    /// Seconds of a query without rows.
    empty: f64,
    /// The share of slow tasks, and how much longer they take.
    slow: (f64, f64),
    /// Seconds until an executor is lost, on average.
    lifetime: f64,
    /// Seconds until the scheduler has noticed a loss.
    timeout: f64,
    /// Seconds from the loss of an executor to another one in its place.
    replaced: f64,
}

/// A generator of random numbers: `splitmix64`.
struct Random(u64);

impl Random {
    /// Returns a number from 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ (bits >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns the time until something happens that happens once in `mean` seconds.
    fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.next()).ln()
    }
}

/// What happens. The number of an executor's life tells whether it still is the one that an event was meant
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Done { task: usize, executor: usize, life: usize },
    Lost { executor: usize },
    Noticed { executor: usize },
    Replaced { executor: usize },
}

/// How a query went.
#[derive(Debug, Default)]
struct Outcome {
    seconds: f64,
    lost: usize,
    /// Tasks that were run again.
    again: usize,
}

/// Microseconds, which have an order.
fn ticks(seconds: f64) -> u64 {
    (seconds * 1e6).round() as u64
}

fn simulate(cluster: Cluster, rows: f64, tasks: usize, seed: u64) -> Outcome {
    let mut random = Random(seed);
    let mut events = BinaryHeap::new();
    let mut waiting: Vec<usize> = (0..tasks).rev().collect();
    let mut finished = vec![None; tasks];
    let mut on = vec![Vec::new(); cluster.executors];
    let mut free = vec![cluster.cores; cluster.executors];
    let mut lives = vec![0_usize; cluster.executors];
    let (mut now, mut open, mut outcome) = (0_u64, tasks, Outcome::default());
    for executor in 0..cluster.executors {
        events.push(Reverse((ticks(random.wait(cluster.lifetime)), Event::Lost { executor })));
    }
    while open > 0 {
        for executor in 0..cluster.executors {
            while free[executor] > 0
                && let Some(task) = waiting.pop()
            {
                free[executor] -= 1;
                on[executor].push(task);
                let slow = if random.next() < cluster.slow.0 { cluster.slow.1 } else { 1.0 };
                let seconds = rows / tasks as f64 / cluster.rate * slow;
                let done = Event::Done { task, executor, life: lives[executor] };
                events.push(Reverse((now + ticks(seconds), done)));
            }
        }
        let Some(Reverse((time, event))) = events.pop() else { break };
        now = time;
        match event {
            Event::Done { task, executor, life } if life == lives[executor] => {
                free[executor] += 1;
                finished[task] = Some(executor);
                open -= 1;
            }
            Event::Done { .. } => {}
            Event::Lost { executor } => {
                outcome.lost += 1;
                lives[executor] += 1;
                free[executor] = 0;
                let noticed = Event::Noticed { executor };
                events.push(Reverse((now + ticks(cluster.timeout), noticed)));
                // The results are gone at once, though nobody knows.
                for &task in &on[executor] {
                    open += usize::from(finished[task].take().is_some());
                }
            }
            Event::Noticed { executor } => {
                let tasks = std::mem::take(&mut on[executor]);
                outcome.again += tasks.len();
                waiting.extend(tasks);
                let wait = (cluster.replaced - cluster.timeout).max(0.0);
                events.push(Reverse((now + ticks(wait), Event::Replaced { executor })));
            }
            Event::Replaced { executor } => {
                free[executor] = cluster.cores;
                let lost = now.saturating_add(ticks(random.wait(cluster.lifetime)));
                events.push(Reverse((lost, Event::Lost { executor })));
            }
        }
    }
    outcome.seconds = now as f64 / 1e6 + cluster.empty;
    outcome
}

/// Returns the median outcome of some seeds, and the worst time.
fn outcomes(cluster: Cluster, rows: f64, tasks: usize, seed: u64) -> (Outcome, f64) {
    const RUNS: u64 = 9;
    let mut all: Vec<_> = (0..RUNS).map(|run| simulate(cluster, rows, tasks, seed + run)).collect();
    all.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let worst = all.last().map_or(0.0, |outcome| outcome.seconds);
    (all.swap_remove(RUNS as usize / 2), worst)
}

/// Predicts the measured runs, and returns false if a prediction is off by more than 15 %.
fn check() -> bool {
    println!("| executors of one thread | measured | predicted | off by |\n|---|---|---|---|");
    MEASURED.runs.iter().fold(true, |all, &(executors, measured)| {
        let cluster = Cluster {
            executors,
            cores: 1,
            rate: MEASURED.rate,
            empty: MEASURED.empty,
            slow: (0.0, 1.0),
            lifetime: f64::INFINITY,
            timeout: 20.0,
            replaced: 60.0,
        };
        let predicted = simulate(cluster, MEASURED.rows, MEASURED.tasks, 1).seconds;
        let off = predicted / measured - 1.0;
        println!("| {executors} | {measured:.2} s | {predicted:.2} s | {:+.1} % |", 100.0 * off);
        all && off.abs() <= 0.15
    })
}

fn main() -> ExitCode {
    const DAY: f64 = 24.0 * 3600.0;
    const HOUR: f64 = 3600.0;
    let args: Vec<f64> = std::env::args().skip(1).map_while(|arg| arg.parse().ok()).collect();
    let number = |index: usize, or: f64| args.get(index).copied().unwrap_or(or).clamp(1.0, 1e15);
    if args.is_empty() && !check() {
        eprintln!("simulate: a prediction is off by more than 15 %");
        return ExitCode::FAILURE;
    }
    let (rows, seed) = (number(0, 1e9), number(2, 20.0) as u64);
    let calm = Cluster {
        executors: 1,
        cores: 16,
        rate: MEASURED.rate,
        empty: MEASURED.empty,
        slow: (0.02, 3.0),
        lifetime: 30.0 * DAY,
        timeout: 20.0,
        replaced: 300.0,
    };
    println!(
        "\n{rows:.0} texts at {:.0}/s for each core: {:.0} core-hours\n",
        calm.rate,
        rows / calm.rate / HOUR
    );
    let spot = Cluster { lifetime: DAY / 2.0, ..calm };
    println!("| executors of 16 cores | tasks of a core | life | median | worst | lost | tasks again |");
    println!("|---|---|---|---|---|---|---|");
    let ideal = (rows / calm.rate / HOUR / calm.cores as f64).ceil();
    let counts = match args.get(1) {
        Some(_) => vec![number(1, 1.0) as usize],
        None => [1.0, 1.1, 1.25, 1.5].map(|factor| (ideal * factor).ceil() as usize).to_vec(),
    };
    for &executors in &counts {
        for (kind, life) in [(calm, "30 days"), (spot, "12 hours")] {
            for per_core in [2, 16, 128] {
                let cluster = Cluster { executors, ..kind };
                let tasks = executors * cluster.cores * per_core;
                let (median, worst) = outcomes(cluster, rows, tasks, seed);
                println!(
                    "| {executors} | {per_core} | {life} | {:.0} min | {:.0} min | {} | {} |",
                    median.seconds / 60.0,
                    worst / 60.0,
                    median.lost,
                    median.again
                );
            }
        }
    }
    ExitCode::SUCCESS
}
