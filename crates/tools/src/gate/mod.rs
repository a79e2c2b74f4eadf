//! int8 MODELS THAT HOLD A GATE: a model is quantised, scored on the same examples as the f32 model, and
//! written together with the evidence.
//!
//! The scored model is the folder that is written. If its score drops too far, the module that costs most
//! goes back to f32, and so on until the gate holds or too many modules would be in f32. In a model of 4
//! bits, modules go to int8 first.

mod chart;
mod evidence;
mod sensitivity;

use std::path::Path;

use crate::compare::{Answered, ItemComparison, Pair, item_by_item};
use crate::task::{Dataset, Evaluator, Task, TaskOptions};
use crate::writer::{self, Int8Options, Int8Report, Partial};
use mobilebert::backend::Precision;
use mobilebert::quant::{Bits, Scales};
use mobilebert::{EngineOptions, Error, ErrorKind, ModelFiles, Result};

pub use sensitivity::Sensitivity;

/// Points that a drop may be above the gate's bound by: scores are quotients times 100, whose difference is
/// off by less than 1e-13 of a hundred points. A drop of exactly the bound has to pass.
const ROUNDING: f64 = 1e-9;

/// The gate that a quantised model has to hold, and how it is measured.
#[derive(Debug, Clone)]
#[must_use]
pub struct GateOptions {
    task: Task,
    max_drop: f64,
    limit: Option<usize>,
    max_f32_modules: Option<usize>,
    bits: Bits,
    scales: Scales,
    engine: EngineOptions,
    force: bool,
}

impl GateOptions {
    /// A gate that allows the main score to drop by half a point over all examples.
    pub fn new(task: Task) -> Self {
        let (bits, scales, engine) = (Bits::default(), Scales::default(), EngineOptions::new());
        Self { task, max_drop: 0.5, limit: None, max_f32_modules: None, bits, scales, engine, force: false }
    }

    /// Allows to replace a model folder that stands at the destination. Default: such a folder is an error.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Points that the main score may drop by.
    pub fn max_drop(mut self, points: f64) -> Self {
        self.max_drop = points;
        self
    }

    /// Scores only the first `examples`.
    pub fn limit(mut self, examples: usize) -> Self {
        self.limit = Some(examples);
        self
    }

    /// Sets how many modules (layers, embeddings, pooler) may go back to f32. Default: a quarter of them,
    /// rounded up.
    pub fn max_f32_modules(mut self, modules: usize) -> Self {
        self.max_f32_modules = Some(modules);
        self
    }

    /// Bits of a stored weight.
    pub fn bits(mut self, bits: Bits) -> Self {
        self.bits = bits;
        self
    }

    /// How the scales of int8 weights are found.
    pub fn scales(mut self, scales: Scales) -> Self {
        self.scales = scales;
        self
    }

    /// Sets how models are run. The gate overrides the precision.
    pub fn engine(mut self, engine: EngineOptions) -> Self {
        self.engine = engine;
        self
    }
}

/// Is told the current step, how many examples, modules or tensors of it are done, and how many there are in
/// all.
pub type GateProgress<'p> = &'p dyn Fn(&str, usize, usize);

/// A candidate: which modules had more bits, and how the model scored.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Attempt {
    /// Modules in int8, of a quantisation to 4 bits.
    pub keep_int8: Vec<String>,
    /// Modules in f32.
    pub keep_f32: Vec<String>,
    /// Main score.
    pub score: f64,
    /// The f32 model's score minus this one.
    pub drop: f64,
}

/// The measurements of [`quantize`], and the model that it wrote.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GateReport {
    /// Hugging Face's class of the model.
    pub class: String,
    /// SHA-256 of the source's weight files.
    pub source_sha256: String,
    /// SHA-256 of the written `model.safetensors`.
    pub weights_sha256: String,
    /// The task.
    pub task: Task,
    /// Points that the main score may drop by.
    pub max_drop: f64,
    /// Name of the file of examples.
    pub data: String,
    /// Its SHA-256.
    pub data_sha256: String,
    /// Bits of a stored weight.
    pub bits: Bits,
    /// How scales of int8 weights were found.
    pub scales: Scales,
    /// f32 (`a`) and the quantised model (`b`), item by item.
    pub items: ItemComparison,
    /// The models that were tried; the last one was written.
    pub attempts: Vec<Attempt>,
    /// What each module costs, in the order of the graph.
    pub modules: Vec<Sensitivity>,
    /// Number of examples that the modules were scored on.
    pub sensitivity_examples: usize,
    /// Tensors and sizes.
    pub int8: Int8Report,
}

impl GateReport {
    /// Modules in f32.
    pub fn keep_f32(&self) -> &[String] {
        self.attempts.last().map_or(&[], |attempt| &attempt.keep_f32)
    }

    /// Modules in int8, of a quantisation to 4 bits.
    pub fn keep_int8(&self) -> &[String] {
        self.attempts.last().map_or(&[], |attempt| &attempt.keep_int8)
    }

    /// The f32 model's main score minus that of the quantised model, in points.
    pub fn drop(&self) -> f64 {
        -self.items.difference
    }
}

/// Quantises a model and writes it if its score on a file of examples drops by no more than the gate allows.
/// The folder also gets `quantization.json`, `quantization.md` and `quantization.svg`, which say what
/// quantisation costs and where. [`ModelFiles::resolve`] describes `source`.
///
/// # Errors
/// Returns [`ErrorKind::Gate`] if the gate does not hold; nothing is written then. Also returns the errors of
/// reading the data, of opening the source for the task and of [`writer::to_int8`].
///
/// ```no_run
/// use mobilebert_tools::gate::{self, GateOptions};
///
/// let options = GateOptions::new("sst2".parse()?).max_drop(0.3);
/// let report = gate::quantize("my-model", "my-int8".as_ref(), "dev.tsv".as_ref(), &options, &|_, _, _| {})?;
/// println!("{} drops by {:.2}", report.items.metric, report.drop());
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn quantize(
    source: &str,
    destination: &Path,
    data: &Path,
    options: &GateOptions,
    progress: GateProgress<'_>,
) -> Result<GateReport> {
    if !options.max_drop.is_finite() || options.max_drop < 0.0 {
        return Err(Error::option("max_drop", "a number of points, 0 or more", options.max_drop));
    }
    let files = ModelFiles::resolve(source)?;
    writer::check_destination(destination, writer::folder_of(&files), options.force)?;
    let mut data = options.task.read(data)?;
    data.truncate(options.limit.unwrap_or(usize::MAX));

    let mut reference = options.open(source, Precision::F32)?;
    let f32 = answered(&reference, &data, "f32", progress)?;
    if f32.scores.main().is_nan() {
        let problem = format!(
            "has {} examples, on which the {} of the f32 model is not defined; expected at least two that differ",
            data.len(),
            f32.scores.metric
        );
        return Err(ErrorKind::Input { place: file_name(data.file()), problem }.into());
    }
    let mut kept = Kept::default();
    let mut attempts: Vec<Attempt> = Vec::new();
    let mut ranked: Option<sensitivity::SensitivityRanking> = None;
    loop {
        let partial = Partial::create(destination)?;
        let tensors = |done: usize, total: usize| progress("tensors", done, total);
        let int8 = writer::write_int8(&files, &partial, &options.int8(&kept), &tensors)?;
        let candidate = options.open(partial.path()?, Precision::Int8)?;
        let found = answered(&candidate, &data, options.bits.name(), progress)?;
        let drop = f32.scores.main() - found.scores.main();
        let Kept { int8: keep_int8, f32: keep_f32 } = kept.clone();
        attempts.push(Attempt { keep_int8, keep_f32, score: found.scores.main(), drop });
        let written = ModelFiles::Folder(partial.folder.clone());
        let ranking = match ranked.take() {
            Some(ranking) => ranking,
            None => {
                let sides = ((&files, Some(Precision::F32)), (&written, Some(Precision::Int8)));
                let pair = Pair::open(reference.head(), sides.0, sides.1)?;
                sensitivity::rank(pair.as_ref(), &mut reference, &data, &f32, &options.engine, progress)?
            }
        };
        if holds(drop, options.max_drop) {
            let modules = ranking.finish(&reference, &candidate, &kept, &data)?;
            let report = GateReport {
                class: reference.engine().config().class_name(),
                source_sha256: files.weights_sha256()?,
                weights_sha256: written.weights_sha256()?,
                task: options.task,
                max_drop: options.max_drop,
                data: file_name(data.file()),
                data_sha256: data.sha256().to_owned(),
                bits: options.bits,
                scales: options.scales,
                items: item_by_item(&data, &f32, &found),
                attempts,
                modules,
                sensitivity_examples: ranking.examples,
                int8,
            };
            for (name, text) in evidence::files(&report)? {
                partial.write(name, text.as_bytes())?;
            }
            partial.rename(destination, options.force)?;
            return Ok(report);
        }
        let most = options.max_f32_modules.unwrap_or(ranking.worst_first.len().div_ceil(4));
        if !kept.one_more(&ranking.worst_first, options.bits, most) {
            return Err(failed(&f32, options, &attempts));
        }
        // The modules that lose most in 4 bits need not be those that lose most in int8, so they are ranked
        // again.
        let all_in_int8 = kept.int8.len() == ranking.worst_first.len() && kept.f32.is_empty();
        ranked = Some(ranking).filter(|_| !all_in_int8);
    }
}

/// Returns true if a score that drops by `drop` points passes. NaN never does: a score that is not a number
/// holds no gate.
fn holds(drop: f64, max_drop: f64) -> bool {
    drop <= max_drop + ROUNDING
}

/// Modules that are stored with more bits than asked for.
#[derive(Clone, Default)]
struct Kept {
    int8: Vec<String>,
    f32: Vec<String>,
}

impl Kept {
    /// Gives the worst module more bits: 8 instead of 4 or, once all have 8, f32, which at most `most`
    /// modules get. Returns `false` if no module can get more bits.
    fn one_more(&mut self, worst_first: &[String], bits: Bits, most: usize) -> bool {
        let all = worst_first.len();
        let (list, most) = match bits {
            Bits::Four if self.int8.len() < all => (&mut self.int8, all),
            _ => (&mut self.f32, most),
        };
        let next = worst_first.get(list.len()).filter(|_| list.len() < most);
        list.extend(next.cloned());
        next.is_some()
    }
}

impl GateOptions {
    fn open(&self, source: &str, precision: Precision) -> Result<Evaluator> {
        TaskOptions::new(self.task).engine(self.engine.clone().precision(precision)).open(source)
    }

    fn int8(&self, kept: &Kept) -> Int8Options {
        let options = Int8Options::new().bits(self.bits).scales(self.scales);
        options.keep_int8(kept.int8.iter().cloned()).keep_f32(kept.f32.iter().cloned())
    }
}

/// The error of a gate that does not hold. It reports the best candidate.
fn failed(f32: &Answered, options: &GateOptions, attempts: &[Attempt]) -> Error {
    let best = attempts.iter().min_by(|a, b| a.drop.total_cmp(&b.drop));
    ErrorKind::Gate {
        metric: f32.scores.metric,
        reference: f32.scores.main(),
        found: best.map_or(f64::NAN, |best| best.score),
        drop: best.map_or(f64::NAN, |best| best.drop),
        max_drop: options.max_drop,
        keep_f32: best.map_or_else(Vec::new, |best| best.keep_f32.clone()),
        keep_int8: best.map_or_else(Vec::new, |best| best.keep_int8.clone()),
    }
    .into()
}

fn answered(
    evaluator: &Evaluator,
    data: &Dataset,
    what: &str,
    progress: GateProgress<'_>,
) -> Result<Answered> {
    Answered::new(evaluator, data, &|done| progress(what, done, data.len()))
}

/// The name without its folder: the evidence has to be the same wherever the files were.
fn file_name(path: &str) -> String {
    Path::new(path).file_name().map_or_else(|| path.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::holds;

    /// Accuracies of 1,000 examples differ by tenths of points, which f64 does not have: 79.9 - 79.6 is more than
    /// 0.3.
    #[test]
    fn a_drop_of_exactly_the_bound_passes() {
        for n in [500_usize, 872, 1000, 2000] {
            for (right, lost) in (n / 2..=n).flat_map(|right| (0..=10).map(move |lost| (right, lost))) {
                let score = |right: usize| 100.0 * (right as f64 / n as f64);
                let drop = score(right) - score(right - lost);
                let bound = 100.0 * lost as f64 / n as f64;
                assert!(holds(drop, bound), "{right} of {n} less {lost}");
                assert!(!holds(drop + 0.01, bound), "{right} of {n} less {lost}");
            }
        }
        assert!(!holds(f64::NAN, 1.0));
    }
}
