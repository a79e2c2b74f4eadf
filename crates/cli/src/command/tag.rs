//! `mobilebert tag`

use mobilebert::{Entity, OffsetUnit, Result, TagOptions, TokenClassification};

use super::run_task;
use super::watch::Watch;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain, shown};
use crate::target::{Kinds, Target};

struct Tagging {
    pipeline: TokenClassification,
    offsets: OffsetUnit,
    several: bool,
    watch: Watch,
}

pub(super) fn run(args: &args::Tag, global: &Global) -> Result<(), Failure> {
    let model = global.model("ner");
    let target = Target::new(&args.texts.batch, args.texts.source().as_slice(), model, Kinds::default())?;
    let records = Records::of_texts(&args.texts, None, None)?;
    let options = TagOptions::with(|o| {
        o.aggregation_strategy = args.aggregation_strategy;
        (o.max_seq_len, o.doc_stride) = (args.max_seq_len, args.doc_stride);
        if let Some(labels) = &args.ignore_labels {
            o.ignore_labels.clone_from(labels);
        }
    });
    let pipeline = TokenClassification::open_with(model, global.engine(), options)?;
    global.warn(pipeline.tokenizer().warnings());
    let watch = Watch::new(global, args.progress);
    let task = Tagging { pipeline, offsets: args.offsets, several: !records.is_single(), watch };
    run_task(&task, records, target, Results { fields: &["entities"], ..Results::default() }, global)
}

impl Task for Tagging {
    type Outcome = Vec<Entity>;

    fn run(&self, fields: &[String]) -> Result<Vec<Entity>> {
        let text = fields.first().map(String::as_str).unwrap_or_default();
        let job = self.watch.read(text, || self.pipeline.prepare_tag(text, self.pipeline.options()))?;
        self.watch.run(|control| self.pipeline.model().run_one(job, control))
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        mut entities: Vec<Entity>,
    ) -> Result<(), Failure> {
        self.offsets.convert(&fields[0], entities.iter_mut().flat_map(|e| [&mut e.start, &mut e.end]))?;
        if output.format() == Format::Json {
            return output.result(record, "entities", &entities);
        }
        if self.several {
            output.line(format_args!("{}. {}", record.index + 1, shown(record, &fields[0])))?;
        }
        for Entity { label, score, word, start, end, .. } in &entities {
            let (word, label) = (plain(word), plain(label));
            output.line(format_args!("{word}\t{label}\t{score:.4}\t{start}..{end}"))?;
        }
        Ok(())
    }
}
