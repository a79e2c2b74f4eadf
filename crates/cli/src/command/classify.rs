//! `mobilebert classify`

use mobilebert::{Classification, ClassifyOptions, LabelScore, LongText, Result, TextClassification};
use serde::Serialize;

use super::head::head;
use super::run_task;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain, shown};
use crate::target::{Kinds, Target};

struct Classifying {
    pipeline: TextClassification,
    /// True if JSON lists more than the best label.
    list: bool,
    several: bool,
}

/// The result as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    label: Option<&'a str>,
    score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a [LabelScore]>,
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}

/// What is written besides JSON lines.
const KINDS: Kinds = Kinds { tables: true, vectors: false };

/// The names of the fields of a [`Line`].
const FIELDS: [&str; 4] = ["label", "score", "labels", "truncated"];

pub(super) fn run(args: &args::Classify, global: &Global) -> Result<(), Failure> {
    let target =
        Target::new(&args.texts.batch, args.texts.source().as_slice(), global.model("sentiment"), KINDS)?;
    let records = Records::of_texts(&args.texts, args.pair.as_deref(), args.pair_column.as_deref())?
        .at_once(&args.at_once);
    let options = ClassifyOptions::with(|o| {
        (o.top_k, o.threshold) = (args.top_k, args.threshold);
        (o.function_to_apply, o.long_text) = (args.function_to_apply, args.long_text);
        (o.max_seq_len, o.doc_stride) = (args.max_seq_len, args.doc_stride);
        o.labels.clone_from(&args.labels);
    });
    let pipeline = TextClassification::open_with(global.model("sentiment"), global.engine(), options)?;
    global.warn(pipeline.tokenizer().warnings());
    let task = Classifying { pipeline, list: args.top_k > 1, several: !records.is_single() };
    let results = Results { columns: &["label", "score", "truncated"], fields: &FIELDS, dimensions: None };
    run_task(&task, records, target, results, global)
}

impl Classifying {
    /// Returns the part of a text that has to be tokenised.
    fn read<'t>(&self, text: &'t str) -> Result<&'t str> {
        match self.pipeline.options().long_text {
            LongText::Truncate => {
                let limit = self.pipeline.engine().config().max_position_embeddings;
                head(self.pipeline.tokenizer(), text, limit)
            }
            _ => Ok(text),
        }
    }
}

impl Task for Classifying {
    type Outcome = Classification;

    const BATCH: usize = 32;

    fn run(&self, fields: &[String]) -> Result<Classification> {
        match fields {
            [text, pair] => self.pipeline.classify_pair(self.read(text)?, self.read(pair)?),
            _ => self.pipeline.classify(self.read(fields.first().map(String::as_str).unwrap_or_default())?),
        }
    }

    fn run_batch(&self, batch: &[&[String]]) -> Result<Vec<Classification>> {
        if batch.iter().all(|fields| fields.len() == 2) {
            let pairs = batch.iter().map(|f| Ok((self.read(&f[0])?, self.read(&f[1])?)));
            return self.pipeline.classify_pair_batch(&pairs.collect::<Result<Vec<_>>>()?);
        }
        let texts: Result<Vec<&str>> = batch.iter().map(|fields| self.read(&fields[0])).collect();
        self.pipeline.classify_batch(&texts?)
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        found: Classification,
    ) -> Result<(), Failure> {
        let best = found.best();
        match output.format() {
            Format::Json => output.result(
                record,
                "labels",
                &Line {
                    label: best.map(|best| best.label.as_str()),
                    score: best.map(|best| best.score),
                    labels: self.list.then_some(&found.labels),
                    truncated: found.truncated,
                },
            ),
            Format::Human => {
                let label = |best: &LabelScore| format!("{}\t{:.4}", plain(&best.label), best.score);
                let mut line = match found.labels.is_empty() {
                    true => "(no label)\t-".to_owned(),
                    false => found.labels.iter().map(label).collect::<Vec<_>>().join("\t"),
                };
                if found.truncated {
                    line.push_str("\t(truncated)");
                }
                match self.several {
                    true => output.line(format_args!("{line}\t{}", shown(record, &fields[0]))),
                    false => output.line(format_args!("{line}")),
                }
            }
            Format::Table => {
                let label = best.map_or(String::new(), |best| best.label.clone());
                let score = best.map_or(String::new(), |best| best.score.to_string());
                output.row(record, &[label, score, found.truncated.to_string()])
            }
        }
    }
}
