//! The shell: statements from the command line, a file or a prompt; rows as a table, CSV or JSON.

mod describe;
mod input;
mod output;
mod progress;

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::sync::Arc;

use clap::ValueEnum;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use futures::StreamExt as _;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::session::Session;
pub use output::Format;
use output::Output;
use progress::Progress;

/// The lines of a terminal that wait while a statement runs.
const LINES: usize = 1024;
/// Exit code: a statement failed.
const FAILED: u8 = 1;
/// Exit code: the user pressed Ctrl-C.
const INTERRUPTED: u8 = 130;

/// When the shell tells how far it is, on standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Report {
    /// If standard error is a terminal
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The flags of the shell.
#[derive(Debug, Clone, clap::Args)]
pub struct ShellArgs {
    /// Runs these statements and ends; may be given several times
    #[arg(short = 'c', long = "command", value_name = "QUERY")]
    pub commands: Vec<String>,
    /// How rows are written
    #[arg(short, long, value_enum, default_value_t, env = "MOBILEBERT_OUTPUT", value_name = "FORMAT")]
    pub output: Format,
    /// The most rows that a table shows; csv and json have no limit
    #[arg(long, default_value_t = MAX_ROWS, env = "MOBILEBERT_MAX_ROWS", value_name = "N")]
    pub max_rows: usize,
    /// When the number of texts a second, and a summary, are written to standard error
    #[arg(long, value_enum, default_value_t, env = "MOBILEBERT_PROGRESS", value_name = "WHEN")]
    pub progress: Report,
}

/// The most rows of a table unless told otherwise.
const MAX_ROWS: usize = 1000;

impl Default for ShellArgs {
    fn default() -> Self {
        Self {
            commands: Vec::new(),
            output: Format::default(),
            max_rows: MAX_ROWS,
            progress: Report::default(),
        }
    }
}

/// Reads the value of `--model`.
///
/// # Errors
/// What is expected instead.
pub fn named(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, source)) if !name.is_empty() && !source.is_empty() => {
            Ok((name.to_owned(), source.to_owned()))
        }
        _ => Err("expected NAME=SOURCE, such as mine=./my-model".to_owned()),
    }
}

/// The most rows of a batch. Buffers for so many are made before there are rows.
pub const MOST_BATCH_SIZE: usize = 1 << 20;

/// Makes a parser of numbers from `least` to `most`.
pub fn number(least: usize, most: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("expected a number from {least} to {most}"))
    }
}

/// Where a statement runs.
pub trait Place: Sync {
    /// Stops what a plan does outside of this process. The functions of this process are stopped already.
    fn stop(&self, plan: &Arc<dyn ExecutionPlan>) -> impl Future<Output = ()> + Send;
}

/// This process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Here;

impl Place for Here {
    async fn stop(&self, _: &Arc<dyn ExecutionPlan>) {}
}

/// Why a statement did not end well.
enum Problem {
    Statement(DataFusionError),
    Output(io::Error),
    Interrupted,
}

impl From<DataFusionError> for Problem {
    fn from(error: DataFusionError) -> Self {
        Self::Statement(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the shell and returns the exit code: 0, 1 if a statement failed, 130 after Ctrl-C. `name` begins
/// messages.
///
/// Statements run on the threads of `workers`. The calling thread waits for their rows and for Ctrl-C, which
/// it notices whatever the workers compute.
pub fn run(
    name: &str,
    session: &Session,
    args: &ShellArgs,
    place: &impl Place,
    workers: &Handle,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut shell = Shell { name, session, args, place, workers, out, err };
    match Builder::new_current_thread().enable_all().build() {
        Ok(waiting) => waiting.block_on(shell.run()),
        Err(error) => shell.complain(&Problem::Output(error)),
    }
}

struct Shell<'a, P> {
    name: &'a str,
    session: &'a Session,
    args: &'a ShellArgs,
    place: &'a P,
    workers: &'a Handle,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl<P: Place> Shell<'_, P> {
    async fn run(&mut self) -> u8 {
        let ended = self.read().await;
        ended.map_or_else(|problem| self.complain(&problem), |()| 0)
    }

    async fn read(&mut self) -> Result<(), Problem> {
        if !self.args.commands.is_empty() {
            return self.script(&self.args.commands).await;
        }
        if io::stdin().is_terminal() {
            return self.prompt().await;
        }
        let text = input::read(io::stdin().lock())?;
        self.script(&[text]).await
    }

    /// Runs statements until the first one that fails. If one of the texts cannot be parsed, none runs.
    async fn script(&mut self, texts: &[String]) -> Result<(), Problem> {
        let parsed = texts.iter().map(|text| self.session.statements(text));
        for statement in parsed.collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            self.statement(statement).await?;
        }
        Ok(())
    }

    /// Reads statements from a terminal. One that fails does not end the shell.
    async fn prompt(&mut self) -> Result<(), Problem> {
        let (sender, mut lines) = mpsc::channel(LINES);
        // A thread that waits for a line cannot be stopped, and need not be: it ends with the process.
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        let mut text = String::new();
        loop {
            write!(self.out, "{}", if text.is_empty() { "sql> " } else { "...> " })?;
            self.out.flush()?;
            let line = tokio::select! {
                line = lines.recv() => line,
                _ = tokio::signal::ctrl_c() => return Err(Problem::Interrupted),
            };
            let Some(line) = line else { return Ok(()) };
            text += &line?;
            text.push('\n');
            input::check(text.len())?;
            if text.trim().is_empty() {
                text.clear();
                continue;
            }
            if matches!(text.trim().trim_end_matches(';'), "quit" | "exit" | "\\q") {
                return Ok(());
            }
            if !input::is_complete(&text) {
                continue;
            }
            let statements = std::mem::take(&mut text);
            match self.script(&[statements]).await {
                Err(Problem::Output(error)) => return Err(Problem::Output(error)),
                Err(problem) => {
                    self.complain(&problem);
                }
                Ok(()) => {}
            }
        }
    }

    /// Runs a statement, and writes its rows as they come.
    async fn statement(&mut self, statement: Statement) -> Result<(), Problem> {
        self.session.registry().stop().renew();
        let mut progress = Progress::new(self.session, self.args.progress);
        let mut output = Output::new(self.args.output, self.args.max_rows);
        let mut ticks = tokio::time::interval(progress::INTERVAL);
        let mut running = Running::start(self.workers, self.session.clone(), statement);
        let mut schema = None;
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                event = running.events.recv() => match event {
                    Some(Event::Planned(plan)) => running.plan = Some(plan),
                    Some(Event::Started(found)) => schema = Some(found),
                    Some(Event::Batch(batch)) => {
                        progress.clear(self.err);
                        output.write(&batch, self.out)?;
                    }
                    None => break,
                },
                _ = ticks.tick() => progress.show(self.err),
                _ = &mut interrupted => {
                    self.session.registry().stop().stop();
                    progress.clear(self.err);
                    if let Some(plan) = &running.plan {
                        self.place.stop(plan).await;
                    }
                    return Err(Problem::Interrupted);
                }
            }
        }
        progress.clear(self.err);
        running.end().await?;
        let rows = match schema {
            Some(schema) => output.finish(&schema, self.out)?,
            None => 0,
        };
        self.out.flush()?;
        progress.finish(rows, self.name, self.err);
        Ok(())
    }

    /// Writes what went wrong, and returns the exit code for it.
    fn complain(&mut self, problem: &Problem) -> u8 {
        let (message, code) = match problem {
            // The reader has closed the pipe because it has seen enough, as `head` does.
            Problem::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return 0,
            Problem::Output(error) => (error.to_string(), FAILED),
            Problem::Interrupted => ("cancelled".to_owned(), INTERRUPTED),
            Problem::Statement(error) => (describe::describe(error), FAILED),
        };
        // If this cannot be written, nobody has to be told.
        let _ = writeln!(self.err, "{}: {message}", self.name);
        code
    }
}

/// What a statement tells the shell.
enum Event {
    Planned(Arc<dyn ExecutionPlan>),
    Started(SchemaRef),
    Batch(RecordBatch),
}

/// A statement that runs on the workers. It ends when this is dropped.
struct Running {
    task: JoinHandle<Result<(), DataFusionError>>,
    events: mpsc::Receiver<Event>,
    plan: Option<Arc<dyn ExecutionPlan>>,
}

impl Running {
    fn start(workers: &Handle, session: Session, statement: Statement) -> Self {
        // A batch that is written and one that waits: more would be memory without use.
        let (sender, events) = mpsc::channel(1);
        let task = workers.spawn(async move {
            let plans = sender.clone();
            // The channel is empty still, so the plan has room.
            let planned = |plan: &Arc<dyn ExecutionPlan>| {
                let _ = plans.try_send(Event::Planned(Arc::clone(plan)));
            };
            let mut stream = session.start_with(statement, planned).await?;
            let mut event = Event::Started(stream.schema());
            // The shell has gone if nothing is received.
            while sender.send(event).await.is_ok() {
                match stream.next().await {
                    Some(batch) => event = Event::Batch(batch?),
                    None => break,
                }
            }
            Ok(())
        });
        Self { task, events, plan: None }
    }

    /// Waits for the end, and says whether it was a good one.
    async fn end(&mut self) -> Result<(), Problem> {
        match (&mut self.task).await {
            Ok(ended) => Ok(ended?),
            Err(error) => Err(Problem::Statement(DataFusionError::ExecutionJoin(Box::new(error)))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
