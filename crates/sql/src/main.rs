//! `mobilebert-sql`: SQL over texts in files.

use std::io::{self, BufWriter, Write as _};
use std::process::ExitCode;

use clap::Parser;
use mobilebert_sql::shell::{self, ShellArgs};
use mobilebert_sql::{MOST_THREADS, Session, Settings};

/// SQL over texts in Parquet, CSV and JSON files, with the tasks of BERT models as functions.
///
/// Without --command, statements are read from standard input, each ended by a semicolon; at a terminal there
/// is a prompt.
#[derive(Debug, Parser)]
#[command(name = "mobilebert-sql", version, after_help = EXAMPLES)]
struct Args {
    #[command(flatten)]
    shell: ShellArgs,
    /// Gives a model a name for queries; may be given several times
    #[arg(long = "model", value_name = "NAME=SOURCE", value_parser = shell::named)]
    models: Vec<(String, String)>,
    /// The number of threads [default: the number of cores]
    #[arg(long, env = "MOBILEBERT_THREADS", value_name = "N", value_parser = shell::number(1, MOST_THREADS))]
    threads: Option<usize>,
    /// The number of rows that a function gets at once
    #[arg(long, default_value = "1024", env = "MOBILEBERT_BATCH_SIZE", value_name = "N")]
    #[arg(value_parser = shell::number(1, shell::MOST_BATCH_SIZE))]
    batch_size: usize,
}

const EXAMPLES: &str = "\
Functions:
  classify(text [, 'MODEL'])             struct(label, score, truncated)
  classify_pair(first, second, 'MODEL')  struct(label, score, truncated)
  scores(text [, 'MODEL'])               map(label, score)
  answer(question, context [, 'MODEL'])  struct(answer, score, start, end)
  tag(text [, 'MODEL'])                  list(struct(entity, score, word, start, end))
  fill_mask(text, 'MODEL')               list(struct(mask, word, score, sequence))
  embed(text [, 'MODEL'])                fixed_size_list(float)
  similarity(a, b [, 'MODEL'])           float
  tokens(text [, 'MODEL'])               integer

Examples:
  $ mobilebert-sql -c \"select classify(review)['label'], count(*) from 'reviews/*.parquet' group by 1\"
  $ mobilebert-sql -c \"copy (select id, embed(text) as v from 'texts.csv') to 'vectors.parquet'\"
  $ mobilebert-sql -c \"explain analyze select classify(review)['label'] from 'reviews.parquet'\"
  $ mobilebert-sql --model mine=./my-model --output json < queries.sql

Exit codes: 0, 1 a statement failed, 2 wrong usage, 130 Ctrl-C.";

/// Writes a message, and returns the exit code of a failure. If it cannot be written, nobody has to be told.
fn complain(message: &str) -> u8 {
    let _ = writeln!(io::stderr().lock(), "mobilebert-sql: {message}");
    1
}

fn main() -> ExitCode {
    let args = Args::parse();
    let settings = Settings::with(|settings| {
        settings.threads = args.threads.unwrap_or(settings.threads);
        settings.batch_size = args.batch_size;
        settings.models = args.models;
    });
    let runtime = match mobilebert_sql::runtime(settings.threads) {
        Ok(runtime) => runtime,
        Err(error) => {
            return complain(&format!("cannot start threads: {error}")).into();
        }
    };
    let (mut out, mut err) = (BufWriter::new(io::stdout().lock()), io::stderr());
    let code = match Session::new(&settings) {
        Ok(session) => {
            let workers = runtime.handle();
            shell::run("mobilebert-sql", &session, &args.shell, &shell::Here, workers, &mut out, &mut err)
        }
        Err(error) => complain(&error.to_string()),
    };
    // A call that was stopped ends after its pass; nobody waits for it.
    runtime.shutdown_background();
    ExitCode::from(code)
}
