//! Executors that are killed, queries that are cancelled, and how a cluster scales.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Cluster, Process, alone, local, models, sorted, texts};

/// The seconds without a sign of life after which an executor counts as lost, and those that the scheduler
/// may need to look.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The query of the tests that measure, whose rows are few and need all texts.
fn groups(files: &str) -> String {
    format!(
        "select label, stars, count(*), max(score), min(score) from \
         (select stars, classify(text, 'large')['label'] as label, classify(text, 'large')['score'] as score \
         from {files}) group by 1, 2"
    )
}

/// Returns the processor time of a process in seconds, or `None` on systems that do not tell.
fn processor_time(process: &Process) -> Option<f64> {
    /// Ticks of this file are of 10 ms on all usual systems.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.0.id())).ok()?;
    // The name, in parentheses, may hold spaces. User and system time are the fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Kills an executor by SIGKILL at points of a query, which then has the same rows.
fn kill_at(points: &[f64], rows: usize) {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), rows);
    let sql = groups(&files);
    let expected = local(&sql);
    let mut cluster = Cluster::start(&[models(), models()]);
    // Both load their models before a time is taken.
    assert_eq!(cluster.query(&sql).unwrap(), expected);
    let start = Instant::now();
    assert_eq!(cluster.query(&sql).unwrap(), expected);
    let undisturbed = start.elapsed();
    for &point in points {
        let before = processor_time(&cluster.executors[0]);
        let (start, mut client) = (Instant::now(), cluster.client(&sql));
        let mut running = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(undisturbed.mul_f64(point));
        // The older one. The one that takes its place is the last, so all have their turns.
        let victim = cluster.executors.remove(0);
        let worked = before.and_then(|before| Some(processor_time(&victim)? - before));
        let (ended, seconds) = (running.try_wait().unwrap().is_some(), undisturbed.as_secs_f64());
        drop(victim);
        // In between, a kill without a loss would show nothing.
        if (0.2..=0.8).contains(&point) {
            assert!(!ended, "killed at {point}: the query had ended before");
            let had_a_task = worked.is_none_or(|worked| worked > 0.05 * seconds);
            assert!(had_a_task, "killed at {point}: it had worked for {worked:?} s only");
        }
        let longest = undisturbed * 3 + TIMEOUT;
        while running.try_wait().unwrap().is_none() && start.elapsed() < longest {
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = start.elapsed();
        if took >= longest {
            let _ = running.kill();
            panic!("killed at {point}: still running after {took:?}, undisturbed {undisturbed:?}");
        }
        let output = running.wait_with_output().unwrap();
        let problem = String::from_utf8_lossy(&output.stderr);
        if point > 0.9 && problem.contains("Error connecting to") {
            // The query was over, and the client had not yet fetched all its rows.
            println!("killed at {point:.2} of {undisturbed:.1?}: an error after {took:.1?}");
            cluster.add(&models());
            continue;
        }
        assert!(output.status.success(), "killed at {point}: {problem}");
        assert_eq!(sorted(&String::from_utf8(output.stdout).unwrap()), expected, "killed at {point}");
        println!(
            "killed at {point:.2} of {undisturbed:.1?}, after {worked:.1?} s of work: \
             the same rows after {took:.1?}"
        );
        cluster.add(&models());
    }
}

/// In the first stage, which runs the model, and about the second one, which has lost its input then.
#[test]
fn a_killed_executor_costs_time_and_no_row() {
    kill_at(&[0.5, 0.9], 4000);
}

#[test]
#[ignore = "takes minutes: ten points of a query"]
fn ten_killed_executors_cost_time_and_no_row() {
    // Some of them, for those who have less time.
    let points =
        std::env::var("POINTS").unwrap_or_else(|_| "0.02,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.95".to_owned());
    kill_at(&points.split(',').map(|point| point.parse().unwrap()).collect::<Vec<_>>(), 4000);
}

/// Two executors of one thread are nearly twice as fast as one.
#[test]
#[ignore = "measures: needs two idle cores"]
fn two_executors_are_faster_than_one() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let rows: usize = std::env::var("ROWS").map_or(16_000, |rows| rows.parse().unwrap());
    let sql = groups(&texts(folder.path(), rows));
    let mut cluster = Cluster::start(&[models()]);
    let mut times = Vec::new();
    for executors in 1..=2 {
        if executors == 2 {
            cluster.add(&models());
        }
        cluster.query(&sql.replace("group by", "where stars = 1 group by")).unwrap();
        let best = (0..2).map(|_| {
            let start = Instant::now();
            cluster.query(&sql).unwrap();
            start.elapsed()
        });
        let best = best.min().unwrap();
        println!("{executors} executors: {rows} rows in {best:.2?}");
        times.push(best.as_secs_f64());
    }
    let speedup = times[0] / times[1];
    println!("speedup {speedup:.2}");
    assert!(speedup >= 1.8, "{speedup:.2}");
}

/// Ctrl-C at the client cancels the query: tasks that have not begun never do. Processor time tells, also on
/// a busy machine.
#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_cancels_the_query_of_the_cluster() {
    const LOOK: Duration = Duration::from_secs(3);
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let sql = groups(&texts(folder.path(), 4000));
    let cluster = Cluster::start(&[models()]);
    let time = || processor_time(&cluster.executors[0]).unwrap();
    let begin = time();
    cluster.query(&sql).unwrap();
    let whole = time() - begin;
    // An idle executor asks for tasks many times a second.
    let before = time();
    std::thread::sleep(LOOK);
    let (begin, idle) = (time(), time() - before);
    let mut running = cluster.client(&sql).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    while time() - begin < 0.1 * whole {
        assert!(running.try_wait().unwrap().is_none(), "the query is still running");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let output = running.wait_with_output().unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{problem}");
    let told = !problem.contains("cannot be told");
    assert!(told && problem.contains("mobilebert-cluster: cancelled"), "{problem}");
    // The task that runs is run to its end.
    loop {
        let before = time();
        std::thread::sleep(LOOK);
        if time() - before < 2.0 * idle + 0.05 {
            break;
        }
    }
    let used = time() - begin;
    println!("cancelled after {used:.1} of {whole:.1} s");
    assert!(used < 0.6 * whole, "the executor went on: {used:.1} of {whole:.1} s");
}

/// Without a scheduler there is an error, soon, and no rows.
#[test]
fn a_killed_scheduler_is_an_error() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), 8000);
    let mut cluster = Cluster::start(&[models()]);
    let mut client = cluster.client(&format!("select classify(text, 'large')['label'] from {files}"));
    let mut running = client.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(running.try_wait().unwrap().is_none(), "the query is still running");
    cluster.scheduler.0.kill().unwrap();
    let start = Instant::now();
    let output = running.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}
