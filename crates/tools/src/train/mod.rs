//! A MODEL LEARNS: fine-tuning on candle's gradients, in floats or in the engine's int8 arithmetic
//! (quantisation-aware).
//!
//! The forward pass is that of the reference backend. This module provides the arithmetic of its products,
//! the losses and the optimiser.

mod arithmetic;
mod examples;
mod loss;
mod optimizer;
mod padded;
mod parameters;
mod straight_through;
mod tags;
mod teacher;
#[cfg(test)]
mod tests;
mod vectors;

use std::path::Path;

use serde::Serialize;

use self::arithmetic::{Rounding, Training, rounding};
use self::examples::Examples;
use self::loss::Targets;
use self::optimizer::Optimizer;
use self::parameters::Parameters;
use self::teacher::Teacher;
use crate::candle::{self, backend_error};
use crate::task::{Dataset, Scores, Task, TaskOptions};
use crate::writer::{self, Int8Options, Partial};
use mobilebert::backend::{Precision, Request};
use mobilebert::model::{self, Weights};
use mobilebert::pipeline::check_head;
use mobilebert::quant::Bits;
use mobilebert::text::Batch;
use mobilebert::{EngineOptions, Error, ErrorKind, Head, ModelConfig, ModelFiles, Result, check_request};

/// How to train.
#[derive(Debug, Clone)]
#[must_use]
pub struct FinetuneOptions {
    task: Task,
    qat: Option<Bits>,
    teacher: Option<String>,
    epochs: usize,
    batch: usize,
    rate: f64,
    limit: Option<usize>,
    max_seq_len: Option<usize>,
    seed: u64,
    threads: Option<usize>,
    force: bool,
}

impl FinetuneOptions {
    /// The defaults: three epochs in floats, in batches of 16, at a learning rate of 3e-5.
    pub fn new(task: Task) -> Self {
        Self {
            task,
            qat: None,
            teacher: None,
            epochs: 3,
            batch: 16,
            rate: 3e-5,
            limit: None,
            max_seq_len: None,
            seed: 0,
            threads: None,
            force: false,
        }
    }

    /// Computes as the int8 engine does on weights of `bits`, and passes gradients straight through the
    /// rounding.
    pub fn qat(mut self, bits: Bits) -> Self {
        self.qat = Some(bits);
        self
    }

    /// Learns the logits of the model at `source`, which runs in f32, instead of the data's labels. With
    /// [`FinetuneOptions::qat`] that may be the trained model itself: its rounded form then learns to predict
    /// what the model predicts in floats.
    pub fn teacher(mut self, source: impl Into<String>) -> Self {
        self.teacher = Some(source.into());
        self
    }

    /// Sets how often each example is seen.
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Sets the number of examples in a step: texts, windows or pairs of texts.
    pub fn batch(mut self, examples: usize) -> Self {
        self.batch = examples;
        self
    }

    /// Sets the largest learning rate. The rate rises over the first tenth of the steps and falls to 0 over
    /// the rest.
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = rate;
        self
    }

    /// Trains on the first examples only.
    pub fn limit(mut self, examples: usize) -> Self {
        self.limit = Some(examples);
        self
    }

    /// Sets the longest sequence in tokens. Longer texts are cut, and longer contexts are split into windows.
    /// Default: 384, or the model's limit.
    pub fn max_seq_len(mut self, tokens: usize) -> Self {
        self.max_seq_len = Some(tokens);
        self
    }

    /// Sets the seed of the examples' order. The same seed, data and number of threads give the same bits on
    /// one machine.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Number of threads. Default: rayon's global pool.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Replaces a model folder that stands at the destination.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    fn check(&self) -> Result<()> {
        for (name, value) in [("epochs", self.epochs), ("batch", self.batch)] {
            if value == 0 {
                return Err(Error::option(name, "at least 1", value));
            }
        }
        if !(self.rate > 0.0 && self.rate <= 1.0) {
            return Err(Error::option("rate", "above 0 and at most 1", self.rate));
        }
        Ok(())
    }
}

/// A step of the work, and how much of it is done.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TrainingEvent<'e> {
    /// Name of the step: scoring before or after, or training.
    pub what: &'e str,
    /// Examples or steps that are done.
    pub done: usize,
    /// Examples or steps in all.
    pub total: usize,
    /// The loss of the last step, in training.
    pub loss: Option<f64>,
}

/// Is called with the progress of training.
pub type TrainingProgress<'p> = &'p (dyn Fn(TrainingEvent<'_>) + Sync);

/// The result of [`finetune`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FinetuneReport {
    /// The arithmetic of the training: `f32`, `int8`, or `int4` for weights of 4 bits.
    pub arithmetic: &'static str,
    /// Sequences: texts, or windows of contexts.
    pub sequences: usize,
    /// Texts that were cut to the longest sequence.
    pub cut: usize,
    /// Steps of the optimiser.
    pub steps: usize,
    /// Mean loss of each epoch, as computed by the training steps.
    pub losses: Vec<f64>,
    /// Name of the main score, if there was data to score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<&'static str>,
    /// Scores of the source, in the arithmetic of the training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Scores>,
    /// Scores of the written model, in the same arithmetic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Scores>,
}

/// Trains the model at `source` (see [`ModelFiles::resolve`]) on the examples in `data`, and writes it in f32
/// as a new folder in Hugging Face's layout. The folder appears only when it is complete. AdamW trains all
/// weights, without dropout. For [`Task::Embeddings`] the model's head is left out of the result, which gets the
/// files of sentence-transformers.
///
/// With [`FinetuneOptions::qat`] every value of the forward pass is what the int8 engine computes from the
/// quantised weights of that step. They are quantised as by [`writer::to_int8_with`], so quantising the
/// written folder gives exactly the model that was trained. If `eval_data` is given, source and result are
/// scored in the arithmetic of the training.
///
/// # Errors
/// Returns the errors of opening the source and reading the data; [`ErrorKind::WrongTask`] if the model has
/// another head; [`ErrorKind::Option`] for a task or a value that cannot be trained, and for a teacher with
/// other labels or tokens; [`ErrorKind::Diverged`] if the loss is not finite; and [`ErrorKind::Input`] if the
/// destination exists.
///
/// ```no_run
/// use mobilebert::quant::Bits;
/// use mobilebert_tools::train::{self, FinetuneOptions};
///
/// let options = FinetuneOptions::new("sst2".parse()?).qat(Bits::Four).epochs(1);
/// let report = train::finetune(
///     "my-model",
///     "my-tuned-model".as_ref(),
///     "train.tsv".as_ref(),
///     Some("dev.tsv".as_ref()),
///     &options,
///     &|event| eprintln!("{} {} of {}", event.what, event.done, event.total),
/// )?;
/// println!("{:?}", report.after);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn finetune(
    source: &str,
    destination: &Path,
    data: &Path,
    eval_data: Option<&Path>,
    options: &FinetuneOptions,
    progress: TrainingProgress<'_>,
) -> Result<FinetuneReport> {
    options.check()?;
    let run = || run(source, destination, data, eval_data, options, progress);
    match options.threads {
        Some(threads) => pool(threads)?.install(run),
        None => run(),
    }
}

fn pool(threads: usize) -> Result<rayon::ThreadPool> {
    const MAX_THREADS: usize = 1024;
    let invalid = |found: String| {
        ErrorKind::Option { option: "threads", expected: format!("1 to {MAX_THREADS}"), found }.into()
    };
    if !(1..=MAX_THREADS).contains(&threads) {
        return Err(invalid(threads.to_string()));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|e| invalid(format!("{threads} ({e})")))
}

fn run(
    source: &str,
    destination: &Path,
    data: &Path,
    eval_data: Option<&Path>,
    options: &FinetuneOptions,
    progress: TrainingProgress<'_>,
) -> Result<FinetuneReport> {
    let files = ModelFiles::resolve(source)?;
    writer::check_destination(destination, writer::folder_of(&files), options.force)?;
    let mut config = ModelConfig::from_json(&files.config_json()?)?;
    check_task(options.task, &config)?;
    if options.task == Task::Embeddings {
        config.head = Head::None;
    }
    let mut data = options.task.read(data)?;
    data.truncate(options.limit.unwrap_or(usize::MAX));
    let eval_data = eval_data.map(|path| options.task.read(path)).transpose()?;

    let examples = examples(&files, &config, &data, options)?;
    let teacher = options.teacher.as_deref();
    let teacher =
        teacher.map(|source| Teacher::open(source, &config, &examples, &data, options)).transpose()?;
    let scored = |model: &str, what: &str| {
        eval_data.as_ref().map(|data| score(model, destination, data, options, what, progress)).transpose()
    };
    let before = scored(source, "before")?;
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(files.checkpoint()?, &config, &graph)?;
    let parameters = Parameters::load(graph, &weights, candle::device()?)?;
    // The source's file is unmapped first, because its folder may be replaced.
    drop(weights);
    let (steps, losses) = train(&config, &parameters, &examples, teacher.as_ref(), options, progress)?;

    let partial = Partial::create(destination)?;
    let trained = parameters.snapshot().map_err(|e| backend_error("weights", e))?;
    writer::write_f32(&files, config.head, parameters.graph, Box::new(trained), &partial)?;
    if options.task == Task::Embeddings {
        vectors::write_modules(&files, config.hidden_size, &partial)?;
    }
    let after = scored(partial.path()?, "after")?;
    partial.rename(destination, options.force)?;
    Ok(FinetuneReport {
        arithmetic: options.qat.map_or("f32", Bits::name),
        sequences: examples.sequences.len(),
        cut: examples.cut,
        steps,
        losses,
        metric: after.as_ref().map(|scores| scores.metric),
        before,
        after,
    })
}

fn check_task(task: Task, config: &ModelConfig) -> Result<()> {
    match task {
        Task::Squad => check_head(config, Head::QuestionAnswering, "question answering"),
        Task::Glue(_) | Task::Labels => {
            check_head(config, Head::SequenceClassification, "text classification")
        }
        Task::Entities => check_head(config, Head::TokenClassification, "token classification"),
        Task::Embeddings => Ok(()),
    }
}

fn examples(
    files: &ModelFiles,
    config: &ModelConfig,
    data: &Dataset,
    options: &FinetuneOptions,
) -> Result<Examples> {
    const DEFAULT_MAX_SEQ_LEN: usize = 384;
    if options.task == Task::Embeddings {
        return vectors::examples(files, data, options.max_seq_len);
    }
    let tokenizer = files.tokenizer()?;
    tokenizer.check_vocab_size(config.vocab_size)?;
    let limit = tokenizer.sequence_limit(config.max_position_embeddings);
    let max_seq_len = match options.max_seq_len {
        None => DEFAULT_MAX_SEQ_LEN.min(limit),
        Some(tokens) if tokens <= limit => tokens,
        Some(tokens) => {
            return Err(Error::option("max_seq_len", format!("at most {limit}, the model's limit"), tokens));
        }
    };
    Examples::new(data, config, &tokenizer, max_seq_len)
}

/// Scores a model, or the folder that `quantize` makes from it.
fn score(
    model: &str,
    destination: &Path,
    data: &Dataset,
    options: &FinetuneOptions,
    what: &str,
    progress: TrainingProgress<'_>,
) -> Result<Scores> {
    let task = TaskOptions::new(options.task);
    let (_quantised, evaluator) = match options.qat {
        Some(bits) => {
            let partial = Partial::create(destination)?;
            writer::write_int8(
                &ModelFiles::resolve(model)?,
                &partial,
                &Int8Options::new().bits(bits),
                &|_, _| {},
            )?;
            let evaluator = task.open(partial.path()?)?;
            (Some(partial), evaluator)
        }
        None => (None, task.engine(EngineOptions::new().precision(Precision::F32)).open(model)?),
    };
    let mut predictions = Vec::with_capacity(data.len());
    for prediction in evaluator.predictions(data, 0..data.len()) {
        predictions.push(prediction?);
        progress(TrainingEvent { what, done: predictions.len(), total: data.len(), loss: None });
    }
    options.task.score(data, &predictions)
}

/// Trains. Returns the number of steps, and the mean loss of each epoch.
fn train(
    config: &ModelConfig,
    parameters: &Parameters,
    examples: &Examples,
    teacher: Option<&Teacher>,
    options: &FinetuneOptions,
    progress: TrainingProgress<'_>,
) -> Result<(usize, Vec<f64>)> {
    let qat = options.qat.map(rounding);
    let per_epoch = examples.len().div_ceil(options.batch);
    let total = per_epoch * options.epochs;
    let failed = |e| backend_error("training", e);
    let mut optimizer = Optimizer::new(&parameters.vars, options.rate, total).map_err(failed)?;
    let (mut losses, mut done) = (Vec::with_capacity(options.epochs), 0);
    for epoch in 0..options.epochs {
        let mut sum = 0.0;
        for chosen in shuffled(examples.len(), options.seed, epoch).chunks(options.batch) {
            let (batch, targets) = examples.batch(chosen)?;
            check_request(config, &Request::new(&batch))?;
            let (loss, value) = forward(parameters, &batch, &targets, teacher, qat)?;
            if !value.is_finite() {
                return Err(ErrorKind::Diverged { step: done + 1, loss: value }.into());
            }
            loss.backward().and_then(|gradients| optimizer.step(gradients)).map_err(failed)?;
            done += 1;
            sum += value * chosen.len() as f64;
            progress(TrainingEvent { what: "training", done, total, loss: Some(value) });
        }
        losses.push(sum / examples.len() as f64);
    }
    Ok((done, losses))
}

/// Computes the loss of a batch: as a tensor with gradients, and its value.
fn forward(
    parameters: &Parameters,
    batch: &Batch,
    targets: &Targets,
    teacher: Option<&Teacher>,
    qat: Option<Rounding>,
) -> Result<(::candle_core::Tensor, f64)> {
    let failed = |e| backend_error("loss", e);
    let arithmetic = match qat {
        Some(rounding) => Training::int8(parameters, rounding, batch)?,
        None => Training::float(parameters, batch).map_err(failed)?,
    };
    let request = Request::new(batch);
    let logits = candle::run(&parameters.graph, &arithmetic, &request, &parameters.device, |_, _| Ok(()))?;
    let loss = match teacher {
        Some(teacher) => targets.divergence(&logits, &teacher.logits(batch, &logits)?, &arithmetic.padded),
        None => targets.loss(&logits, &arithmetic.padded),
    };
    let loss = loss.map_err(failed)?;
    let value = loss.to_scalar::<f32>().map_err(failed)?;
    Ok((loss, f64::from(value)))
}

/// The numbers below `n` in an order that depends on seed and epoch (Fisher-Yates shuffle, random numbers
/// from SplitMix64).
fn shuffled(n: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut state = seed ^ (epoch as u64).wrapping_mul(0xd134_2543_de82_ef95);
    let mut random = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut order: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        order.swap(last, (random() % (last as u64 + 1)) as usize);
    }
    order
}
