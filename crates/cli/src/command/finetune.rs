//! `mobilebert finetune`

#[cfg(feature = "candle")]
use mobilebert_tools::task::Scores;
#[cfg(feature = "candle")]
use mobilebert_tools::train::{self, FinetuneOptions, FinetuneReport, TrainingEvent};

use crate::args::{self, Global};
use crate::failure::Failure;
#[cfg(feature = "candle")]
use crate::output::{Format, Output};

#[cfg(not(feature = "candle"))]
pub(super) fn run(_: &args::Finetune, _: &Global) -> Result<(), Failure> {
    let what = "fine-tuning".to_owned();
    Err(mobilebert::Error::from(mobilebert::ErrorKind::NotBuilt { what, feature: "candle" }).into())
}

#[cfg(feature = "candle")]
pub(super) fn run(args: &args::Finetune, global: &Global) -> Result<(), Failure> {
    for (flag, given) in
        [("--backend", global.backend.is_some()), ("--precision", global.precision.is_some())]
    {
        if given {
            return Err(Failure::Usage(format!("{flag} does not go with finetune; --qat trains for int8")));
        }
    }
    let mut options = FinetuneOptions::new(args.task)
        .epochs(args.epochs.get())
        .batch(args.batch.get())
        .rate(args.rate)
        .seed(args.seed)
        .force(args.force);
    if args.qat {
        options = options.qat(args.bits);
    }
    if let Some(teacher) = &args.teacher {
        options = options.teacher(teacher);
    }
    if let Some(examples) = args.limit {
        options = options.limit(examples.get());
    }
    if let Some(tokens) = args.max_seq_len {
        options = options.max_seq_len(tokens);
    }
    if let Some(threads) = global.threads {
        options = options.threads(threads);
    }
    let bar = super::progress::bar(global);
    let show_progress = |TrainingEvent { what, done, total, loss, .. }: TrainingEvent<'_>| {
        super::progress::show(&bar, what, done, total);
        if let Some(loss) = loss {
            bar.set_prefix(format!("loss {loss:.3}"));
        }
    };
    let (data, eval_data) = (&args.data, args.eval_data.as_deref());
    let report = train::finetune(&args.source, &args.destination, data, eval_data, &options, &show_progress);
    bar.finish_and_clear();
    let report = report?;
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => show(&report, args, &mut output)?,
    }
    output.flush()
}

#[cfg(feature = "candle")]
fn show(report: &FinetuneReport, args: &args::Finetune, output: &mut Output) -> Result<(), Failure> {
    let FinetuneReport { arithmetic, sequences, cut, steps, losses, .. } = report;
    let losses: Vec<String> = losses.iter().map(|loss| format!("{loss:.3}")).collect();
    output.line(format_args!(
        "{}: {sequences} sequences, {steps} steps in {arithmetic}; loss {}",
        args.destination.display(),
        losses.join(", ")
    ))?;
    if *cut > 0 {
        output.line(format_args!("{cut} sequences were cut; --max-seq-len says where"))?;
    }
    let score = |scores: &Option<Scores>| scores.as_ref().map_or(f64::NAN, Scores::main);
    match report.metric {
        Some(metric) => output.line(format_args!(
            "{metric} in {arithmetic}: {:.2} before, {:.2} after",
            score(&report.before),
            score(&report.after)
        )),
        None => Ok(()),
    }
}
