//! The shell: statements from the command line, a file or a prompt; rows as a table, CSV or JSON.

mod output;
mod progress;

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write};

use clap::ValueEnum;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::session::Session;
pub use output::Format;
use output::Output;
use progress::Progress;

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

/// Runs the shell and returns the exit code: 0, 1 if a statement failed, 130 after Ctrl-C. `name` begins messages.
pub async fn run(
    name: &str,
    session: &Session,
    args: &ShellArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let mut shell = Shell { name, session, args, out, err };
    let ended = if !args.commands.is_empty() {
        shell.script(&args.commands.join(";\n")).await
    } else if io::stdin().is_terminal() {
        shell.prompt().await
    } else {
        let mut text = String::new();
        match io::stdin().read_to_string(&mut text) {
            Ok(_) => shell.script(&text).await,
            Err(error) => Err(Problem::Output(error)),
        }
    };
    match ended {
        Ok(()) => 0,
        Err(problem) => shell.complain(&problem),
    }
}

struct Shell<'a> {
    name: &'a str,
    session: &'a Session,
    args: &'a ShellArgs,
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
}

impl Shell<'_> {
    /// Runs statements until the first one that fails.
    async fn script(&mut self, text: &str) -> Result<(), Problem> {
        for statement in self.session.statements(text)? {
            self.statement(statement).await?;
        }
        Ok(())
    }

    /// Reads statements from a terminal. One that fails does not end the shell.
    async fn prompt(&mut self) -> Result<(), Problem> {
        let (sender, mut lines) = mpsc::unbounded_channel();
        // A thread that waits for a line cannot be stopped, and need not be: it ends with the process.
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.send(line).is_err() {
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
            if text.trim().is_empty() {
                text.clear();
                continue;
            }
            if matches!(text.trim().trim_end_matches(';'), "quit" | "exit" | "\\q") {
                return Ok(());
            }
            if !text.trim_end().ends_with(';') {
                continue;
            }
            let statements = std::mem::take(&mut text);
            match self.script(&statements).await {
                Err(Problem::Output(error)) => return Err(Problem::Output(error)),
                Err(problem) => {
                    self.complain(&problem);
                }
                Ok(()) => {}
            }
        }
    }

    async fn statement(&mut self, statement: Statement) -> Result<(), Problem> {
        let stop = self.session.registry().stop();
        stop.clear();
        let mut progress = Progress::new(self.session, self.args.progress);
        let mut output = Output::new(self.args.output, self.args.max_rows);
        let mut ticks = tokio::time::interval(progress::INTERVAL);
        let start = self.session.start(statement);
        tokio::pin!(start);
        let mut stream = loop {
            tokio::select! {
                started = &mut start => break started?,
                _ = ticks.tick() => progress.show(self.err),
                _ = tokio::signal::ctrl_c() => {
                    stop.stop();
                    progress.clear(self.err);
                    return Err(Problem::Interrupted);
                }
            }
        };
        let schema = stream.schema();
        loop {
            tokio::select! {
                batch = stream.next() => match batch {
                    Some(batch) => {
                        progress.clear(self.err);
                        output.write(&batch?, self.out)?;
                    }
                    None => break,
                },
                _ = ticks.tick() => progress.show(self.err),
                _ = tokio::signal::ctrl_c() => {
                    stop.stop();
                    progress.clear(self.err);
                    return Err(Problem::Interrupted);
                }
            }
        }
        progress.clear(self.err);
        let rows = output.finish(&schema, self.out)?;
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
            Problem::Statement(error) => (describe(error), FAILED),
        };
        // If this cannot be written, nobody has to be told.
        let _ = writeln!(self.err, "{}: {message}", self.name);
        code
    }
}

/// Says what is wrong, without the names of the layers that it came through.
fn describe(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::External(inner) => inner.to_string(),
        root => root.strip_backtrace(),
    }
}
