//! `mobilebert convert`

use std::io::{IsTerminal as _, stderr};

use indicatif::{ProgressBar, ProgressStyle};
use mobilebert_tools::convert::{self, ConvertOptions, ConvertReport, Verification, VerifiedLayer};

use crate::args::{self, Global};
use crate::failure::{Failure, with_feature};
use crate::output::{Format, Output};

pub(super) fn run(args: &args::Convert, global: &Global) -> Result<(), Failure> {
    let mut options = ConvertOptions::new().force(args.force).verify(args.verify);
    if let Some(file) = &args.config {
        options = options.config(file);
    }
    if let Some(file) = &args.vocab {
        options = options.vocab(file);
    }
    let bar = bar(global);
    let progress = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = convert::convert(&args.source, &args.destination, &options, &progress);
    bar.finish_and_clear();
    let mut report = report?;
    if report.verification.is_some() && !cfg!(feature = "candle") {
        report.notes.push(format!(
            "verified by the native engine itself; the feature `candle` brings the independent reference: \
             {}",
            with_feature("candle")
        ));
    }
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => show(&report, args, &mut output)?,
    }
    output.flush()
}

fn bar(global: &Global) -> ProgressBar {
    if global.quiet || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn show(report: &ConvertReport, args: &args::Convert, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!("source        {} ({})", args.source, report.format.name()))?;
    output.line(format_args!("model         {}, {}", args.destination.display(), report.class))?;
    output.line(format_args!("written       {} tensors, {} bytes", report.tensors, report.bytes))?;
    output.line(format_args!("content       sha256 {}", report.content_sha256))?;
    for note in &report.notes {
        output.line(format_args!("note          {note}"))?;
    }
    let Some(Verification { backend, layers, recorded, .. }) = &report.verification else { return Ok(()) };
    output.line(format_args!(
        "\nlargest difference to the source ({backend}), and of the native engine to it"
    ))?;
    for VerifiedLayer { layer, deviation, native, magnitude, .. } in layers {
        output.line(format_args!("  {layer:<20} {deviation:<10.2e} {native:<10.2e} of {magnitude:.2e}"))?;
    }
    match recorded {
        Some(recorded) => output.line(format_args!("  {:<20} {recorded:.2e}", "recorded logits")),
        None => Ok(()),
    }
}
