//! Checks where results go, before anything is read or loaded.

use std::path::Path;

use mobilebert_tools::{outputs, vectors};

use super::args::{Batch, OutputFormat};
use super::failure::Failure;
use super::reader::{is_same_file, is_text_name};

/// The files that a command writes besides JSON lines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kinds {
    pub(super) tables: bool,
    pub(super) vectors: bool,
}

/// The place that results go to: a file in its format, or standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    file: Option<(&'a Path, OutputFormat)>,
}

impl<'a> Target<'a> {
    /// Checks the flags of an output, which needs neither the input nor the model. The format is the one that
    /// the extension names, unless there is another. `inputs` are the files that are read, or `-`, and `model`
    /// is the model that is run.
    pub(super) fn new(
        batch: &'a Batch,
        inputs: &[&Path],
        model: &str,
        kinds: Kinds,
    ) -> Result<Self, Failure> {
        let Some(path) = batch.output.as_deref() else { return Ok(Self { file: None }) };
        check_output(path, inputs)?;
        outputs::check_outside_of_model(path, model)?;
        let is_writable = |format: &OutputFormat| match format {
            OutputFormat::JsonLines => true,
            OutputFormat::Tsv | OutputFormat::Csv => kinds.tables,
            OutputFormat::Npy | OutputFormat::Parquet => kinds.vectors,
        };
        let format = batch.output_format.or_else(|| OutputFormat::of(path)).filter(is_writable);
        let format = format.ok_or_else(|| {
            let known = OutputFormat::ALL.into_iter().filter(is_writable);
            let known: Vec<String> = known.map(|format| format!(".{}", format.name())).collect();
            let problem =
                format!("this command writes {} files, by extension or --output-format", known.join(", "));
            Failure::Usage(format!("{}: {problem}", path.display()))
        })?;
        if format == OutputFormat::Parquet {
            vectors::check_parquet()?;
        }
        Ok(Self { file: Some((path, format)) })
    }

    /// Returns the file and its format, or `None` for standard output.
    pub(super) fn file(self) -> Option<(&'a Path, OutputFormat)> {
        self.file
    }
}

/// Refuses an output that would destroy what is read.
fn check_output(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    for input in inputs {
        let name =
            if input.as_os_str() == "-" { "standard input".into() } else { input.display().to_string() };
        if is_same_file(input, output) {
            return Err(Failure::Usage(format!("--output {} is read from, as {name}", output.display())));
        }
        let folder =
            output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let is_inside = || matches!((folder.canonicalize(), input.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if input.is_dir() && is_text_name(output) && is_inside() {
            let problem =
                format!("--output {} would be a text of the folder {name}, which is read", output.display());
            return Err(Failure::Usage(problem));
        }
    }
    Ok(())
}
