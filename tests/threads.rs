//! Tests which threads an engine uses.

#![cfg(not(target_family = "wasm"))]

use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use mobilebert::backend::Observer;
use mobilebert::graph::{Graph, Node};
use mobilebert::model::{self, synthetic::Synthetic};
use mobilebert::{Batch, Engine, EngineOptions, Head, ModelConfig};

const CONFIG: &str = r#"{"model_type": "mobilebert", "num_hidden_layers": 2, "vocab_size": 60}"#;

fn graph() -> (ModelConfig, Graph) {
    let config = ModelConfig::from_json(CONFIG).unwrap();
    let graph = model::build(&config, Head::QuestionAnswering);
    (config, graph)
}

fn engine(options: EngineOptions) -> Engine {
    let (config, graph) = graph();
    let weights = Synthetic::new(&graph);
    Engine::from_weights(config, graph, &weights, options).unwrap()
}

fn batch(tokens: usize) -> Batch {
    Batch::single(&vec![7; tokens], &vec![0; tokens]).unwrap()
}

/// A meeting of passes, which wait for each other when they observe their first value.
struct Meeting {
    arrived: Mutex<usize>,
    all_here: Condvar,
    expected: usize,
    patience: Duration,
}

impl Meeting {
    fn new(expected: usize, patience: Duration) -> Self {
        Self { arrived: Mutex::new(0), all_here: Condvar::new(), expected, patience }
    }
}

/// One pass at a meeting. It records whether it met the others, and whether it stayed on the thread that
/// began it.
struct Guest<'a> {
    meeting: &'a Meeting,
    caller: thread::ThreadId,
    seen: Mutex<Option<(bool, bool)>>,
}

impl Observer for Guest<'_> {
    fn observe(&self, _: &Node, _: &[f32]) {
        let mut seen = self.seen.lock().unwrap();
        if seen.is_none() {
            let mut arrived = self.meeting.arrived.lock().unwrap();
            *arrived += 1;
            self.meeting.all_here.notify_all();
            let waiting = |arrived: &mut usize| *arrived < self.meeting.expected;
            let (_arrived, timeout) =
                self.meeting.all_here.wait_timeout_while(arrived, self.meeting.patience, waiting).unwrap();
            *seen = Some((!timeout.timed_out(), thread::current().id() == self.caller));
        }
    }
}

/// Runs this many callers at the same time. Returns for each whether its pass met all others, and whether it
/// ran on the caller's thread.
fn meet(engine: &Engine, callers: usize, patience: Duration) -> Vec<(bool, bool)> {
    let meeting = Meeting::new(callers, patience);
    let call = || {
        let caller = thread::current().id();
        let guest = Guest { meeting: &meeting, caller, seen: Mutex::default() };
        engine.forward_observed(&batch(20), &guest).unwrap();
        guest.seen.into_inner().unwrap().unwrap()
    };
    thread::scope(|scope| {
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    })
}

#[test]
fn callers_on_their_own_threads_run_at_the_same_time() {
    let engine = engine(EngineOptions::new().on_caller());
    assert_eq!(engine.threads(), 1);
    assert_eq!(meet(&engine, 3, Duration::from_secs(60)), [(true, true); 3]);
}

/// The callers of an engine with one thread never run at the same time, which is the reason for
/// [`EngineOptions::on_caller`].
#[test]
fn callers_of_one_thread_run_one_after_the_other() {
    let engine = engine(EngineOptions::new().threads(1));
    let mut met = meet(&engine, 2, Duration::from_millis(300));
    met.sort_unstable();
    // The second caller finds that the first one has already been there.
    assert_eq!(met, [(false, false), (true, false)]);
}

#[test]
fn the_last_choice_of_threads_counts() {
    let pool = || Arc::new(rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap());
    assert_eq!(engine(EngineOptions::new().on_caller().threads(2)).threads(), 2);
    assert_eq!(engine(EngineOptions::new().threads(2).pool(pool())).threads(), 3);
    assert_eq!(engine(EngineOptions::new().pool(pool()).on_caller()).threads(), 1);
}

#[cfg(target_os = "linux")]
mod in_a_process_of_its_own {
    #![allow(unsafe_code)]

    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    /// Tells a child which part of the test to run.
    const PART: &str = "MOBILEBERT_TEST_PART";

    /// Runs the test `name` again in a child process with [`PART`] set and without `RAYON_NUM_THREADS`.
    fn child(name: &str, part: &str) -> Command {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name, "--test-threads=1", "--nocapture"]);
        child.env(PART, part).env_remove("RAYON_NUM_THREADS");
        child
    }

    fn is_part(part: &str) -> bool {
        std::env::var(PART).is_ok_and(|found| found == part)
    }

    fn threads_of_this_process() -> usize {
        std::fs::read_dir("/proc/self/task").unwrap().count()
    }

    #[test]
    fn on_the_caller_no_thread_is_started() {
        const NAME: &str = "in_a_process_of_its_own::on_the_caller_no_thread_is_started";
        if !is_part("count") {
            assert!(child(NAME, "count").status().unwrap().success());
            return;
        }
        let before = threads_of_this_process();
        let on_caller = engine(EngineOptions::new().on_caller());
        on_caller.forward(&batch(300)).unwrap();
        Engine::open("qa", EngineOptions::new().on_caller()).unwrap().forward(&batch(300)).unwrap();
        assert_eq!(threads_of_this_process(), before);
        // This pass starts the pool, so that its threads can be counted.
        engine(EngineOptions::new()).forward(&batch(300)).unwrap();
        assert!(threads_of_this_process() > before);
    }

    /// Returns the CPUs that this process may run on.
    fn cpus() -> libc::cpu_set_t {
        // SAFETY: all bits of a `cpu_set_t` may be zero.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `set` is as large as the size says.
        let answer = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
        assert_eq!(answer, 0);
        set
    }

    /// Hides the control groups of the machine in a mount namespace of its own, and shows made-up ones with the
    /// quota in `$1` (microseconds of each 100,000) instead. Then it runs the remaining arguments.
    const WITH_QUOTA: &str = r#"set -e
mount -t tmpfs none /sys/fs/cgroup
while IFS=: read -r _ controllers group; do
    folder="/sys/fs/cgroup/${controllers#name=}$group"
    mkdir -p "$folder"
    echo cpu > "$folder/cgroup.controllers"
    echo "$1 100000" > "$folder/cpu.max"
    echo "$1" > "$folder/cpu.cfs_quota_us"
    echo 100000 > "$folder/cpu.cfs_period_us"
done < /proc/self/cgroup
shift
exec "$@""#;

    #[test]
    fn the_default_is_no_more_than_the_quota_of_the_control_group() {
        const NAME: &str =
            "in_a_process_of_its_own::the_default_is_no_more_than_the_quota_of_the_control_group";
        if let Ok(expected) = std::env::var(PART) {
            assert_eq!(engine(EngineOptions::new()).threads(), expected.parse::<usize>().unwrap());
            return;
        }
        let with_quota = |quota: &str| {
            let mut command = Command::new("unshare");
            command.args(["--map-root-user", "--mount", "sh", "-c", WITH_QUOTA, "sh", quota]);
            command
        };
        let can = with_quota("100000").arg("true").output();
        if let Some(why) = match can {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(error) => Some(error.to_string()),
        } {
            eprintln!("SKIPPED: a mount namespace cannot be made here: {why}");
            return;
        }
        // SAFETY: `cpus` returns a set of the full size.
        let allowed = unsafe { libc::CPU_COUNT(&cpus()) } as usize;
        for (quota, threads) in [("50000", 1), ("199999", 1), ("200000", 2), ("100000000", allowed)] {
            let test = child(NAME, &threads.min(allowed).to_string());
            let mut command = with_quota(quota);
            command.arg(test.get_program()).args(test.get_args());
            for (name, value) in test.get_envs() {
                match value {
                    Some(value) => command.env(name, value),
                    None => command.env_remove(name),
                };
            }
            assert!(command.status().unwrap().success(), "quota {quota}");
        }
    }

    #[test]
    fn the_default_is_one_thread_for_each_cpu_that_is_allowed() {
        const NAME: &str = "in_a_process_of_its_own::the_default_is_one_thread_for_each_cpu_that_is_allowed";
        if is_part("one") {
            assert_eq!(engine(EngineOptions::new()).threads(), 1);
            return;
        }
        if is_part("variable") {
            assert_eq!(engine(EngineOptions::new()).threads(), 3);
            return;
        }
        let allowed = cpus();
        // SAFETY: the index is below the number of bits.
        let is_allowed = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &allowed) };
        let first = (0..libc::CPU_SETSIZE as usize).find(is_allowed).unwrap();
        for (part, variable) in [("one", None), ("variable", Some("3"))] {
            let mut child = child(NAME, part);
            if let Some(threads) = variable {
                child.env("RAYON_NUM_THREADS", threads);
            }
            let pin = move || {
                // SAFETY: all bits of a `cpu_set_t` may be zero.
                let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
                // SAFETY: the index is below the number of bits.
                unsafe { libc::CPU_SET(first, &mut one) };
                // SAFETY: `one` is as large as the size says.
                match unsafe { libc::sched_setaffinity(0, size_of_val(&one), &one) } {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            };
            // SAFETY: between fork and exec, `pin` makes system calls only and allocates nothing.
            unsafe { child.pre_exec(pin) };
            assert!(child.status().unwrap().success(), "{part}");
        }
    }
}
