//! `mobilebert fill-mask`

use mobilebert::{Fill, FillMask, FillOptions, Result};

use super::run_task;
use crate::args::{self, Global};
use crate::batch::Task;
use crate::failure::Failure;
use crate::input::{Record, Records};
use crate::output::{Format, Output, Results, plain, shown};
use crate::target::{Kinds, Target};

struct Filling {
    pipeline: FillMask,
    several: bool,
}

pub(super) fn run(args: &args::FillMask, global: &Global) -> Result<(), Failure> {
    let model = global.chosen_model("fill-mask")?;
    let target = Target::new(&args.texts.batch, args.texts.source().as_slice(), model, Kinds::default())?;
    let records = Records::of_texts(&args.texts, None, None)?;
    let options = FillOptions::with(|o| {
        o.top_k = args.top_k;
        o.targets.clone_from(&args.targets);
    });
    let pipeline = FillMask::open_with(model, global.engine(), options)?;
    global.warn(pipeline.tokenizer().warnings());
    let task = Filling { pipeline, several: !records.is_single() };
    run_task(&task, records, target, Results { fields: &["words"], ..Results::default() }, global)
}

impl Task for Filling {
    type Outcome = Vec<Vec<Fill>>;

    fn run(&self, fields: &[String]) -> Result<Self::Outcome> {
        self.pipeline.fill(fields.first().map(String::as_str).unwrap_or_default())
    }

    fn write(
        &self,
        output: &mut Output,
        record: &Record,
        fields: &[String],
        masks: Self::Outcome,
    ) -> Result<(), Failure> {
        if output.format() == Format::Json {
            return match masks.as_slice() {
                [mask] => output.result(record, "words", mask),
                masks => output.result(record, "words", &masks),
            };
        }
        if self.several {
            output.line(format_args!("{}. {}", record.index + 1, shown(record, &fields[0])))?;
        }
        for (number, mask) in masks.iter().enumerate() {
            for Fill { token_str, score, sequence, .. } in mask {
                let (token_str, sequence) = (plain(token_str), plain(sequence));
                match masks.len() {
                    1 => output.line(format_args!("{token_str}\t{score:.4}\t{sequence}"))?,
                    _ => output
                        .line(format_args!("mask {}\t{token_str}\t{score:.4}\t{sequence}", number + 1))?,
                }
            }
        }
        Ok(())
    }
}
