//! Arguments as the user writes them. Each flag is also an environment variable; the flag wins, also over the variables
//! of flags that it conflicts with.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use mobilebert::quant::Scales;
use mobilebert::task::Task;
use mobilebert::{AggregationStrategy, BackendKind, FunctionToApply, LongText, Pooling, Precision};

const ABOUT: &str = "Answers questions, classifies, tags and embeds text with compact BERT models, offline";

const LONG_ABOUT: &str = "\
Answers questions, classifies, tags and embeds text with compact BERT models, offline.

A model is a folder in Hugging Face's layout (config.json, vocab.txt or tokenizer.json, model.safetensors), a built-in \
name (qa, sentiment), or a hub id (org/name or org/name@revision).";

const AFTER_HELP: &str = "\
Examples:
  mobilebert answer --question \"Who built it?\" --context \"Ada built it.\"
  mobilebert classify \"a joy to watch\" --json
  printf 'one\\ntwo\\n' | mobilebert classify - --json

Text:
  `-` reads one text a line from standard input and writes one result for
  each, in order. A line ends at \\n; one \\r in front of it is part of the
  line end. Nothing else is changed: NUL bytes, spaces and a byte order mark
  are text. Offsets count from 0 and refer to the line without its end, or
  to the whole file for --context-file. Text must be UTF-8.
  Put `--` in front of a text that begins with a hyphen.

Batch files (--input), by extension:
  .tsv    the first line names the columns; quotation marks are text
  .csv    the same, quoted as in RFC 4180; blank lines are skipped
  .jsonl  one object a line; columns are its fields
  .txt    one text a line
  A byte order mark at the start of .tsv, .csv and .jsonl is skipped.
  --output writes .tsv without quotation marks too: a tab or a line end in a
  cell becomes a space.

Environment:
  Each flag has a variable, such as MOBILEBERT_MODEL for --model. The flag
  wins over its variable, and over those of flags that do not go with it. A
  switch is off if its variable is empty, 0, no, off or false.

Exit codes:
  0  all well (also if the reader of the output stopped reading)
  1  some input or the model failed; with several inputs each failure is in
     the output, in the place of its result
  2  wrong usage
  3  quantize: the score drops too far, and nothing was written";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "mobilebert", version, about = ABOUT, long_about = LONG_ABOUT, after_help = AFTER_HELP)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

impl Args {
    /// Parses the arguments; the first one is the program's name.
    pub(super) fn parse_from_os(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().collect();
        // What is wrong with the arguments is for the second pass to say, which knows the variables too.
        let written = Self::command().ignore_errors(true).try_get_matches_from(&arguments).ok();
        let command = with_environment(Self::command(), written.as_ref());
        let mut command = command.mut_subcommands(with_exit_codes);
        let mut matches: ArgMatches = command.try_get_matches_from_mut(arguments)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// Whether a command has the flag, given without its hyphens.
pub(super) fn is_flag(long: &str) -> bool {
    fn has(command: &clap::Command, long: &str) -> bool {
        command.get_arguments().any(|arg| arg.get_long() == Some(long))
            || command.get_subcommands().any(|subcommand| has(subcommand, long))
    }
    has(&Args::command(), long)
}

/// Gives each flag of the command and of its subcommands the environment variable that its name suggests, but for flags
/// that conflict with what is `written` on the command line.
fn with_environment(command: clap::Command, written: Option<&ArgMatches>) -> clap::Command {
    let is_written = |arg: &Arg| {
        written.is_some_and(|matches| {
            matches.ids().any(|id| id == arg.get_id())
                && matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
        })
    };
    let conflict = |a: &Arg, b: &Arg| {
        let declared =
            |a, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id());
        declared(a, b) || declared(b, a)
    };
    let overruled =
        |arg: &Arg| command.get_arguments().any(|other| is_written(other) && conflict(arg, other));
    let overruled: Vec<clap::Id> =
        command.get_arguments().filter(|arg| overruled(arg)).map(|arg| arg.get_id().clone()).collect();
    let with_variable = |arg: Arg| {
        let Some(name) = arg.get_long().map(|long| long.to_uppercase().replace('-', "_")) else { return arg };
        if overruled.contains(arg.get_id()) {
            return arg;
        }
        let arg = arg.env(format!("MOBILEBERT_{name}")).hide_env_values(true);
        match arg.get_action() {
            ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
            _ => arg,
        }
    };
    command.mut_args(with_variable).mut_subcommands(|subcommand| {
        let written = written.and_then(|matches| matches.subcommand_matches(subcommand.get_name()));
        with_environment(subcommand, written)
    })
}

/// Ends a subcommand's help with the exit codes.
fn with_exit_codes(command: clap::Command) -> clap::Command {
    const EXIT_CODES: &str = "Exit codes: 0 all well, 1 some input or the model failed, 2 wrong usage";
    let help = command.get_after_help().map(|help| format!("{help}\n\n{EXIT_CODES}"));
    command.after_help(help.unwrap_or_else(|| EXIT_CODES.to_owned()))
}

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Model: folder, built-in name (qa, sentiment) or hub id. Default: sentiment for classify, none for tag and
    /// fill-mask, else qa
    #[arg(long, global = true, value_name = "SOURCE")]
    pub(super) model: Option<String>,
    /// Who computes
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) backend: Option<BackendKind>,
    /// Number of threads. Default: one for each processor
    #[arg(long, global = true, value_name = "N")]
    pub(super) threads: Option<usize>,
    /// Arithmetic of the native backend: int8 or f32. Default: int8 if the weights are int8, else f32
    #[arg(long, global = true, value_name = "TYPE")]
    pub(super) precision: Option<Precision>,
    /// Write JSON, one value a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Show no progress bar
    #[arg(long, global = true)]
    pub(super) quiet: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Answer questions with pieces of a context
    #[command(after_help = EXAMPLE_ANSWER)]
    Answer(Answer),
    /// Label texts, or pairs of texts
    #[command(after_help = EXAMPLE_CLASSIFY)]
    Classify(Classify),
    /// Label the words of texts: named entities and the like
    #[command(after_help = EXAMPLE_TAG)]
    Tag(Tag),
    /// Find words for each [MASK]
    #[command(after_help = EXAMPLE_FILL_MASK)]
    FillMask(FillMask),
    /// Turn texts into vectors
    #[command(after_help = EXAMPLE_EMBED)]
    Embed(Embed),
    /// Show tokens, ids and offsets
    #[command(after_help = EXAMPLE_TOKENIZE)]
    Tokenize(Tokenize),
    /// Describe a model: configuration, tensors, sizes, hashes
    #[command(after_help = EXAMPLE_INSPECT)]
    Inspect,
    /// Run a model on token ids and show the raw numbers
    #[command(after_help = EXAMPLE_INFER)]
    Infer(Infer),
    /// Bring a model of another framework into a model folder
    #[command(after_help = EXAMPLE_CONVERT)]
    Convert(Convert),
    /// Write the int8 form of a model
    #[command(after_help = EXAMPLE_QUANTIZE)]
    Quantize(Quantize),
    /// Compare two models, answer by answer
    #[command(after_help = EXAMPLE_COMPARE)]
    Compare(Compare),
    /// Measure latency, throughput and memory
    #[command(after_help = EXAMPLE_BENCH)]
    Bench(Bench),
    /// Show where the time goes, operation by operation
    #[command(after_help = EXAMPLE_PROFILE, args_conflicts_with_subcommands = true)]
    Profile(Profile),
    /// Show what int8 costs each layer: its error against f32
    #[command(after_help = EXAMPLE_SQNR)]
    Sqnr(Sqnr),
    /// List the kernels, which of them this processor has, and which is picked
    #[command(after_help = EXAMPLE_KERNELS)]
    Kernels,
}

const EXAMPLE_ANSWER: &str = "\
Example:
  $ mobilebert answer --question \"Who built it?\" \\
      --context \"It was built by Ada.\" --json
  {\"score\":0.98,\"start\":16,\"end\":19,\"answer\":\"Ada\"}

With several questions each JSON line also has \"question_index\", from 0.";
const EXAMPLE_CLASSIFY: &str = "\
Example:
  $ mobilebert classify \"a joy to watch\" --json
  {\"label\":\"positive\",\"score\":0.99}

\"truncated\":true says that the end of the text did not fit the model and
was not read; see --long-text.";
const EXAMPLE_TAG: &str = "\
Example:
  $ mobilebert tag --model ner-model \"Ada works in Paris.\" --json
  [{\"entity_group\":\"PER\",\"score\":0.99,\"word\":\"Ada\",\"start\":0,\"end\":3}]";
const EXAMPLE_FILL_MASK: &str = "\
Example:
  $ mobilebert fill-mask --model mlm-model --top-k 1 --json \\
      \"Paris is [MASK].\"
  [{\"sequence\":\"Paris is big.\",\"score\":0.9,\"token\":2502,\"token_str\":\"big\"}]

With several masks: an array of such arrays, one for each mask.";
const EXAMPLE_EMBED: &str = "\
Example:
  $ mobilebert embed \"a joy to watch\" --json
  {\"embedding\":[0.031,-0.012,...]}";
const EXAMPLE_TOKENIZE: &str = "\
Example:
  $ mobilebert tokenize \"Hello\" --json
  {\"ids\":[101,7592,102],\"tokens\":[\"[CLS]\",\"hello\",\"[SEP]\"],
   \"offsets\":[[0,0],[0,5],[0,0]]}

The command writes it on one line.";
const EXAMPLE_INSPECT: &str = "\
Example:
  $ mobilebert inspect --model sentiment";
const EXAMPLE_INFER: &str = "\
Examples:
  $ mobilebert infer --model qa --ids 101,7592,102 --json
  {\"logits\":{\"start\":[-3.1,-5.2,-3.0],\"end\":[-2.8,-4.9,-3.3]}}
  $ echo '{\"ids\":[101,7592,102],\"type_ids\":[0,0,0]}' |
      mobilebert infer --model qa - --hash

The hash is the SHA-256 of the logits as little-endian f32, row by row
(question answering: start and end of the first token, then of the second).";
const EXAMPLE_CONVERT: &str = "\
Examples:
  $ mobilebert convert uncased_L-12/bert_model.ckpt my-model
  $ mobilebert convert pytorch_model.bin my-model --verify
  $ mobilebert convert org/name my-model --force --json

Reads, recognised by content: folders in Hugging Face's layout
(safetensors, PyTorch .bin, our int8) or one of their weight files,
TensorFlow checkpoints, ONNX and LiteRT graphs of BERT and MobileBERT,
float and int8.

The content hash is the same for the same weights in any format; `inspect`
shows it too. --verify runs source and result and shows the largest
difference of each layer; logits in an expected.json beside the source
are compared as well. DEST appears only when it is complete.";
const EXAMPLE_QUANTIZE: &str = "\
Examples:
  $ mobilebert quantize models/float models/int8
  $ mobilebert quantize models/float models/int8 --task sst2 \\
      --data dev.tsv --max-drop 0.3

With --task the f32 model and the int8 folder are scored on the same
examples. If the score drops by more than --max-drop, the modules that cost
most go back to f32, one after another (config.json then lists them). DEST
gets quantization.json, .md and .svg: scores with intervals, the error of
each module and tensor, and every answer that differs.

Exit code 3: the gate does not hold, and DEST was not written.";
const EXAMPLE_COMPARE: &str = "\
Example:
  $ mobilebert compare my-model my-int8 --task squad --data dev.json

Intervals hold 95 %; that of the difference is by the paired bootstrap,
McNemar's test is exact. \"flipped by\": A's modules are replaced by B's one
after another, from the embeddings on; this is the first that changes A's
answer. Models that differ in architecture have none.";

const EXAMPLE_BENCH: &str = "\
Example:
  $ mobilebert bench --model synthetic:mobilebert --precision int8 \\
      --seq-len 128 --threads 2 --json
  {...,\"p50_ms\":12.1,\"load_ms\":80.2,\"peak_rss_mb\":52.1,...}

Sequences are not padded. The headline is withheld while the quartiles of
the runs are more than 10 % apart.";
const EXAMPLE_PROFILE: &str = "\
Examples:
  $ mobilebert profile --model sentiment --seq-len 128 --threads 1
  $ mobilebert profile --save before.json
  $ mobilebert profile --save after.json
  $ mobilebert profile diff before.json after.json

Shares are of the time of all threads. `diff` reports an operation if a rank
test over the runs leaves less than 1 % chance of any false alarm.";
const EXAMPLE_SQNR: &str = "\
Examples:
  $ mobilebert sqnr --model sentiment
  $ mobilebert sqnr --model my-int8 --reference my-model --by-node
  $ mobilebert sqnr --model my-model --keep-f32 encoder.layer.0. --json

SQNR is 10 log10(signal / noise): the sum of the squares of the f32 numbers
over that of the differences. 6 dB are a bit. Errors are those that arrive
at a node, inherited ones included. The f32 weights of an int8 model are its
int8 weights; --reference names the model that they were made from.";
const EXAMPLE_KERNELS: &str = "\
Example:
  $ mobilebert kernels
  $ MOBILEBERT_KERNELS=avx2 mobilebert bench --precision int8";

/// Where texts come from and results go.
#[derive(Debug, clap::Args)]
pub(super) struct Texts {
    /// The text, or `-` for one text a line from standard input
    #[arg(value_name = "TEXT", required_unless_present = "input", conflicts_with = "input")]
    pub(super) text: Option<String>,
    /// Batch file: .tsv, .csv, .jsonl, or .txt with one text a line
    #[arg(long, value_name = "FILE")]
    pub(super) input: Option<PathBuf>,
    /// Column of --input that holds the text: its name, or its number from 1. Default: `text`, or the only column
    #[arg(long, value_name = "NAME|N")]
    pub(super) text_column: Option<String>,
    #[command(flatten)]
    pub(super) batch: Batch,
}

/// For the commands whose model reads several texts at once.
#[derive(Debug, clap::Args)]
pub(super) struct AtOnce {
    /// Texts that the model reads at once: more is faster, and answers come later. Default: 32 for files, 1 for a pipe
    #[arg(long, value_name = "N")]
    pub(super) batch_size: Option<NonZeroUsize>,
}

/// Flags for batch files of any command.
#[derive(Debug, clap::Args)]
pub(super) struct Batch {
    /// The first line of --input (.tsv, .csv) is data; columns go by number
    #[arg(long)]
    pub(super) no_header: bool,
    /// Write results to this file: .jsonl; answer and classify also write .tsv and .csv
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
}

/// What `start`, `end` and `offsets` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OffsetUnit {
    /// Bytes of UTF-8: Rust, Go, C
    Bytes,
    /// Code points: Python
    Chars,
    /// UTF-16 units: JavaScript, Java, C#
    Utf16,
}

/// `mobilebert answer`
#[derive(Debug, clap::Args)]
pub(super) struct Answer {
    /// A question; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) question: Vec<String>,
    /// File with one question a line; `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) questions_file: Option<PathBuf>,
    /// The text to search for answers; `-` for standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(super) context: Option<String>,
    /// File that holds the context; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "context")]
    pub(super) context_file: Option<PathBuf>,
    /// Batch file with columns `question` and `context`: .tsv, .csv or .jsonl
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["question", "questions_file", "context", "context_file"]
    )]
    pub(super) input: Option<PathBuf>,
    #[command(flatten)]
    pub(super) batch: Batch,
    /// Number of answers to each question at most
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) top_k: usize,
    /// Tokens that neighbouring windows of a long context share. Default: 128, or half of --max-seq-len if that is less
    #[arg(long, value_name = "N")]
    pub(super) doc_stride: Option<usize>,
    /// Longest sequence in tokens: question and window. Default: 384 or the model's limit
    #[arg(long, value_name = "N")]
    pub(super) max_seq_len: Option<usize>,
    /// Longest question in tokens. Default: 64
    #[arg(long, value_name = "N")]
    pub(super) max_question_len: Option<usize>,
    /// Longest answer in tokens. Default: 30
    #[arg(long, value_name = "N")]
    pub(super) max_answer_len: Option<usize>,
    /// Allow "the context does not say": an empty answer at 0..0 (models trained on SQuAD 2.0)
    #[arg(long)]
    pub(super) handle_impossible_answer: bool,
    /// Read [SEP] and the like in questions and contexts as plain text, not as special tokens
    #[arg(long)]
    pub(super) no_special_tokens_in_text: bool,
    /// Unit of start and end
    #[arg(long, value_name = "UNIT", default_value = "bytes")]
    pub(super) offsets: OffsetUnit,
}

/// `mobilebert classify`
#[derive(Debug, clap::Args)]
pub(super) struct Classify {
    #[command(flatten)]
    pub(super) texts: Texts,
    #[command(flatten)]
    pub(super) at_once: AtOnce,
    /// Second text of a pair; the same for each line of standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input")]
    pub(super) pair: Option<String>,
    /// Column of --input that holds the second text of each pair
    #[arg(long, value_name = "NAME|N", requires = "input")]
    pub(super) pair_column: Option<String>,
    /// Number of labels at most, best first
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) top_k: usize,
    /// Leave out labels that score less
    #[arg(long, value_name = "SCORE", allow_negative_numbers = true)]
    pub(super) threshold: Option<f32>,
    /// From logits to scores: auto (as the model's problem_type says), softmax, sigmoid or none
    #[arg(long, value_name = "FUNCTION", default_value = "auto")]
    pub(super) function_to_apply: FunctionToApply,
    /// Texts longer than the model: truncate, windows-mean, windows-max or refuse
    #[arg(long, value_name = "RULE", default_value = "truncate")]
    pub(super) long_text: LongText,
    /// Longest sequence in tokens: text, or both texts of a pair, or a window. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(super) max_seq_len: Option<usize>,
    /// Tokens that neighbouring windows of --long-text share. Default: 128, or half of --max-seq-len if that is less
    #[arg(long, value_name = "N")]
    pub(super) doc_stride: Option<usize>,
    /// Report only these labels, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) labels: Vec<String>,
}

/// `mobilebert tag`
#[derive(Debug, clap::Args)]
pub(super) struct Tag {
    #[command(flatten)]
    pub(super) texts: Texts,
    /// How tokens become entities: none, simple, first, average or max
    #[arg(long, value_name = "STRATEGY", default_value = "simple")]
    pub(super) aggregation_strategy: AggregationStrategy,
    /// Leave out these labels, separated by commas. Default: O
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) ignore_labels: Option<Vec<String>>,
    /// Longest window in tokens; a longer text is cut into several. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(super) max_seq_len: Option<usize>,
    /// Tokens that neighbouring windows share. Default: 128, or half of --max-seq-len if that is less
    #[arg(long, value_name = "N")]
    pub(super) doc_stride: Option<usize>,
    /// Unit of start and end
    #[arg(long, value_name = "UNIT", default_value = "bytes")]
    pub(super) offsets: OffsetUnit,
}

/// `mobilebert fill-mask`
#[derive(Debug, clap::Args)]
pub(super) struct FillMask {
    #[command(flatten)]
    pub(super) texts: Texts,
    /// Number of words for each mask
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) top_k: usize,
    /// Rank only these words, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(super) targets: Vec<String>,
}

/// `mobilebert embed`
#[derive(Debug, clap::Args)]
pub(super) struct Embed {
    #[command(flatten)]
    pub(super) texts: Texts,
    #[command(flatten)]
    pub(super) at_once: AtOnce,
    /// How tokens become one vector: mean or cls
    #[arg(long, value_name = "RULE", default_value = "mean")]
    pub(super) pooling: Pooling,
    /// Leave vectors as long as they are, instead of length 1
    #[arg(long)]
    pub(super) no_normalize: bool,
    /// Longest sequence in tokens; the end of a longer text is not read. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(super) max_seq_len: Option<usize>,
}

/// `mobilebert tokenize`
#[derive(Debug, clap::Args)]
pub(super) struct Tokenize {
    #[command(flatten)]
    pub(super) texts: Texts,
    /// Second text of a pair; the same for each line of standard input. JSON then also has "type_ids"
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input")]
    pub(super) pair: Option<String>,
    /// Unit of the offsets
    #[arg(long, value_name = "UNIT", default_value = "bytes")]
    pub(super) offsets: OffsetUnit,
}

/// `mobilebert infer`
#[derive(Debug, clap::Args)]
pub(super) struct Infer {
    /// JSON lines with "ids" and, optionally, "type_ids"; `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "ids", conflicts_with = "ids")]
    pub(super) file: Option<PathBuf>,
    /// Token ids, separated by commas
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub(super) ids: Vec<u32>,
    /// Segment of each token, separated by commas. Default: all 0
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "ids")]
    pub(super) type_ids: Vec<u32>,
    /// Write only the SHA-256 of the logits
    #[arg(long)]
    pub(super) hash: bool,
}

/// `mobilebert convert`
#[derive(Debug, clap::Args)]
pub(super) struct Convert {
    /// Model to read: a folder, a weight file, a checkpoint's prefix, a built-in name or a hub id
    #[arg(value_name = "SRC")]
    pub(super) source: String,
    /// Folder to write
    #[arg(value_name = "DEST")]
    pub(super) destination: PathBuf,
    /// Run the source and the result and compare them layer by layer
    #[arg(long)]
    pub(super) verify: bool,
    /// Replace DEST if it is a model folder
    #[arg(long)]
    pub(super) force: bool,
    /// Configuration, instead of the file beside the weights
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Vocabulary, instead of the file beside the weights
    #[arg(long, value_name = "FILE")]
    pub(super) vocab: Option<PathBuf>,
}

/// `mobilebert quantize`
#[derive(Debug, clap::Args)]
pub(super) struct Quantize {
    /// Model to read: folder, built-in name or hub id
    #[arg(value_name = "SRC")]
    pub(super) source: String,
    /// Folder to write; it must not exist
    #[arg(value_name = "DEST")]
    pub(super) destination: PathBuf,
    /// Score f32 and int8 on this task, and write DEST only if the gate holds: squad, ner, classify or a task of GLUE
    #[arg(long, value_name = "NAME", requires = "data")]
    pub(super) task: Option<Task>,
    /// Examples of --task
    #[arg(long, value_name = "FILE", requires = "task")]
    pub(super) data: Option<PathBuf>,
    /// Points that the task's main score may drop by. Default: 0.5
    #[arg(long, value_name = "POINTS", requires = "task")]
    pub(super) max_drop: Option<f64>,
    /// Score only the first examples
    #[arg(long, value_name = "N", requires = "task")]
    pub(super) limit: Option<NonZeroUsize>,
    /// Modules (layers, embeddings, pooler) that may go back to f32. Default: a quarter of them
    #[arg(long, value_name = "N", requires = "task")]
    pub(super) max_f32_modules: Option<usize>,
    /// Scales of weights: max (nothing is clipped) or error (of 49 for each row, the one with the least squared error)
    #[arg(long, value_name = "RULE", default_value = "max")]
    pub(super) scales: Scales,
}

/// `mobilebert compare`
#[derive(Debug, clap::Args)]
pub(super) struct Compare {
    /// First model: folder, built-in name or hub id
    #[arg(value_name = "A")]
    pub(super) a: String,
    /// Second model
    #[arg(value_name = "B")]
    pub(super) b: String,
    /// What both are asked: squad, ner, classify or a task of GLUE
    #[arg(long, value_name = "NAME")]
    pub(super) task: Task,
    /// Examples of the task
    #[arg(long, value_name = "FILE")]
    pub(super) data: PathBuf,
    /// Ask only the first examples
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<NonZeroUsize>,
}

/// `mobilebert bench`
#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    /// Tokens of each sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(super) seq_len: usize,
    /// Sequences in a pass
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) batch: usize,
    /// Timed passes at least
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) num_runs: usize,
    /// Passes before the timed ones
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) warmup_runs: usize,
    /// Seconds of timed passes at least
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    pub(super) min_secs: f64,
    /// Seconds after which no further pass begins
    #[arg(long, value_name = "S", default_value_t = 150.0)]
    pub(super) max_secs: f64,
}

/// `mobilebert profile`
#[derive(Debug, clap::Args)]
pub(super) struct Profile {
    #[command(subcommand)]
    pub(super) command: Option<ProfileCommand>,
    /// Tokens of the sequence
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(super) seq_len: usize,
    /// Recorded passes
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(super) num_runs: usize,
    /// Passes before the recorded ones
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(super) warmup_runs: usize,
    /// List every operation
    #[arg(long)]
    pub(super) by_op: bool,
    /// Write the last pass as a Chrome trace (chrome://tracing, Perfetto)
    #[arg(long, value_name = "FILE")]
    pub(super) trace: Option<PathBuf>,
    /// Write the profile for `profile diff`
    #[arg(long, value_name = "FILE")]
    pub(super) save: Option<PathBuf>,
}

/// What else to do with profiles.
#[derive(Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// Compare two saved profiles
    Diff(ProfileFiles),
}

/// `mobilebert profile diff`
#[derive(Debug, clap::Args)]
pub(super) struct ProfileFiles {
    /// Profile written with --save or --json
    #[arg(value_name = "BEFORE")]
    pub(super) before: PathBuf,
    /// Profile written with --save or --json
    #[arg(value_name = "AFTER")]
    pub(super) after: PathBuf,
}

/// `mobilebert sqnr`
#[derive(Debug, clap::Args)]
pub(super) struct Sqnr {
    /// Texts to run. Default: eight sentences; for synthetic models, --seq-len tokens
    #[arg(value_name = "TEXT")]
    pub(super) texts: Vec<String>,
    /// Model that is run in f32. Default: that of --model
    #[arg(long, value_name = "SOURCE")]
    pub(super) reference: Option<String>,
    /// Leave modules in f32 whose path begins with this; may be repeated
    #[arg(long, value_name = "MODULE")]
    pub(super) keep_f32: Vec<String>,
    /// Tokens of the sequence for synthetic models
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(super) seq_len: usize,
    /// List every node
    #[arg(long)]
    pub(super) by_node: bool,
}
