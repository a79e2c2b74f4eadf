//! `mobilebert infer`

use std::collections::BTreeMap;

use mobilebert::files::json::problem_in_line;
use mobilebert::format::sha256;
use mobilebert::{Batch, Engine, ErrorKind, Head, Result};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::DEFAULT_MODEL;
use crate::args::{self, Global};
use crate::batch::{self, Task};
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output};

struct Inference {
    engine: Engine,
    hash: bool,
}

/// A line of the input. The longer names are those of Hugging Face's tokenizers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sequence {
    #[serde(alias = "input_ids")]
    ids: Vec<u32>,
    #[serde(alias = "token_type_ids")]
    type_ids: Option<Vec<u32>>,
    /// There is no padding here, so all are 1.
    attention_mask: Option<Vec<u32>>,
    /// What a recorded example says should come out. It is not read.
    #[serde(rename = "logits")]
    _logits: Option<IgnoredAny>,
}

pub(super) fn run(args: &args::Infer, global: &Global) -> Result<(), Failure> {
    let records = args.file.as_deref().map(Records::lines).transpose()?;
    let engine = Engine::open(global.model(DEFAULT_MODEL), global.engine())?;
    let task = Inference { engine, hash: args.hash };
    let output = Output::stdout(global);
    if let Some(records) = records {
        return batch::run(&task, records, output, global, false);
    }
    let mut output = output;
    let type_ids = (!args.type_ids.is_empty()).then(|| args.type_ids.clone());
    let logits =
        task.forward(&Sequence { ids: args.ids.clone(), type_ids, attention_mask: None, _logits: None })?;
    task.show(&mut output, &logits)?;
    output.flush()
}

impl Inference {
    fn forward(&self, sequence: &Sequence) -> Result<mobilebert::Output> {
        let zeros;
        let type_ids = match &sequence.type_ids {
            Some(type_ids) => type_ids,
            None => {
                zeros = vec![0; sequence.ids.len()];
                &zeros
            }
        };
        self.engine.forward(&Batch::single(&sequence.ids, type_ids)?)
    }

    fn show(&self, output: &mut Output, logits: &mobilebert::Output) -> Result<(), Failure> {
        match (self.hash, output.format()) {
            (true, Format::Json) => output.json(&json!({ "sha256": hash(logits) })),
            (true, _) => output.line(format_args!("{}", hash(logits))),
            (false, Format::Json) => output.json(&BTreeMap::from([("logits", self.logits(logits))])),
            (false, _) => {
                for row in 0..logits.rows() {
                    let numbers: Vec<String> = logits.row(row).iter().map(f32::to_string).collect();
                    output.line(format_args!("{}", numbers.join("\t")))?;
                }
                Ok(())
            }
        }
    }

    fn logits<'o>(&self, output: &'o mobilebert::Output) -> Logits<'o> {
        let rows = || (0..output.rows()).map(|row| output.row(row));
        match self.engine.config().head {
            Head::QuestionAnswering => {
                let column = |i: usize| rows().map(|row| row[i]).collect();
                Logits::Span { start: column(0), end: column(1) }
            }
            Head::SequenceClassification | Head::MultipleChoice => Logits::Row(output.values()),
            _ => Logits::Rows(rows().collect()),
        }
    }
}

/// The logits, in the shape that the model's head gives them.
#[derive(Serialize)]
#[serde(untagged)]
enum Logits<'o> {
    /// Start and end logits of each token, for question answering.
    Span { start: Vec<f32>, end: Vec<f32> },
    /// The logits of the sequence.
    Row(&'o [f32]),
    /// The logits of each token.
    Rows(Vec<&'o [f32]>),
}

/// Returns the SHA-256 of the values as little-endian f32, row after row.
fn hash(logits: &mobilebert::Output) -> String {
    sha256(logits.values().iter().map(|value| value.to_le_bytes()))
}

impl Task for Inference {
    type Outcome = mobilebert::Output;

    fn run(&self, fields: &[String]) -> Result<Self::Outcome> {
        let line = fields.first().map(String::as_str).unwrap_or_default();
        let wrong = |problem: String| ErrorKind::Input {
            place: "expected {\"ids\": [..], \"type_ids\": [..]}".to_owned(),
            problem,
        };
        let sequence: Sequence = serde_json::from_str(line).map_err(|e| wrong(problem_in_line(&e)))?;
        if let Some(mask) = &sequence.attention_mask
            && (mask.len() != sequence.ids.len() || mask.contains(&0))
        {
            let problem =
                "\"attention_mask\" marks padding; leave the padding out of \"ids\", and the mask with it";
            return Err(wrong(problem.to_owned()).into());
        }
        self.forward(&sequence)
    }

    fn write(
        &self,
        output: &mut Output,
        _: &Record,
        _: &[String],
        logits: Self::Outcome,
    ) -> Result<(), Failure> {
        self.show(output, &logits)
    }
}
