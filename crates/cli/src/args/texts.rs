//! Defines the flags of the commands that read texts.

use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use mobilebert::{AggregationStrategy, FunctionToApply, LongText, OffsetUnit, Pooling};

use super::{at_least, output_path, up_to};

pub(super) const EXAMPLE_ANSWER: &str = "\
Example:
  $ mobilebert answer --question \"Who built it?\" \\
      --context \"It was built by Ada.\" --json
  {\"question_index\":0,\"score\":0.98,\"start\":16,\"end\":19,
   \"answer\":\"Ada\"}

\"question_index\" counts the questions from 0. An answer in several places has
\"others\", with the score, start and end of each of the other places.";

pub(super) const EXAMPLE_CLASSIFY: &str = "\
Example:
  $ mobilebert classify \"a joy to watch\" --json
  {\"label\":\"positive\",\"score\":0.99}

\"truncated\":true says that the end of the text did not fit the model and
was not read; see --long-text.";

pub(super) const EXAMPLE_TAG: &str = "\
Example:
  $ mobilebert tag \"Ada works in Paris.\" --json
  [{\"entity_group\":\"PER\",\"score\":0.99,\"word\":\"Ada\",\"start\":0,\"end\":3},
   {\"entity_group\":\"LOC\",\"score\":0.99,\"word\":\"Paris\",\"start\":13,\"end\":18}]";

pub(super) const EXAMPLE_FILL_MASK: &str = "\
Example:
  $ mobilebert fill-mask --model mlm-model --top-k 1 --json \\
      \"Paris is [MASK].\"
  [{\"sequence\":\"Paris is big.\",\"score\":0.9,\"token\":2502,\"token_str\":\"big\"}]

With several masks: an array of such arrays, one for each mask.";

pub(super) const EXAMPLE_EMBED: &str = "\
Example:
  $ mobilebert embed \"a joy to watch\" --json
  {\"embedding\":[-0.033,0.012,...]}
  $ mobilebert embed --input texts.txt --output vectors.npy

.npy holds the vectors alone: f32 of the shape (texts, numbers). Row i is text
i, counted from 0, and all NaN if the text failed. .csv has a column for each
number, .parquet one of lists (feature `parquet`); both repeat the input, and
have \"truncated\" and \"error\". For .npy standard error names the texts whose
end was not read.";

pub(super) const EXAMPLE_TOKENIZE: &str = "\
Example:
  $ mobilebert tokenize \"Hello\" --json
  {\"ids\":[101,7592,102],\"tokens\":[\"[CLS]\",\"hello\",\"[SEP]\"],
   \"offsets\":[[0,0],[0,5],[0,0]]}

The command writes it on one line.";

/// The format of a batch file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TableFormat {
    Tsv,
    Csv,
    #[value(name = "jsonl")]
    JsonLines,
    #[value(name = "txt")]
    Lines,
}

/// The format of an output file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OutputFormat {
    #[value(name = "jsonl")]
    JsonLines,
    Tsv,
    Csv,
    Npy,
    Parquet,
}

impl OutputFormat {
    pub(crate) const ALL: [Self; 5] = [Self::JsonLines, Self::Tsv, Self::Csv, Self::Npy, Self::Parquet];

    /// Returns the name of the format, which is also the extension of its files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Tsv => "tsv",
            Self::Csv => "csv",
            Self::Npy => "npy",
            Self::Parquet => "parquet",
        }
    }

    /// Returns the format that the extension of a file names.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        let extension = if extension == "ndjson" { "jsonl" } else { &extension };
        Self::ALL.into_iter().find(|format| format.name() == extension)
    }
}

/// Where texts come from and results go.
#[derive(Debug, clap::Args)]
pub(crate) struct Texts {
    /// The text, or `-` for one text a line from standard input
    #[arg(
        value_name = "TEXT",
        required_unless_present = "input",
        conflicts_with_all = OF_INPUT,
        conflicts_with_all = ["input", "text_column"]
    )]
    pub(crate) text: Option<String>,
    /// Batch file: .tsv, .csv, .jsonl, or .txt with one text a line; `-` for standard input, with --format;
    /// or a folder, in which each .txt and .md file is one text; hidden files and folders in it are not read
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Column of --input that holds the text: its name, or its number from 1. Default: `text`
    #[arg(long, value_name = "NAME|N", requires = "input")]
    pub(crate) text_column: Option<String>,
    #[command(flatten)]
    pub(crate) batch: Batch,
}

/// For the commands whose model reads several texts at once.
#[derive(Debug, clap::Args)]
pub(crate) struct AtOnce {
    /// Texts that the model reads at once, up to 1024: more is faster, and answers come later. Default: 32
    /// for files, 1 for a pipe
    #[arg(long, value_name = "N", value_parser = up_to(1, MAX_BATCH))]
    pub(crate) batch_size: Option<usize>,
}

/// The flags of [`Batch`] that need --input. Whatever conflicts with --input conflicts with them, because
/// clap does not ask for a flag that is ruled out.
const OF_INPUT: [&str; 3] = ["no_header", "format", "delimiter"];

/// Flags for batch files of any command.
#[derive(Debug, clap::Args)]
pub(crate) struct Batch {
    /// The first line of --input (.tsv, .csv) is data; columns go by number
    #[arg(long, requires = "input")]
    pub(crate) no_header: bool,
    /// Format of --input, instead of the one that its extension names
    #[arg(long, value_name = "FORMAT", requires = "input")]
    pub(crate) format: Option<TableFormat>,
    /// What separates the cells of a .csv file: one character, or `tab`. Default: a comma, or `;`, `|` or a
    /// tab if only that one gives the columns
    #[arg(long, value_name = "CHAR", value_parser = delimiter, requires = "input")]
    pub(crate) delimiter: Option<u8>,
    /// Write the input's columns and the results to this file: .jsonl; answer, classify and embed also write
    /// .tsv and .csv, and embed .npy and .parquet
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    pub(crate) output: Option<PathBuf>,
    /// Format of --output, instead of the one that its extension names
    #[arg(long, value_name = "FORMAT", requires = "output")]
    pub(crate) output_format: Option<OutputFormat>,
}

impl Texts {
    /// Returns the place that texts come from, or `None` for a text of the command line.
    pub(crate) fn source(&self) -> Option<&Path> {
        let stdin = self.text.as_deref().filter(|text| *text == "-").map(Path::new);
        self.input.as_deref().or(stdin)
    }
}

/// The largest number of texts in a batch. The memory that a model takes grows with it.
const MAX_BATCH: usize = 1024;
/// The largest number of labels or words in a result. No vocabulary is much larger.
const MAX_RANKED: usize = 1_000_000;
/// The largest number of answers to a question. The candidates of each window of a context are kept until the
/// last window has been read.
const MAX_ANSWERS: usize = 1000;

/// Reads a separator of cells.
fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        &[byte] if byte.is_ascii_punctuation() && byte != b'"' || byte == b'\t' => Ok(byte),
        _ => Err("expected `,`, `;`, `|`, `tab` or another punctuation mark, but `\"`".to_owned()),
    }
}

/// Reads the unit of offsets, whose names are plurals.
fn offset_unit() -> impl TypedValueParser<Value = OffsetUnit> {
    let units = [
        PossibleValue::new("bytes").help("Bytes of UTF-8: Rust, Go, C"),
        PossibleValue::new("chars").help("Code points: Python"),
        PossibleValue::new("utf16").help("UTF-16 units: JavaScript, Java, C#"),
    ];
    PossibleValuesParser::new(units).try_map(|name| name.parse::<OffsetUnit>())
}

/// `mobilebert answer`
#[derive(Debug, clap::Args)]
pub(crate) struct Answer {
    /// A question; may be repeated
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with_all = OF_INPUT)]
    pub(crate) question: Vec<String>,
    /// File with one question a line; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = OF_INPUT)]
    pub(crate) questions_file: Option<PathBuf>,
    /// The text to search for answers; `-` for standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with_all = OF_INPUT)]
    pub(crate) context: Option<String>,
    /// File that holds the context; `-` for standard input. Each question is put to each text of a folder
    #[arg(long, value_name = "FILE", conflicts_with = "context", conflicts_with_all = OF_INPUT)]
    pub(crate) context_file: Option<PathBuf>,
    /// Batch file with columns `question` and `context`: .tsv, .csv or .jsonl; `-` for standard input, with
    /// --format
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["question", "questions_file", "context", "context_file"]
    )]
    pub(crate) input: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) batch: Batch,
    /// Number of answers to each question at most, up to 1000. In tables each is a row, without the other places
    /// of the same text, which its score counts too
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to(0, MAX_ANSWERS))]
    pub(crate) top_k: usize,
    /// Tokens that neighbouring windows of a long context share. Default: 128, or half of --max-seq-len if
    /// that is less
    #[arg(long, value_name = "N")]
    pub(crate) doc_stride: Option<usize>,
    /// Longest sequence in tokens: question and window. Default: 384 or the model's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// Longest question in tokens. Default: 64
    #[arg(long, value_name = "N")]
    pub(crate) max_question_len: Option<usize>,
    /// Longest answer in tokens. Default: 30
    #[arg(long, value_name = "N")]
    pub(crate) max_answer_len: Option<usize>,
    /// Allow "the context does not say": an empty answer at 0..0 (models trained on SQuAD 2.0)
    #[arg(long)]
    pub(crate) handle_impossible_answer: bool,
    /// Null odds above which "the context does not say" comes first: the higher, the more answers. Default:
    /// the model's, or 0
    #[arg(long, value_name = "ODDS", requires = "handle_impossible_answer", allow_hyphen_values = true)]
    pub(crate) null_threshold: Option<f32>,
    /// Let "the context does not say" take its share of the scores without being an answer, as in
    /// transformers: a low best score then means that the context may not say
    #[arg(long)]
    pub(crate) null_competes: bool,
    /// Make each place of a repeated answer an answer of its own. Without this, its scores are added up, and
    /// --json lists the other places under "others"
    #[arg(long)]
    pub(crate) no_merge_equal_texts: bool,
    /// Read only so many windows of a long context, those first that have most words in common with the
    /// question. The output says how many were read; --json also lists the unread parts
    #[arg(long, value_name = "N", value_parser = up_to(1, usize::MAX))]
    pub(crate) max_windows: Option<usize>,
    /// Stop reading a long context after so many milliseconds for each question, as --max-windows does
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) deadline_ms: Option<u64>,
    /// Read [SEP] and the like in questions and contexts as plain text, not as special tokens
    #[arg(long)]
    pub(crate) no_special_tokens_in_text: bool,
    /// Unit of start and end
    #[arg(long, value_name = "UNIT", default_value = "bytes", value_parser = offset_unit())]
    pub(crate) offsets: OffsetUnit,
    /// Show how far the search is on standard error, even if that is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
}

/// `mobilebert classify`
#[derive(Debug, clap::Args)]
pub(crate) struct Classify {
    #[command(flatten)]
    pub(crate) texts: Texts,
    #[command(flatten)]
    pub(crate) at_once: AtOnce,
    /// Second text of a pair; the same for each line of standard input
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input")]
    pub(crate) pair: Option<String>,
    /// Column of --input that holds the second text of each pair
    #[arg(long, value_name = "NAME|N", requires = "input", conflicts_with = "text")]
    pub(crate) pair_column: Option<String>,
    /// Number of labels at most, best first. Tables have the best one only
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = up_to(0, MAX_RANKED))]
    pub(crate) top_k: usize,
    /// Leave out labels that score less
    #[arg(long, value_name = "SCORE", value_parser = |text: &str| at_least(f64::MIN)(text).map(|score| score as f32))]
    pub(crate) threshold: Option<f32>,
    /// From logits to scores: auto (as the model's problem_type says), softmax, sigmoid or none
    #[arg(long, value_name = "FUNCTION", default_value = "auto")]
    pub(crate) function_to_apply: FunctionToApply,
    /// Texts longer than the model: truncate, windows-mean, windows-max or refuse
    #[arg(long, value_name = "RULE", default_value = "truncate")]
    pub(crate) long_text: LongText,
    /// Longest sequence in tokens: text, or both texts of a pair, or a window. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// Tokens that neighbouring windows of --long-text share. Default: 128, or half of --max-seq-len if that
    /// is less
    #[arg(long, value_name = "N")]
    pub(crate) doc_stride: Option<usize>,
    /// Report only these labels, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) labels: Vec<String>,
}

/// `mobilebert tag`
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    #[command(flatten)]
    pub(crate) texts: Texts,
    /// How tokens become entities: none, simple, first, average or max
    #[arg(long, value_name = "STRATEGY", default_value = "simple")]
    pub(crate) aggregation_strategy: AggregationStrategy,
    /// Leave out these labels, separated by commas. Default: O
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) ignore_labels: Option<Vec<String>>,
    /// Longest window in tokens; a longer text is cut into several. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// Tokens that neighbouring windows share. Default: 128, or half of --max-seq-len if that is less
    #[arg(long, value_name = "N")]
    pub(crate) doc_stride: Option<usize>,
    /// Unit of start and end
    #[arg(long, value_name = "UNIT", default_value = "bytes", value_parser = offset_unit())]
    pub(crate) offsets: OffsetUnit,
    /// Show how far a long text is on standard error, even if that is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
}

/// `mobilebert fill-mask`
#[derive(Debug, clap::Args)]
pub(crate) struct FillMask {
    #[command(flatten)]
    pub(crate) texts: Texts,
    /// Number of words for each mask
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = up_to(0, MAX_RANKED))]
    pub(crate) top_k: usize,
    /// Rank only these words, separated by commas
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) targets: Vec<String>,
}

/// `mobilebert embed`
#[derive(Debug, clap::Args)]
pub(crate) struct Embed {
    #[command(flatten)]
    pub(crate) texts: Texts,
    #[command(flatten)]
    pub(crate) at_once: AtOnce,
    /// How tokens become one vector: mean, cls, max, mean_sqrt_len, weighted_mean or last_token. Default: as
    /// the model's folder says, else mean
    #[arg(long, value_name = "RULE")]
    pub(crate) pooling: Option<Pooling>,
    /// Leave vectors as long as they are, instead of length 1
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Longest sequence in tokens; the end of a longer text is not read. Default: the model's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
}

/// `mobilebert tokenize`
#[derive(Debug, clap::Args)]
pub(crate) struct Tokenize {
    #[command(flatten)]
    pub(crate) texts: Texts,
    /// Second text of a pair; the same for each line of standard input. JSON then also has "type_ids"
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true, conflicts_with = "input")]
    pub(crate) pair: Option<String>,
    /// Unit of the offsets
    #[arg(long, value_name = "UNIT", default_value = "bytes", value_parser = offset_unit())]
    pub(crate) offsets: OffsetUnit,
}
