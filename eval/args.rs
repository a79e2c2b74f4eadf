//! Arguments as the user writes them.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use mobilebert::Precision;
use mobilebert_tools::BackendKind;
use mobilebert_tools::dataset::GlueTask;
use mobilebert_tools::task::Task;

const ABOUT: &str = "Measures models: accuracy as the official scripts compute it, latency, size";

const AFTER_HELP: &str = "\
Examples:
  mobilebert-eval squad --model models/qa --data eval/samples/squad.json --json
  mobilebert-eval sst2 --model models/sentiment --data eval/samples/sst2.tsv \\
      --report report.html
  mobilebert-eval certify --reference predictions.json --model models/qa \\
      --data eval/samples/squad.json --precision f32
  mobilebert-eval latency --model models/qa --task squad \\
      --data eval/samples/squad.json

A model is a folder in Hugging Face's layout, a built-in name (qa, sentiment,
ner, embed) or a hub id. --data is a file, or a folder that is laid out as
`mobilebert-eval tasks` says.

Scores are in points, 0 to 100; correlations are multiplied by 100.

A run that is stopped goes on where it was when the same command is given
again: predictions are kept in a log (see --log) until they are complete.

Exit codes:
  0  all well
  1  an input or the model failed, or a target was missed
  2  wrong usage
  130  stopped by Ctrl-C";

/// Reads a number between two others. NaN lies between none.
fn between(low: f64, high: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| match text.parse::<f64>() {
        Ok(value) if (low..=high).contains(&value) => Ok(value),
        Ok(_) => Err(format!("expected a number from {low} to {high}")),
        Err(_) => Err("expected a number".to_owned()),
    }
}

/// Reads a number other than NaN.
fn number(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|value: &f32| !value.is_nan()).ok_or_else(|| "expected a number".to_owned())
}

/// Reads a number that is not negative.
fn not_negative(text: &str) -> Result<f32, String> {
    number(text).ok().filter(|value| *value >= 0.0).ok_or_else(|| "expected a number from 0".to_owned())
}

/// Reads a number of things of which there is at least one.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or_else(|| "expected a whole number from 1".to_owned())
}

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "mobilebert-eval", version, about = ABOUT, after_help = AFTER_HELP)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// SQuAD v1.1 or v2.0, as the file says: exact and f1
    Squad(Squad),
    /// The same; in a folder, the file of v2.0 is looked for first
    Squad2(Squad),
    /// GLUE SST-2: accuracy
    Sst2(Common),
    /// GLUE MRPC: f1 and accuracy
    Mrpc(Common),
    /// GLUE QQP: f1 and accuracy
    Qqp(Common),
    /// GLUE QNLI: accuracy
    Qnli(Common),
    /// GLUE RTE: accuracy
    Rte(Common),
    /// GLUE CoLA: Matthews' correlation
    Cola(Common),
    /// GLUE STS-B: Pearson's and Spearman's correlations
    Stsb(Common),
    /// GLUE MNLI, matched or mismatched: accuracy
    Mnli(Common),
    /// Named entities in a CoNLL file: f1 of entities, as seqeval
    Ner(Common),
    /// Any .csv, .tsv or .jsonl with texts and labels: accuracy and macro_f1
    Classify(Classify),
    /// Pairs of texts with scores from 0 to 5, such as STS-B, by the cosine of their vectors: Spearman's and
    /// Pearson's correlations
    Embed(Common),
    /// Compare answers, span by span, with those that another implementation recorded
    Certify(Certify),
    /// Measure latency and throughput in LoadGen-style scenarios
    Latency(Latency),
    /// Join results (.json of --report) into one page
    Report(Report),
    /// Find the layer, tensor and channel that change an answer
    Debug(Debug),
    /// List tasks: files, sources, licences
    Tasks,
}

impl Command {
    /// The task and the common flags of the commands that score a dataset.
    pub(crate) fn task(&self) -> Option<(Task, &Common)> {
        Some(match self {
            Command::Squad(args) | Command::Squad2(args) => (Task::Squad, &args.common),
            Command::Sst2(args) => (Task::Glue(GlueTask::Sst2), args),
            Command::Mrpc(args) => (Task::Glue(GlueTask::Mrpc), args),
            Command::Qqp(args) => (Task::Glue(GlueTask::Qqp), args),
            Command::Qnli(args) => (Task::Glue(GlueTask::Qnli), args),
            Command::Rte(args) => (Task::Glue(GlueTask::Rte), args),
            Command::Cola(args) => (Task::Glue(GlueTask::Cola), args),
            Command::Stsb(args) => (Task::Glue(GlueTask::StsB), args),
            Command::Mnli(args) => (Task::Glue(GlueTask::Mnli), args),
            Command::Ner(args) => (Task::Entities, args),
            Command::Embed(args) => (Task::Embeddings, args),
            Command::Classify(args) => (Task::Labels, &args.common),
            _ => return None,
        })
    }
}

/// Flags that choose the model and how it is run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Model {
    /// Model: folder, built-in name (qa, sentiment, ner, embed) or hub id
    #[arg(long, value_name = "SOURCE")]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) how: How,
}

/// Flags that say how a model is run.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "how")]
pub(crate) struct How {
    /// Arithmetic: int8, bf16 or f32. Default: int8 if the weights are int8, else f32
    #[arg(long, value_name = "TYPE")]
    pub(crate) precision: Option<Precision>,
    /// Who computes: native or candle
    #[arg(long, value_name = "NAME")]
    pub(crate) backend: Option<BackendKind>,
    /// Number of threads. Default: one for each processor
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Longest sequence in tokens. Default: the pipeline's
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_seq_len: Option<usize>,
}

/// Flags of all tasks.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) model: Model,
    /// The examples: a file, or a folder of data sets
    #[arg(long, value_name = "PATH")]
    pub(crate) data: PathBuf,
    /// Only the first examples
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub(crate) limit: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Show no progress
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Write the predictions in the official format: JSON for SQuAD, TSV for GLUE, CoNLL for entities
    #[arg(long, value_name = "FILE")]
    pub(crate) predictions: Option<PathBuf>,
    /// Write a report: .html, .md or .json; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Vec<PathBuf>,
    /// Keep predictions in this file while they are made, and after. Default: a file in the user's cache,
    /// removed when all are made
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Start anew, and keep no log
    #[arg(long, conflicts_with = "log")]
    pub(crate) no_resume: bool,
}

/// `mobilebert-eval squad`
#[derive(Debug, clap::Args)]
pub(crate) struct Squad {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Write n-best answers in the official format
    #[arg(long, value_name = "FILE")]
    pub(crate) n_best: Option<PathBuf>,
    /// Answers of each question in --n-best
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = at_least_one, requires = "n_best")]
    pub(crate) n_best_size: usize,
    /// Write null odds in the official format (v2.0: how sure the model is that there is no answer)
    #[arg(long, value_name = "FILE")]
    pub(crate) null_odds: Option<PathBuf>,
    /// v2.0: null odds above this are the empty answer. Default: 0
    #[arg(long, value_name = "ODDS", value_parser = number, allow_hyphen_values = true)]
    pub(crate) null_threshold: Option<f32>,
    /// Tokens that neighbouring windows share. Default: 128
    #[arg(long, value_name = "TOKENS")]
    pub(crate) doc_stride: Option<usize>,
    /// Longest question in tokens; a longer one is an error. Default: 64
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_question_len: Option<usize>,
    /// Longest answer in tokens. Default: 30
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_answer_len: Option<usize>,
}

/// `mobilebert-eval classify`
#[derive(Debug, clap::Args)]
pub(crate) struct Classify {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Column of the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) text_column: String,
    /// Column of a second text, for pairs
    #[arg(long, value_name = "NAME")]
    pub(crate) pair_column: Option<String>,
    /// Column of the label
    #[arg(long, value_name = "NAME", default_value = "label")]
    pub(crate) label_column: String,
}

/// `mobilebert-eval certify`
#[derive(Debug, clap::Args)]
pub(crate) struct Certify {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Recorded answers: JSON of ids to texts, or JSON lines with id, answer, start_char, end_char and logits
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: PathBuf,
    /// Fail if fewer answers are equal, in percent
    #[arg(long, value_name = "PERCENT", value_parser = between(0.0, 100.0))]
    pub(crate) min_equal: Option<f64>,
    /// Logits closer than this, relative to their size, are a tie
    #[arg(long, value_name = "X", default_value_t = 1e-5, value_parser = not_negative)]
    pub(crate) tie: f32,
    /// List every disagreement, not the first 20
    #[arg(long)]
    pub(crate) all: bool,
}

/// The scenarios of MLPerf's LoadGen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One query after another: 90th percentile of latency
    SingleStream,
    /// Eight sequences in a query: 99th percentile of latency
    MultiStream,
    /// Queries at random times: 99th percentile of latency under a bound
    Server,
    /// All at once: throughput
    Offline,
}

/// `mobilebert-eval latency`
#[derive(Debug, clap::Args)]
pub(crate) struct Latency {
    /// Model: folder, built-in name (qa, sentiment, ner, embed) or hub id
    #[arg(long, value_name = "SOURCE", required_unless_present = "url")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) how: How,
    #[command(flatten)]
    pub(crate) load: Load,
    /// Task of --data: squad, sst2, ..., ner, classify, embed
    // Whatever conflicts with a flag conflicts with those that need it, because clap does not ask for a flag
    // that is ruled out.
    #[arg(long, value_name = "TASK", requires = "data", conflicts_with = "seq_len")]
    pub(crate) task: Option<Task>,
    /// Real inputs: a file of the task
    #[arg(long, value_name = "PATH", requires = "task")]
    pub(crate) data: Option<PathBuf>,
    /// Sequences of this many tokens instead of real inputs
    #[arg(long, value_name = "TOKENS", conflicts_with_all = ["data", "task"], default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// Scenarios; may be repeated. Default: all
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Vec<Scenario>,
    /// Seconds of each scenario, at least
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = between(0.001, 86_400.0))]
    pub(crate) duration: f64,
    /// Server and --url: queries a second. Default of Server: 60 % of what SingleStream could do
    #[arg(long, value_name = "N", value_parser = between(0.01, 1e6))]
    pub(crate) qps: Option<f64>,
    /// Server: bound of the 99th percentile in milliseconds. Default: 10 times the median of SingleStream
    #[arg(long, value_name = "MS", value_parser = between(0.001, 1e7))]
    pub(crate) latency_bound: Option<f64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a report: .html, .md or .json; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Vec<PathBuf>,
}

/// The flags of `mobilebert-eval latency --url`
#[derive(Debug, clap::Args)]
#[group(id = "load")]
pub(crate) struct Load {
    /// Measure a server instead of an engine: where POST requests go, http://HOST:PORT/PATH
    #[arg(long, value_name = "URL",
          conflicts_with_all = ["model", "how", "seq_len", "scenario", "latency_bound", "report"])]
    pub(crate) url: Option<String>,
    /// JSON of a request, with {text}, {pair}, {question} and {context} where those of --data go. Default: that
    /// of the native routes
    #[arg(long, value_name = "JSON", requires = "url")]
    pub(crate) body: Option<String>,
    /// A header of each request, such as an API key; may be repeated
    #[arg(long, value_name = "NAME: VALUE", requires = "url")]
    pub(crate) header: Vec<String>,
    /// Find the highest rate at which 99 % of the requests are answered within this time
    #[arg(long, value_name = "MS", requires = "url", conflicts_with = "qps",
          value_parser = between(0.001, 1e7))]
    pub(crate) p99_ms: Option<f64>,
    /// Connections, and so the most requests at the same time
    #[arg(long, value_name = "N", requires = "url", default_value_t = 128, value_parser = at_least_one)]
    pub(crate) connections: usize,
    /// Process of the server on this machine, whose processor time and memory are shown too
    #[arg(long, value_name = "PID", requires = "url")]
    pub(crate) server_pid: Option<u32>,
    /// Number from which the times of arrival are made
    #[arg(long, value_name = "N", requires = "url", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// `mobilebert-eval report`
#[derive(Debug, clap::Args)]
pub(crate) struct Report {
    /// Results: .json files that --report wrote
    #[arg(required = true, value_name = "FILE")]
    pub(crate) results: Vec<PathBuf>,
    /// What to write: .html, .md or .json; may be repeated
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) out: Vec<PathBuf>,
    /// Numbers of others: JSON array of objects with `name` and any of `f1`, `exact`, `accuracy`,
    /// `latency_ms`, `bytes`
    #[arg(long, value_name = "FILE")]
    pub(crate) peers: Option<PathBuf>,
}

/// `mobilebert-eval debug`
#[derive(Debug, clap::Args)]
pub(crate) struct Debug {
    /// The model whose answer is in question
    #[command(flatten)]
    pub(crate) model: Model,
    /// The model whose answer is right, run in f32. Default: the same model
    #[arg(long, value_name = "SOURCE")]
    pub(crate) reference: Option<String>,
    /// The question
    #[arg(long, value_name = "TEXT", requires = "context", conflicts_with = "data")]
    pub(crate) question: Option<String>,
    /// The context
    // Where an argument conflicts with one that is given, clap does not require it, so both conflicts are
    // named.
    #[arg(long, value_name = "TEXT", requires = "question", conflicts_with = "data")]
    pub(crate) context: Option<String>,
    /// A SQuAD file
    #[arg(long, value_name = "FILE", required_unless_present = "question")]
    pub(crate) data: Option<PathBuf>,
    /// A question of --data. Default: the first whose answer differs
    #[arg(long, value_name = "ID", requires = "data", conflicts_with = "question")]
    pub(crate) id: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
