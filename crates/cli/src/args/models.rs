//! Defines the flags of the commands that read and write models.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use mobilebert::quant::{Bits, Scales};
use mobilebert_tools::task::Task;

use super::at_least;

pub(super) const EXAMPLE_INSPECT: &str = "\
Example:
  $ mobilebert inspect --model sentiment";

pub(super) const EXAMPLE_INFER: &str = "\
Examples:
  $ mobilebert infer --model qa --ids 101,7592,102 --json
  {\"logits\":{\"start\":[-3.1,-5.2,-3.0],\"end\":[-2.8,-4.9,-3.3]}}
  $ echo '{\"ids\":[101,7592,102],\"type_ids\":[0,0,0]}' |
      mobilebert infer --model qa - --hash

The hash is the SHA-256 of the logits as little-endian f32, row by row
(question answering: start and end of the first token, then of the second).";

pub(super) const EXAMPLE_CONVERT: &str = "\
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

pub(super) const EXAMPLE_QUANTIZE: &str = "\
Examples:
  $ mobilebert quantize models/float models/int8
  $ mobilebert quantize models/float models/int8 --task sst2 \\
      --data dev.tsv --max-drop 0.3
  $ mobilebert quantize models/float models/int4 --bits 4 --task sst2 \\
      --data dev.tsv --max-drop 1

With --bits 4 weights take half the space: 4 bits each, a multiplier for 32
of them and a scale for each row. They are expanded to int8 when they are
loaded, exactly, so the model is as fast as one of 8 bits.

With --task the f32 model and the folder are scored on the same examples. If
the score drops by more than --max-drop, the modules that cost most go back
to f32, one after another (config.json then lists them); with --bits 4 they
go to int8 first, and to f32 when all are. DEST
gets quantization.json, .md and .svg: scores with intervals, the error of
each module and tensor, and every answer that differs.

Exit code 3: the gate does not hold, and DEST was not written.";

pub(super) const EXAMPLE_FINETUNE: &str = "\
Examples:
  $ mobilebert finetune my-model tuned --task sst2 --data train.tsv
  $ mobilebert finetune my-model tuned --task sst2 --data train.tsv \\
      --qat --bits 4 --teacher my-model --rate 1e-5 --eval-data dev.tsv
  $ mobilebert quantize tuned tuned-int4 --bits 4

DEST is a folder in f32 that every command opens. With --qat each step
computes what the int8 engine would with the weights of that step in --bits,
so `quantize` gives the model that was trained. With --eval-data SRC and
DEST are scored: quantised with --qat, else in f32.

All weights learn, by AdamW: the rate rises over the first tenth of the
steps and then falls to 0. SRC needs the head of the task; for embed any model
will do, and DEST has no head. The same flags give the same bits on the same
machine.";

pub(super) const EXAMPLE_COMPARE: &str = "\
Example:
  $ mobilebert compare my-model my-int8 --task squad --data dev.json

Intervals hold 95 %; that of the difference is by the paired bootstrap,
McNemar's test is exact. \"flipped by\": A's modules are replaced by B's one
after another, from the embeddings on; this is the first that changes A's
answer. Models that differ in architecture have none.";

pub(super) const EXAMPLE_SQNR: &str = "\
Examples:
  $ mobilebert sqnr --model sentiment
  $ mobilebert sqnr --model my-int8 --reference my-model --by-node
  $ mobilebert sqnr --model my-model --keep-f32 encoder.layer.0. --json

SQNR is 10 log10(signal / noise): the sum of the squares of the f32 numbers
over that of the differences. 6 dB are a bit. Errors are those that arrive
at a node, inherited ones included. The f32 weights of an int8 model are its
int8 weights; --reference names the model that they were made from.";

/// `mobilebert infer`
#[derive(Debug, clap::Args)]
pub(crate) struct Infer {
    /// JSON lines with "ids" and, optionally, "type_ids"; `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "ids", conflicts_with_all = ["ids", "type_ids"])]
    pub(crate) file: Option<PathBuf>,
    /// Token ids, separated by commas
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    pub(crate) ids: Vec<u32>,
    /// Segment of each token, separated by commas. Default: all 0
    #[arg(long, value_name = "N,N", value_delimiter = ',', requires = "ids")]
    pub(crate) type_ids: Vec<u32>,
    /// Write only the SHA-256 of the logits
    #[arg(long)]
    pub(crate) hash: bool,
}

/// `mobilebert convert`
#[derive(Debug, clap::Args)]
pub(crate) struct Convert {
    /// Model to read: a folder, a weight file, a checkpoint's prefix, a built-in name or a hub id
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Folder to write
    #[arg(value_name = "DEST")]
    pub(crate) destination: PathBuf,
    /// Run the source and the result and compare them layer by layer
    #[arg(long)]
    pub(crate) verify: bool,
    /// Replace DEST if it is a model folder
    #[arg(long)]
    pub(crate) force: bool,
    /// Configuration, instead of the file beside the weights
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Vocabulary, instead of the file beside the weights
    #[arg(long, value_name = "FILE")]
    pub(crate) vocab: Option<PathBuf>,
}

/// `mobilebert quantize`
#[derive(Debug, clap::Args)]
pub(crate) struct Quantize {
    /// Model to read: folder, built-in name or hub id
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Folder to write
    #[arg(value_name = "DEST")]
    pub(crate) destination: PathBuf,
    /// Replace DEST if it is a model folder
    #[arg(long)]
    pub(crate) force: bool,
    /// Score the model in f32 and quantised on this task, and write DEST only if the gate holds: squad, ner,
    /// classify, embed or a task of GLUE
    #[arg(long, value_name = "NAME", requires = "data")]
    pub(crate) task: Option<Task>,
    /// Examples of --task
    #[arg(long, value_name = "FILE", requires = "task")]
    pub(crate) data: Option<PathBuf>,
    /// Points that the task's main score may drop by. Default: 0.5
    #[arg(long, value_name = "POINTS", requires = "task", value_parser = at_least(f64::MIN))]
    pub(crate) max_drop: Option<f64>,
    /// Score only the first examples
    #[arg(long, value_name = "N", requires = "task")]
    pub(crate) limit: Option<NonZeroUsize>,
    /// Modules (layers, embeddings, pooler) that may go back to f32. Default: a quarter of them
    #[arg(long, value_name = "N", requires = "task")]
    pub(crate) max_f32_modules: Option<usize>,
    /// Bits of a stored weight: 8 or 4. The arithmetic is in int8 with both
    #[arg(long, value_name = "N", default_value = "8")]
    pub(crate) bits: Bits,
    /// Scales of int8 weights: max (nothing is clipped) or error (each row has the one of 49 candidates whose
    /// squared error is least)
    #[arg(long, value_name = "RULE", default_value = "max")]
    pub(crate) scales: Scales,
}

/// `mobilebert finetune`
#[derive(Debug, clap::Args)]
pub(crate) struct Finetune {
    /// Model to start from: folder, built-in name or hub id
    #[arg(value_name = "SRC")]
    pub(crate) source: String,
    /// Folder to write
    #[arg(value_name = "DEST")]
    pub(crate) destination: PathBuf,
    /// What to train for: squad, ner, classify, embed or a task of GLUE
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Task,
    /// Examples to train on
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Compute as the int8 engine does (quantisation-aware)
    #[arg(long)]
    pub(crate) qat: bool,
    /// Bits of a weight that --qat trains for: 8 or 4
    #[arg(long, value_name = "N", default_value = "8", requires = "qat")]
    pub(crate) bits: Bits,
    /// Learn the logits of this model, run in f32, instead of the labels. With --qat it may be SRC itself
    #[arg(long, value_name = "SOURCE")]
    pub(crate) teacher: Option<String>,
    /// How often each example is seen
    #[arg(long, value_name = "N", default_value = "3")]
    pub(crate) epochs: NonZeroUsize,
    /// Examples in a step: texts, windows or pairs of texts
    #[arg(long, value_name = "N", default_value = "16")]
    pub(crate) batch: NonZeroUsize,
    /// Largest learning rate
    #[arg(long, value_name = "R", default_value_t = 3e-5, value_parser = at_least(0.0))]
    pub(crate) rate: f64,
    /// Train only on the first examples
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroUsize>,
    /// Longest sequence in tokens. Default: 384 or the model's limit
    #[arg(long, value_name = "N")]
    pub(crate) max_seq_len: Option<usize>,
    /// Decides the order of the examples
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Examples to score SRC and DEST on
    #[arg(long, value_name = "FILE")]
    pub(crate) eval_data: Option<PathBuf>,
    /// Replace DEST if it is a model folder
    #[arg(long)]
    pub(crate) force: bool,
}

/// `mobilebert compare`
#[derive(Debug, clap::Args)]
pub(crate) struct Compare {
    /// First model: folder, built-in name or hub id
    #[arg(value_name = "A")]
    pub(crate) a: String,
    /// Second model
    #[arg(value_name = "B")]
    pub(crate) b: String,
    /// What both are asked: squad, ner, classify, embed or a task of GLUE
    #[arg(long, value_name = "NAME")]
    pub(crate) task: Task,
    /// Examples of the task
    #[arg(long, value_name = "FILE")]
    pub(crate) data: PathBuf,
    /// Ask only the first examples
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<NonZeroUsize>,
}

/// `mobilebert sqnr`
#[derive(Debug, clap::Args)]
pub(crate) struct Sqnr {
    /// Texts to run. Default: eight sentences; for synthetic models, --seq-len tokens
    #[arg(value_name = "TEXT")]
    pub(crate) texts: Vec<String>,
    /// Model that is run in f32. Default: that of --model
    #[arg(long, value_name = "SOURCE")]
    pub(crate) reference: Option<String>,
    /// Leave modules in f32 whose path begins with this; may be repeated
    #[arg(long, value_name = "MODULE")]
    pub(crate) keep_f32: Vec<String>,
    /// Tokens of the sequence for synthetic models
    #[arg(long, value_name = "N", default_value_t = 128)]
    pub(crate) seq_len: usize,
    /// List every node
    #[arg(long)]
    pub(crate) by_node: bool,
}
