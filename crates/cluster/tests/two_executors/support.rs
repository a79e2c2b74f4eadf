//! A scheduler and executors, each a process, and tables of texts for them.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mobilebert_sql::{Session, Settings, shell};

/// One cluster at a time: each has two processes that compute.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn root(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

pub(crate) fn model(name: &str, folder: &str) -> String {
    format!("{name}={}", root(folder).display())
}

/// The models of all machines, unless a test says otherwise.
pub(crate) fn models() -> Vec<String> {
    vec![model("tiny", "tests/golden/checkpoints/bert-f32"), model("large", "models/sentiment")]
}

/// Returns a port that is free.
pub(crate) fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that ends with its test.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL; it may have ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Cluster {
    pub(crate) port: u16,
    pub(crate) folder: tempfile::TempDir,
    pub(crate) scheduler: Process,
    pub(crate) executors: Vec<Process>,
    /// The number of executors so far, those that were killed among them.
    started: usize,
}

pub(crate) fn program(models: &[String]) -> Command {
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
    pub(crate) fn start(executors: &[Vec<String>]) -> Self {
        let (port, folder) = (port(), tempfile::tempdir().unwrap());
        let scheduler = program(&[])
            .args(["scheduler", "--listen", &format!("127.0.0.1:{port}"), "--executor-timeout", "15"])
            .spawn()
            .unwrap();
        wait_for(port);
        let scheduler = Process(scheduler);
        let mut cluster = Self { port, folder, scheduler, executors: Vec::new(), started: 0 };
        executors.iter().for_each(|models| cluster.add(models));
        cluster
    }

    /// Starts an executor, whose folder is its own: what a killed one has computed is lost with it.
    pub(crate) fn add(&mut self, models: &[String]) {
        let (own, work) = (port(), self.folder.path().join(format!("work-{}", self.started)));
        self.started += 1;
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

    pub(crate) fn client(&self, sql: &str) -> Command {
        let mut command = program(&models());
        command.args(["sql", "--scheduler", &format!("127.0.0.1:{}", self.port), "--partitions", "8"]);
        command.args(["--output", "csv", "-c", sql]);
        command
    }

    /// Runs a query and returns its rows, sorted, or what went wrong.
    pub(crate) fn query(&self, sql: &str) -> Result<Vec<String>, String> {
        let output = self.client(sql).output().unwrap();
        match output.status.success() {
            true => Ok(sorted(&String::from_utf8(output.stdout).unwrap())),
            false => Err(String::from_utf8(output.stderr).unwrap()),
        }
    }
}

pub(crate) fn sorted(csv: &str) -> Vec<String> {
    let mut lines: Vec<String> = csv.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Writes different texts into eight files, and returns a pattern that names them.
pub(crate) fn texts(folder: &Path, rows: usize) -> String {
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
pub(crate) fn local(sql: &str) -> Vec<String> {
    let mut out = Vec::new();
    let runtime = mobilebert_sql::runtime(2).unwrap();
    let settings = Settings::with(|settings| {
        let named = |model: String| shell::named(&model).unwrap();
        settings.models = models().into_iter().map(named).collect();
    });
    let session = Session::new(&settings).unwrap();
    let (commands, output) = (vec![sql.to_owned()], shell::Format::Csv);
    let args = shell::ShellArgs { commands, output, ..shell::ShellArgs::default() };
    let (workers, err) = (runtime.handle(), &mut std::io::stderr());
    assert_eq!(shell::run("local", &session, &args, &shell::Here, workers, &mut out, err), 0);
    sorted(&String::from_utf8(out).unwrap())
}
