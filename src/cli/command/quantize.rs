//! `mobilebert quantize`

use mobilebert::{ModelFiles, convert};

use crate::cli::args::{self, Global};
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output};

pub(super) fn run(args: &args::Quantize, global: &Global) -> Result<(), Failure> {
    let report = convert::to_int8(&ModelFiles::resolve(&args.source)?, &args.destination)?;
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&report)?,
        Format::Human | Format::Table => output.line(format_args!(
            "{}: {} tensors in int8, {} in f32, {} bytes",
            args.destination.display(),
            report.quantized_tensors,
            report.f32_tensors,
            report.bytes
        ))?,
    }
    output.flush()
}
