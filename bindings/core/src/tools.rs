//! Conversion, quantisation and evaluation, with their reports as JSON.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use mobilebert::quant::Bits;
use mobilebert::{ErrorKind, ModelFiles, Source};
use mobilebert_tools::compare::Measured;
use mobilebert_tools::convert::{self, ConvertOptions};
use mobilebert_tools::gate::{self, GateOptions, GateReport};
use mobilebert_tools::task::{Prediction, Task, TaskOptions};
use mobilebert_tools::writer::{self, Int8Options};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Result};
use crate::opening::Opening;

/// A function that is told the current step, and how much of it is done and there is in all. `Break` stops
/// the work with the failure `cancelled`; nothing is written then.
pub type Tell<'a> = &'a mut dyn FnMut(&str, usize, usize) -> ControlFlow<()>;

/// Finds a source before a tool is called: a file, the beginning of a checkpoint's name, or a model.
///
/// # Errors
/// `unknown_model` if there is none.
pub fn locate(source: Source) -> Result<Source> {
    let Source::Name(name) = &source else { return Ok(source) };
    let prefix = name.rsplit_once(".data-").map_or(name.as_str(), |(prefix, _)| prefix);
    if Path::new(name).exists() || Path::new(&format!("{prefix}.index")).exists() {
        return Ok(source);
    }
    Ok(ModelFiles::resolve(source)?.into())
}

/// The options of [`convert`](fn@convert).
#[derive(Debug, Clone, Default)]
pub struct Conversion {
    /// Runs source and result and compares them.
    pub verify: bool,
    /// Replaces a model folder at the destination.
    pub force: bool,
    /// The configuration, if it is not beside the weights.
    pub config: Option<PathBuf>,
    /// The vocabulary, if it is not beside the weights.
    pub vocab: Option<PathBuf>,
}

/// Turns a model of another framework into a model folder.
///
/// # Errors
/// The errors of [`convert::convert`].
pub fn convert(source: Source, destination: &Path, options: Conversion, tell: Tell<'_>) -> Result<Value> {
    let mut wanted = ConvertOptions::new().verify(options.verify).force(options.force);
    if let Some(config) = options.config {
        wanted = wanted.config(config);
    }
    if let Some(vocab) = options.vocab {
        wanted = wanted.vocab(vocab);
    }
    let source = name(source)?;
    let report = stoppable(tell, |tell| {
        let progress = |done: u64, total: u64| tell("writing", done as usize, total as usize);
        convert::convert(&source, destination, &wanted, &progress)
    })?;
    value(&report)
}

/// The options of [`quantize`].
#[derive(Debug, Clone, Default)]
pub struct Quantization {
    /// The bits of a stored weight, 8 or 4. Default: 8.
    pub bits: Option<usize>,
    /// How scales are found: `max` or `error`.
    pub scales: Option<String>,
    /// The task and the file of examples that the result is scored on.
    pub gate: Option<(String, PathBuf)>,
    /// The points that the score may drop by. Default: 0.5.
    pub max_drop: Option<f64>,
    /// The number of examples. Default: all.
    pub limit: Option<usize>,
    /// The number of modules that may stay in f32. Default: a quarter of them.
    pub max_f32_modules: Option<usize>,
}

/// Writes the int8 form of a model, or that of 4 bits. With a gate the result is scored beside the source,
/// and the evidence is written into the folder.
///
/// # Errors
/// The errors of [`gate::quantize`] and of [`writer::to_int8_watched`]; `option` for options of the gate without
/// a task and data.
pub fn quantize(
    source: Source,
    destination: &Path,
    options: &Quantization,
    opening: &Opening,
    tell: Tell<'_>,
) -> Result<Value> {
    let bits: Bits = options.bits.unwrap_or(8).to_string().parse()?;
    let scales = options.scales.as_deref().map(str::parse).transpose()?.unwrap_or_default();
    let Some((task, data)) = &options.gate else {
        let alone = [
            ("max_drop", options.max_drop.is_some()),
            ("limit", options.limit.is_some()),
            ("max_f32_modules", options.max_f32_modules.is_some()),
        ];
        if let Some((option, _)) = alone.iter().find(|(_, given)| *given) {
            let expected = "nothing without `task` and `data`, which the model would be scored on";
            return Err(Failure::option(option, expected, "given"));
        }
        let options = Int8Options::new().bits(bits).scales(scales);
        let files = ModelFiles::resolve(source)?;
        let report = stoppable(tell, |tell| {
            let progress = |done: usize, total: usize| tell("tensors", done, total);
            writer::to_int8_watched(&files, destination, &options, &progress)
        })?;
        return value(&report);
    };
    let mut wanted = GateOptions::new(task.parse()?).bits(bits).scales(scales).engine(opening.engine()?);
    if let Some(points) = options.max_drop {
        wanted = wanted.max_drop(points);
    }
    if let Some(examples) = options.limit {
        wanted = wanted.limit(examples);
    }
    if let Some(modules) = options.max_f32_modules {
        wanted = wanted.max_f32_modules(modules);
    }
    let source = name(source)?;
    let report = stoppable(tell, |tell| gate::quantize(&source, destination, data, &wanted, tell))?;
    gated(&report)
}

/// Writes the report of a gate as the command does.
fn gated(report: &GateReport) -> Result<Value> {
    let items = &report.items;
    let mut all = object(value(&report.int8)?);
    all.extend(object(json!({
        "task": report.task.name(),
        "metric": items.metric,
        "f32": items.a,
        report.bits.name(): items.b,
        "drop": report.drop(),
        "max_drop": report.max_drop,
        "keep_int8": report.keep_int8(),
        "keep_f32": report.keep_f32(),
        "differing": items.differing.len(),
    })));
    Ok(Value::Object(all))
}

/// Scores a model on a file of examples. `task` is `squad`, `ner`, `classify` or a task of GLUE.
///
/// # Errors
/// The errors of [`Task::read`], [`TaskOptions::open`] and [`Task::score`].
pub fn evaluate(
    source: Source,
    task: &str,
    data: &Path,
    limit: Option<usize>,
    opening: &Opening,
    tell: Tell<'_>,
) -> Result<Value> {
    let task: Task = task.parse()?;
    let mut examples = task.read(data)?;
    examples.truncate(limit.unwrap_or(usize::MAX));
    let evaluator = TaskOptions::new(task).engine(opening.engine()?).open(source)?;
    let mut predictions: Vec<Prediction> = Vec::new();
    for prediction in evaluator.predictions(&examples, 0..examples.len()) {
        predictions.push(prediction?);
        if tell("examples", predictions.len(), examples.len()).is_break() {
            return Err(cancelled(predictions.len()));
        }
    }
    let scores = task.score(&examples, &predictions)?;
    let mut all = object(json!({ "task": task.name(), "metric": scores.metric }));
    all.extend(object(value(&Measured::from(&scores))?));
    Ok(Value::Object(all))
}

/// The payload of the unwinding that stops a tool.
struct Stopped(usize);

/// Runs a tool that reports its progress by a function without a result. If `tell` asks for the end, the
/// stack is unwound from there, which removes unfinished folders, and nothing else happens: no message is
/// printed, and no other thread is in the tool at that moment.
fn stoppable<T>(
    tell: Tell<'_>,
    run: impl FnOnce(&dyn Fn(&str, usize, usize)) -> mobilebert::Result<T>,
) -> Result<T> {
    let tell = RefCell::new(tell);
    let step = |what: &str, done: usize, total: usize| {
        if (tell.borrow_mut())(what, done, total).is_break() {
            resume_unwind(Box::new(Stopped(done)));
        }
    };
    match catch_unwind(AssertUnwindSafe(|| run(&step))) {
        Ok(result) => Ok(result?),
        Err(payload) => match payload.downcast::<Stopped>() {
            Ok(stopped) => Err(cancelled(stopped.0)),
            Err(panic) => resume_unwind(panic),
        },
    }
}

fn cancelled(done: usize) -> Failure {
    mobilebert::Error::from(ErrorKind::Cancelled { done }).into()
}

/// Returns the text by which the tools find a source.
fn name(source: Source) -> Result<String> {
    match source {
        Source::Name(name) => Ok(name),
        Source::Folder(folder) => folder.into_os_string().into_string().map_err(|folder| {
            Failure::input(folder.to_string_lossy(), "expected a path that is Unicode text; rename it")
        }),
        _ => Err(Failure::input("source", "expected a folder or a file, and not files in memory")),
    }
}

fn value(report: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(report).map_err(|error| Failure::input("report", error))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        // Every report is an object.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(name: &str) -> Source {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name).into()
    }

    fn go_on(_: &str, _: usize, _: usize) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    #[test]
    fn a_checkpoint_becomes_an_int8_model_with_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let (model, int8) = (folder.path().join("model"), folder.path().join("int8"));
        let options = Conversion { verify: true, ..Conversion::default() };
        let report = convert(checkpoint("convert/tf-bert-classifier"), &model, options, &mut go_on).unwrap();
        assert_eq!(report["class"], "BertForSequenceClassification");
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../eval/samples/classify.csv");
        let gate = Some(("classify".to_owned(), data.clone()));
        let options = Quantization { gate, ..Quantization::default() };
        let opening = Opening::default();
        let report = quantize(model.into(), &int8, &options, &opening, &mut go_on).unwrap();
        assert_eq!((&report["metric"], &report["drop"]), (&json!("accuracy"), &json!(0.0)));
        assert!(int8.join("quantization.md").is_file());
        let report = evaluate(int8.into(), "classify", &data, None, &opening, &mut go_on).unwrap();
        assert_eq!((&report["metric"], &report["total"]), (&json!("accuracy"), &json!(4)));
    }

    #[test]
    fn a_tool_stops_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        let mut stop = |_: &str, _: usize, _: usize| ControlFlow::Break(());
        let source = checkpoint("convert/tf-bert-classifier");
        let failure = convert(source, &model, Conversion::default(), &mut stop).unwrap_err();
        assert_eq!(failure.code(), "cancelled");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

        // A quantisation without a task stops in the middle, between two tensors.
        let mut seen = Vec::new();
        let mut second = |step: &str, done: usize, total: usize| {
            seen.push((step.to_owned(), done, total));
            if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (options, opening) = (Quantization::default(), Opening::default());
        let source = checkpoint("checkpoints/bert-f32");
        let failure = quantize(source, &model, &options, &opening, &mut second).unwrap_err();
        assert_eq!(failure.code(), "cancelled");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let total = seen[0].2;
        assert!(total > 2);
        assert_eq!(seen, [("tensors".to_owned(), 1, total), ("tensors".to_owned(), 2, total)]);
    }

    #[test]
    fn options_of_a_gate_need_one() {
        let options = Quantization { max_drop: Some(1.0), ..Quantization::default() };
        let source = checkpoint("checkpoints/bert-f32");
        let failure =
            quantize(source, Path::new("never"), &options, &Opening::default(), &mut go_on).unwrap_err();
        assert_eq!((failure.code(), failure.place()), ("option", Some("max_drop")));
    }
}
