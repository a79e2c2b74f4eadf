//! A scheduler and two executors, each a process: the rows and bits of one machine, also when an executor is
//! killed.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use mobilebert_sql::{Session, Settings, shell};

/// One cluster at a time: each has two processes that compute.
static ALONE: Mutex<()> = Mutex::new(());

/// The seconds without a sign of life after which an executor counts as lost, and those that the scheduler
/// may need to look.
const TIMEOUT: Duration = Duration::from_secs(20);

fn root(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

fn model(name: &str, folder: &str) -> String {
    format!("{name}={}", root(folder).display())
}

/// The models of all machines, unless a test says otherwise.
fn models() -> Vec<String> {
    vec![model("tiny", "tests/golden/checkpoints/bert-f32"), model("large", "models/sentiment")]
}

/// Returns a port that is free, and whose next one is free too.
fn port() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL; it may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Cluster {
    port: u16,
    folder: tempfile::TempDir,
    scheduler: Process,
    executors: Vec<Process>,
}

fn program(models: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mobilebert-cluster"));
    command.args(models.iter().flat_map(|model| ["--model", model]));
    command.stdin(Stdio::null());
    command
}

fn wait_for(port: u16) {
    let start = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Cluster {
    /// Starts a scheduler, and an executor of one thread for each of these lists of models.
    fn start(executors: &[Vec<String>]) -> Self {
        let (port, folder) = (port(), tempfile::tempdir().unwrap());
        let scheduler = program(&[])
            .args(["scheduler", "--listen", &format!("127.0.0.1:{port}"), "--executor-timeout", "15"])
            .spawn()
            .unwrap();
        wait_for(port);
        let mut cluster = Self { port, folder, scheduler: Process(scheduler), executors: Vec::new() };
        executors.iter().for_each(|models| cluster.add(models));
        cluster
    }

    fn add(&mut self, models: &[String]) {
        let (own, work) = (port(), self.folder.path().join(format!("work-{}", self.executors.len())));
        std::fs::create_dir_all(&work).unwrap();
        let child = program(models)
            .args(["executor", "--scheduler-port", &self.port.to_string(), "--port", &own.to_string()])
            .args(["--vcores", "1", "--work-dir"])
            .arg(&work)
            .stderr(std::fs::File::create(work.with_extension("log")).unwrap())
            .spawn()
            .unwrap();
        self.executors.push(Process(child));
        wait_for(own);
    }

    fn client(&self, sql: &str) -> Command {
        let mut command = program(&models());
        command.args(["sql", "--scheduler", &format!("127.0.0.1:{}", self.port), "--partitions", "8"]);
        command.args(["--output", "csv", "-c", sql]);
        command
    }

    /// Runs a query and returns its rows, sorted, or what went wrong.
    fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let output = self.client(sql).output().unwrap();
        match output.status.success() {
            true => Ok(sorted(&String::from_utf8(output.stdout).unwrap())),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }
}

fn sorted(csv: &str) -> Vec<String> {
    let mut lines: Vec<String> = csv.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Writes different texts into eight files, and returns a pattern that names them.
fn texts(folder: &Path, rows: usize) -> String {
    let runtime = mobilebert_sql::runtime(2).unwrap();
    runtime.block_on(async {
        let session = Session::new(&Settings::default()).unwrap();
        for file in 0..8 {
            let (first, path) = (file * rows / 8, folder.join(format!("part-{file}.parquet")));
            let sql = format!(
                "copy (select value as id, value % 7 as stars, \
                 'a film about the city number ' || value as text \
                 from generate_series({first}, {})) to '{}' stored as parquet",
                (file + 1) * rows / 8 - 1,
                path.display()
            );
            session.collect(&sql).await.unwrap();
        }
    });
    format!("'{}/*.parquet'", folder.display())
}

/// Runs a query on this process alone.
fn local(sql: &str) -> Vec<String> {
    let mut out = Vec::new();
    let runtime = mobilebert_sql::runtime(2).unwrap();
    let settings = Settings::with(|settings| {
        let named = |model: String| shell::named(&model).unwrap();
        settings.models = models().into_iter().map(named).collect();
    });
    let session = Session::new(&settings).unwrap();
    let mut args = shell::ShellArgs::default();
    args.commands = vec![sql.to_owned()];
    args.output = shell::Format::Csv;
    let (workers, err) = (runtime.handle(), &mut std::io::stderr());
    assert_eq!(shell::run("local", &session, &args, &shell::Here, workers, &mut out, err), 0);
    sorted(&String::from_utf8(out).unwrap())
}

/// Queries whose rows hold what models computed: labels, scores with all their digits, vectors, groups.
fn queries(files: &str) -> Vec<String> {
    vec![
        format!("select id, classify(text, 'tiny')['label'], classify(text, 'tiny')['score'] from {files}"),
        format!(
            "select id, embed(text, 'tiny') as v from {files} where stars = 3 and tokens(text, 'tiny') > 2"
        ),
        format!(
            "select classify(text, 'tiny')['label'] as label, stars, count(*), \
             max(classify(text, 'tiny')['score']) from {files} group by 1, 2"
        ),
        format!(
            "select a.id, similarity(a.text, b.text, 'tiny') as s \
             from {files} a join {files} b on a.id = b.id + 1 where a.stars = 2"
        ),
    ]
}

#[test]
fn two_executors_give_the_rows_and_bits_of_one_machine() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), 2000);
    let cluster = Cluster::start(&[models(), models()]);
    for sql in queries(&files) {
        let (found, expected) = (cluster.query(&sql).unwrap(), local(&sql));
        assert!(expected.len() > 2, "{sql}");
        assert!(found == expected, "{sql}:\n{:?}\n{:?}", &found[..2], &expected[..2]);
    }
    // Both have worked: each left results of tasks in its folder.
    for executor in 0..2 {
        let work = cluster.folder.path().join(format!("work-{executor}"));
        assert!(files_below(&work) > 0, "executor {executor} had nothing to do");
    }
}

fn files_below(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// The options of a session reach the executors with the calls. A text that cannot be read is an error unless
/// the query says otherwise, because the client does not know how many there were.
#[test]
fn options_reach_the_executors() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let cluster = Cluster::start(&[models()]);
    let sql = "select classify(t, 'tiny')['label'] is null as n from (values ('a film'), ('')) as v(t)";
    let problem = cluster.query(sql).unwrap_err();
    assert!(problem.contains("the text is empty"), "{problem}");
    let output = cluster.client("set mobilebert.on_error = 'null'").args(["-c", sql]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(sorted(&String::from_utf8(output.stdout).unwrap()), ["false", "n", "true"]);
}

/// An executor that has other files under the same name computes nothing.
#[test]
fn an_executor_with_other_weights_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let files = texts(folder.path(), 80);
    let other = vec![model("tiny", "tests/golden/checkpoints/electra-f32"), models().remove(1)];
    let cluster = Cluster::start(&[other]);
    let sql = format!("select embed(text, 'tiny') from {files}");
    let start = Instant::now();
    let problem = cluster.query(&sql).unwrap_err();
    assert!(problem.contains("rejected by executor"), "{problem}");
    let told = std::fs::read_to_string(cluster.folder.path().join("work-0.log")).unwrap();
    assert!(told.contains("other content than the query was planned with: expected sha "), "{told}");
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

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
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
        let output = running.wait_with_output().unwrap();
        let took = start.elapsed();
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "killed at {point}: {problem}");
        assert_eq!(sorted(&String::from_utf8(output.stdout).unwrap()), expected, "killed at {point}");
        println!(
            "killed at {point:.2} of {undisturbed:.1?}, after {worked:.1?} s of work: \
             the same rows after {took:.1?}"
        );
        assert!(took < undisturbed * 3 + TIMEOUT, "killed at {point}: {took:?} instead of {undisturbed:?}");
        cluster.add(&models());
    }
}

#[test]
fn a_killed_executor_costs_time_and_no_row() {
    kill_at(&[0.5], 4000);
}

#[test]
#[ignore = "takes minutes: ten points of a query"]
fn ten_killed_executors_cost_time_and_no_row() {
    kill_at(&[0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95], 4000);
}

/// Two executors of one thread are nearly twice as fast as one.
#[test]
#[ignore = "measures: needs two idle cores"]
fn two_executors_are_faster_than_one() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = tempfile::tempdir().unwrap();
    let sql = groups(&texts(folder.path(), 16_000));
    let cluster = Cluster::start(&[models()]);
    let time = || processor_time(&cluster.executors[0]).unwrap();
    let begin = time();
    cluster.query(&sql).unwrap();
    let (whole, begin) = (time() - begin, time());
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
        std::thread::sleep(Duration::from_secs(3));
        if time() - before < 0.05 {
            break;
        }
    }
    let used = time() - begin;
    println!("cancelled after {used:.1} of {whole:.1} s");
    assert!(used < 0.6 * whole, "the executor went on: {used:.1} of {whole:.1} s");
}

/// Numbers that make no sense are wrong usage, and not a panic later.
#[test]
fn numbers_have_ranges() {
    const HUGE: &str = "18446744073709551615";
    for (command, flag, values) in [
        ("sql", "--partitions", &["0", HUGE, "x"][..]),
        ("sql", "--batch-size", &["0", HUGE]),
        ("executor", "--vcores", &["0", HUGE, "-1"]),
        ("executor", "--memory", &["0", HUGE]),
        ("executor", "--port", &["0", "65535", "65536"]),
        ("executor", "--scheduler-port", &["0", "65536"]),
        ("scheduler", "--executor-timeout", &["0", "9", HUGE]),
        ("scheduler", "--listen", &["127.0.0.1:0", "127.0.0.1:65536", "50050"]),
    ] {
        for value in values {
            let output = program(&[]).arg(command).arg(format!("{flag}={value}")).output().unwrap();
            let problem = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.code() == Some(2) && problem.contains(flag), "{flag}={value}: {problem}");
        }
    }
}

/// Without a scheduler there is an error, soon, and no rows.
#[test]
fn a_killed_scheduler_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
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
