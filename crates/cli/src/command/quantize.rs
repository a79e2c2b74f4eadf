//! `mobilebert quantize`

use std::path::Path;

use mobilebert::ModelFiles;
use mobilebert::quant::Bits;
use mobilebert_tools::compare::Measured;
use mobilebert_tools::gate::{self, GateOptions, GateReport};
use mobilebert_tools::task::Task;
use mobilebert_tools::writer::{self, Int8Options, Int8Report};
use serde::Serialize;

use super::progress;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

/// The result as a line of JSON.
#[derive(Serialize)]
struct Gated<'r> {
    #[serde(flatten)]
    written: &'r Int8Report,
    task: &'static str,
    metric: &'static str,
    f32: &'r Measured,
    #[serde(skip_serializing_if = "Option::is_none")]
    int8: Option<&'r Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    int4: Option<&'r Measured>,
    drop: f64,
    max_drop: f64,
    keep_int8: &'r [String],
    keep_f32: &'r [String],
    differing: usize,
}

pub(super) fn run(args: &args::Quantize, global: &Global) -> Result<(), Failure> {
    match (args.task, &args.data) {
        (Some(task), Some(data)) => gated(args, task, data, global),
        _ => plain(args, global),
    }
}

fn plain(args: &args::Quantize, global: &Global) -> Result<(), Failure> {
    let options = Int8Options::new().bits(args.bits).scales(args.scales).force(args.force);
    let report = writer::to_int8_with(&ModelFiles::resolve(&args.source)?, &args.destination, &options)?;
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => show(&report, args, &mut output)?,
    }
    output.flush()
}

fn gated(args: &args::Quantize, task: Task, data: &Path, global: &Global) -> Result<(), Failure> {
    if global.precision.is_some() {
        return Err(Failure::Usage("--precision does not go with quantize: it runs f32 and int8".to_owned()));
    }
    let options = GateOptions::new(task).bits(args.bits).scales(args.scales).engine(global.engine());
    let mut options = options.force(args.force);
    if let Some(points) = args.max_drop {
        options = options.max_drop(points);
    }
    if let Some(examples) = args.limit {
        options = options.limit(examples.get());
    }
    if let Some(modules) = args.max_f32_modules {
        options = options.max_f32_modules(modules);
    }
    let bar = progress::bar(global);
    let show_progress = |what: &str, done: usize, total: usize| progress::show(&bar, what, done, total);
    let report = gate::quantize(&args.source, &args.destination, data, &options, &show_progress);
    bar.finish_and_clear();
    let report: GateReport = report?;
    let items = &report.items;
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&Gated {
            written: &report.int8,
            task: report.task.name(),
            metric: items.metric,
            f32: &items.a,
            int8: (report.bits == Bits::Eight).then_some(&items.b),
            int4: (report.bits == Bits::Four).then_some(&items.b),
            drop: report.drop(),
            max_drop: report.max_drop,
            keep_int8: report.keep_int8(),
            keep_f32: report.keep_f32(),
            differing: items.differing.len(),
        })?,
        Format::Human | Format::Table => {
            show(&report.int8, args, &mut output)?;
            output.line(format_args!(
                "{} of {} on {} examples: f32 {:.2}, {} {:.2}; the gate allows a drop of {}",
                items.metric,
                report.task,
                items.total,
                items.a.scores.main(),
                report.bits.name(),
                items.b.scores.main(),
                report.max_drop
            ))?;
            if !report.keep_int8().is_empty() {
                output.line(format_args!("in int8: {}", report.keep_int8().join(", ")))?;
            }
            if !report.keep_f32().is_empty() {
                output.line(format_args!("in f32: {}", report.keep_f32().join(", ")))?;
            }
            output.line(format_args!(
                "{} answers differ; see {}",
                items.differing.len(),
                args.destination.join("quantization.md").display()
            ))?;
        }
    }
    output.flush()
}

fn show(report: &Int8Report, args: &args::Quantize, output: &mut Output) -> Result<(), Failure> {
    let int4 = match report.int4_tensors {
        0 => String::new(),
        tensors => format!("{tensors} tensors in 4 bits, "),
    };
    output.line(format_args!(
        "{}: {int4}{} tensors in int8, {} in f32, {} bytes",
        args.destination.display(),
        report.quantized_tensors - report.int4_tensors,
        report.f32_tensors,
        report.bytes
    ))
}
