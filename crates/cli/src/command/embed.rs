//! `mobilebert embed`

use mobilebert::{EmbedOptions, Embedder, Embedding, Result};
use serde::Serialize;

use super::classify::is_false;
use super::head::head;
use super::run_task;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain};
use crate::target::{Kinds, Target};

struct Embed {
    pipeline: Embedder,
}

/// The result as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    embedding: &'a [f32],
    #[serde(skip_serializing_if = "is_false")]
    truncated: bool,
}

/// What is written besides JSON lines.
const KINDS: Kinds = Kinds { tables: true, vectors: true };

pub(super) fn run(args: &args::Embed, global: &Global) -> Result<(), Failure> {
    let target =
        Target::new(&args.texts.batch, args.texts.source().as_slice(), global.model("embed"), KINDS)?;
    let records = Records::of_texts(&args.texts, None, None)?.at_once(&args.at_once);
    let options = EmbedOptions::with(|o| {
        (o.pooling, o.normalize) = (args.pooling, args.no_normalize.then_some(false));
        o.max_seq_len = args.max_seq_len;
    });
    let model = global.model("embed");
    let task = Embed { pipeline: Embedder::open_with(model, global.engine(), options)? };
    global.warn(task.pipeline.tokenizer().warnings());
    let untrained = !task.pipeline.is_trained_for_embeddings();
    global.warn(untrained.then(|| {
        format!(
            "`{model}` was not trained for embeddings, so the similarity of its vectors says little about that of \
             the texts; use the built-in model `embed` (the default), or another one of sentence-transformers \
             (--model with its folder or hub id), which has a modules.json"
        )
    }));
    let dimensions = task.pipeline.dimensions();
    let numbers: Vec<String> = (0..dimensions).map(|i| format!("embedding_{i}")).collect();
    let columns: Vec<&str> = ["truncated"].into_iter().chain(numbers.iter().map(String::as_str)).collect();
    let results =
        Results { columns: &columns, fields: &["embedding", "truncated"], dimensions: Some(dimensions) };
    run_task(&task, records, target, results, global)
}

impl Embed {
    /// Returns the part of a text that has to be tokenised.
    fn read<'t>(&self, text: &'t str) -> Result<&'t str> {
        let limit = self.pipeline.engine().config().max_position_embeddings;
        head(self.pipeline.tokenizer(), text, limit)
    }
}

impl Task for Embed {
    type Outcome = Embedding;

    const BATCH: usize = 32;

    fn run(&self, fields: &[String]) -> Result<Embedding> {
        self.pipeline.embed(self.read(fields.first().map(String::as_str).unwrap_or_default())?)
    }

    fn run_batch(&self, batch: &[&[String]]) -> Result<Vec<Embedding>> {
        let texts: Result<Vec<&str>> = batch.iter().map(|fields| self.read(&fields[0])).collect();
        self.pipeline.embed_batch(&texts?)
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        _: &[String],
        Embedding { embedding, truncated, .. }: Embedding,
    ) -> Result<(), Failure> {
        if output.vector(record, &embedding, truncated)? {
            return Ok(());
        }
        match output.format() {
            Format::Json => output.result(record, "embedding", &Line { embedding: &embedding, truncated }),
            Format::Table => {
                let numbers = embedding.iter().map(f32::to_string);
                let cells: Vec<String> = [truncated.to_string()].into_iter().chain(numbers).collect();
                output.row(record, &cells)
            }
            Format::Human => {
                let mut numbers: Vec<String> = embedding.iter().map(f32::to_string).collect();
                if truncated {
                    numbers.push("(truncated)".to_owned());
                }
                let file =
                    record.file.as_deref().map(|file| format!("{}\t", plain(file))).unwrap_or_default();
                output.line(format_args!("{file}{}", numbers.join(" ")))
            }
        }
    }
}
