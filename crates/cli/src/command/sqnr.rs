//! `mobilebert sqnr`

use mobilebert::{Batch, Engine, ModelFiles, Precision, Result};
use mobilebert_tools::compare::{Comparison, LayerDeviation, NodeDeviation, node_by_node};
use serde::Serialize;

use super::DEFAULT_MODEL;
use crate::args::{self, Global};
use crate::failure::Failure;
use crate::output::{Format, Output};

/// Texts for measurements: statements, questions, names, numbers and punctuation, both short and long.
const TEXTS: [&str; 8] = [
    "Yes.",
    "Who wrote the first program, and for which machine?",
    "The museum opens at 9:30 and closes at 18:00, except on Mondays.",
    "I did not expect to like it, but by the end I had forgotten that it was three hours long.",
    "Anna moved from Lisbon to Oslo in 1987, where she led a group of twelve engineers at the port authority.",
    "Despite heavy rain during most of April, the harvest was larger than in any of the five years before, and \
     prices at the local markets fell by almost a quarter.",
    "A committee asked for the report in spring. It arrived in autumn, 412 pages long, and nobody who had asked \
     for it was still in office; the few who read it found that the figures in chapter 7 contradicted those in \
     chapter 3.",
    "dull, loud and far too long :(",
];

/// The result as a line of JSON.
#[derive(Serialize)]
struct Report<'r> {
    model: &'r str,
    reference: &'r str,
    precision: String,
    reference_precision: String,
    sequences: usize,
    layers: &'r [LayerDeviation],
    #[serde(flatten)]
    comparison: &'r Comparison,
}

pub(super) fn run(args: &args::Sqnr, global: &Global) -> Result<(), Failure> {
    let model = global.model(DEFAULT_MODEL);
    let reference = args.reference.as_deref().unwrap_or(model);
    let options = global.engine().precision(Precision::F32);
    let expected = Engine::open(reference, options)?;
    let batches = batches(model, &expected, args)?;
    let options = global.engine().precision(global.precision.unwrap_or(Precision::Int8));
    let found = Engine::open(model, options.keep_f32(args.keep_f32.iter().cloned()))?;
    let comparison = node_by_node(&expected, &found, &batches)?;
    let layers = comparison.by_layer();
    let report = Report {
        model,
        reference,
        precision: found.backend().precision().to_string(),
        reference_precision: expected.backend().precision().to_string(),
        sequences: batches.len(),
        layers: &layers,
        comparison: &comparison,
    };
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => human(&report, args.by_node, &mut output)?,
    }
    output.flush()
}

/// Returns the batches to run. Each has one sequence, so that few values of the reference have to be kept.
fn batches(model: &str, engine: &Engine, args: &args::Sqnr) -> Result<Vec<Batch>, Failure> {
    if model.starts_with("synthetic:") {
        if !args.texts.is_empty() {
            return Err(Failure::Usage(format!("{model} has no tokenizer; leave TEXT out")));
        }
        return Ok(vec![mobilebert_bench::batch(engine, args.seq_len, 1)?]);
    }
    let tokenizer = ModelFiles::resolve(model)?.tokenizer()?;
    let batch = |text: &str| {
        let encoding = tokenizer.encode(text)?;
        Batch::single(encoding.ids(), encoding.type_ids())
    };
    let batches: Result<Vec<Batch>> = match args.texts.as_slice() {
        [] => TEXTS.iter().map(|text| batch(text)).collect(),
        texts => texts.iter().map(|text| batch(text)).collect(),
    };
    Ok(batches?)
}

fn human(report: &Report<'_>, by_node: bool, output: &mut Output) -> Result<(), Failure> {
    let Report { model, reference, precision, reference_precision, sequences, layers, comparison } = report;
    output.line(format_args!(
        "{model} in {precision} against {reference} in {reference_precision}, {sequences} sequences, {} tokens",
        comparison.tokens
    ))?;
    if by_node {
        output.line(format_args!("\n{:52} {:>8} {:>10} {:>10}", "node", "SQNR dB", "relative", "max abs"))?;
        for NodeDeviation { name, sqnr_db, relative_error, max_abs_error, .. } in &comparison.nodes {
            output.line(format_args!(
                "{name:52} {sqnr_db:>8.1} {relative_error:>10.2e} {max_abs_error:>10.2e}"
            ))?;
        }
    }
    output.line(format_args!(
        "\n{:12} {:>8} {:>10} {:>10} {:>8}  at",
        "output of", "SQNR dB", "relative", "max abs", "lowest"
    ))?;
    for LayerDeviation { name, output: o, lowest, .. } in *layers {
        let within = lowest.name.strip_prefix("encoder.layer.").and_then(|rest| rest.split_once('.'));
        output.line(format_args!(
            "{name:12} {:>8.1} {:>10.2e} {:>10.2e} {:>8.1}  {}",
            o.sqnr_db,
            o.relative_error,
            o.max_abs_error,
            lowest.sqnr_db,
            within.map_or(lowest.name.as_str(), |(_, module)| module)
        ))?;
    }
    Ok(())
}
