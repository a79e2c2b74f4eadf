//! TOKENS -> LOGITS: a model, its weights and the backend that runs it.

use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::backend::native::{NativeBackend, NativeOptions};
use crate::backend::{Backend, Observer, Precision, Request};
use crate::config::{Head, ModelConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::format::WeightSource;
use crate::graph::{Graph, Op, Rows};
use crate::model::synthetic::{self, Synthetic};
use crate::model::{self, Weights};
use crate::profile::Profiler;
use crate::source::ModelFiles;
use crate::text::Batch;

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BackendKind {
    /// This crate's own kernels on the CPU, int8 or f32.
    #[default]
    Native,
    /// Candle: the f32 reference, on the CPU or (features `cuda`, `metal`) a GPU.
    Candle,
}

impl std::str::FromStr for BackendKind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "native" => Ok(BackendKind::Native),
            "candle" => Ok(BackendKind::Candle),
            other => Err(Error::option("backend", "`native` or `candle`", format!("`{other}`"))),
        }
    }
}

/// How to load and run a model.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct EngineOptions {
    backend: BackendKind,
    precision: Option<Precision>,
    keep_f32: Vec<String>,
    threads: Option<usize>,
    pool: Option<Arc<ThreadPool>>,
}

impl EngineOptions {
    /// The default backend on rayon's global pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the backend.
    pub fn backend(mut self, backend: BackendKind) -> Self {
        self.backend = backend;
        self
    }

    /// Chooses the arithmetic. Default: int8 if the checkpoint's weights are int8, else f32.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Leaves the linears, attentions and embeddings whose module path begins with one of these in f32, such as
    /// `encoder.layer.0.`: besides those that the model itself keeps ([`crate::QuantizationConfig::keep_f32`]).
    pub fn keep_f32<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_f32 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Runs on a pool of this many threads, made for this engine.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Runs on the caller's pool; `threads` is then ignored.
    pub fn pool(mut self, pool: Arc<ThreadPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The pool that these options ask for; `None` stands for rayon's global pool.
    ///
    /// # Errors
    /// [`ErrorKind::Option`] for a number of threads that this machine cannot have.
    pub fn make_pool(&self) -> Result<Option<Arc<ThreadPool>>> {
        match (self.pool.clone(), self.threads) {
            (Some(pool), _) => Ok(Some(pool)),
            (None, None) => Ok(None),
            (None, Some(threads)) => {
                // WebAssembly has the calling thread only, which is its global pool.
                const MAX_THREADS: usize = if cfg!(target_family = "wasm") { 1 } else { 1024 };
                let invalid = |found: String| Error::option("threads", format!("1 to {MAX_THREADS}"), found);
                if !(1..=MAX_THREADS).contains(&threads) {
                    return Err(invalid(threads.to_string()));
                }
                if cfg!(target_family = "wasm") {
                    return Ok(None);
                }
                let pool = ThreadPoolBuilder::new().num_threads(threads).build();
                pool.map(|p| Some(Arc::new(p))).map_err(|e| invalid(format!("{threads} ({e})")))
            }
        }
    }
}

/// A model that is ready to run. `Send + Sync`; one engine serves any number of threads.
///
/// ```no_run
/// use mobilebert::{Batch, Engine, EngineOptions};
///
/// let engine = Engine::open("qa", EngineOptions::new())?;
/// let logits = engine.forward(&Batch::single(&[101, 7592, 102], &[0, 0, 0])?)?;
/// assert_eq!((logits.rows(), logits.width()), (3, 2)); // start and end logit of each token
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub struct Engine {
    config: ModelConfig,
    backend: Box<dyn Backend>,
    pool: Option<Arc<ThreadPool>>,
}

/// Rows of numbers: one per token, per sequence or per requested token, as the head says.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    values: Vec<f32>,
    width: usize,
}

impl Output {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// All numbers, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

impl Engine {
    /// Opens a model with the head that its `config.json` names. See [`ModelFiles::resolve`] for `source`; besides,
    /// `synthetic:mobilebert` and `synthetic:bert-base` are full-size models with weights from a formula.
    ///
    /// # Errors
    /// Those of finding and reading the files: [`ErrorKind::UnknownModel`], [`ErrorKind::MissingFile`],
    /// [`ErrorKind::Config`], [`ErrorKind::Tensor`], [`ErrorKind::Format`].
    pub fn open(source: &str, options: EngineOptions) -> Result<Self> {
        let Some(name) = source.strip_prefix("synthetic:") else {
            return Self::from_files(&ModelFiles::resolve(source)?, None, options);
        };
        let config = synthetic::config(name)?;
        let graph = model::build(&config, config.head);
        let weights = Synthetic::new(&graph);
        Self::from_weights(config, graph, &weights, options)
    }

    /// Opens a model from its files, with its own head or another one that its checkpoint has weights for
    /// ([`Head::None`] always works).
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn from_files(files: &ModelFiles, head: Option<Head>, options: EngineOptions) -> Result<Self> {
        let config = ModelConfig::from_json(&files.config_json()?)?;
        let graph = model::build(&config, head.unwrap_or(config.head));
        let weights = Weights::bind(files.checkpoint()?, &config, &graph)?;
        Self::from_weights(config, graph, &weights, options)
    }

    /// A model from any source of weights, such as [`crate::model::synthetic::Synthetic`].
    ///
    /// # Errors
    /// Those of the weight source and of the backend.
    pub fn from_weights(
        config: ModelConfig,
        graph: Graph,
        weights: &dyn WeightSource,
        options: EngineOptions,
    ) -> Result<Self> {
        let pool = options.make_pool()?;
        let load = || load(&config, graph, weights, &options);
        let backend = match &pool {
            Some(pool) => pool.install(load),
            None => load(),
        }?;
        Ok(Self { config, backend, pool })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Threads that a forward pass runs on at most.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or_else(rayon::current_num_threads, |pool| pool.current_num_threads())
    }

    /// The backend that runs it.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Runs the model on a batch.
    ///
    /// # Errors
    /// [`ErrorKind::Batch`] for ids, types or lengths beyond the model's tables; [`ErrorKind::NotFinite`] if the weights
    /// overflow; [`ErrorKind::Backend`].
    pub fn forward(&self, batch: &Batch) -> Result<Output> {
        self.run(&Request::new(batch))
    }

    /// As [`Engine::forward`], but a masked-LM head scores only the given tokens (indices into [`Batch::ids`]), one
    /// output row for each.
    ///
    /// # Errors
    /// As [`Engine::forward`]; a row beyond the batch is an [`ErrorKind::Batch`].
    pub fn forward_rows(&self, batch: &Batch, rows: &[usize]) -> Result<Output> {
        self.run(&Request { rows: Some(rows), ..Request::new(batch) })
    }

    /// As [`Engine::forward`], and shows each intermediate value to `observer`.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn forward_observed(&self, batch: &Batch, observer: &dyn Observer) -> Result<Output> {
        self.run(&Request { observer: Some(observer), ..Request::new(batch) })
    }

    /// As [`Engine::forward`], and records when each operation of the backend ran.
    ///
    /// # Errors
    /// As [`Engine::forward`].
    pub fn forward_profiled(&self, batch: &Batch, profiler: &Profiler) -> Result<Output> {
        self.run(&Request { profiler: Some(profiler), ..Request::new(batch) })
    }

    fn run(&self, request: &Request<'_>) -> Result<Output> {
        check_request(&self.config, request)?;
        let graph = self.backend.graph();
        let width = graph.width(graph.output());
        let requested = |op: &Op| matches!(op, Op::Select { rows: Rows::Requested, .. });
        let nothing_asked = request.rows.is_some_and(<[usize]>::is_empty)
            && graph.nodes.iter().any(|node| requested(&node.op));
        if request.batch.sequences() == 0 || nothing_asked {
            return Ok(Output { values: Vec::new(), width });
        }
        let values = match &self.pool {
            Some(pool) => pool.install(|| self.backend.run(request)),
            None => self.backend.run(request),
        }?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(ErrorKind::NotFinite { row: i / width, value: values[i] }.into()),
            None => Ok(Output { values, width }),
        }
    }
}

/// Checks that a model has rows for all numbers of a request. [`Engine::forward`] does so before each pass; those who run a
/// [`Backend`] themselves have to.
///
/// # Errors
/// [`ErrorKind::Batch`] for ids, types, lengths or requested rows beyond the tables.
pub fn check_request(config: &ModelConfig, request: &Request<'_>) -> Result<()> {
    let batch = request.batch;
    let bad = |sequence, position, what, expected, found| {
        Err(ErrorKind::Batch { sequence, position, what, expected, found }.into())
    };
    for sequence in 0..batch.sequences() {
        let range = batch.range(sequence);
        if range.len() > config.max_position_embeddings {
            let expected = format!("at most {} (max_position_embeddings)", config.max_position_embeddings);
            return bad(sequence, 0, "number of tokens", expected, range.len());
        }
        let tokens = batch.ids()[range.clone()].iter().zip(&batch.type_ids()[range]);
        for (position, (&id, &type_id)) in tokens.enumerate() {
            if id as usize >= config.vocab_size {
                let expected = format!("below {} (vocab_size)", config.vocab_size);
                return bad(sequence, position, "token id", expected, id as usize);
            }
            if type_id as usize >= config.type_vocab_size {
                let expected = format!("below {} (type_vocab_size)", config.type_vocab_size);
                return bad(sequence, position, "type id", expected, type_id as usize);
            }
        }
    }
    match request.rows.into_iter().flatten().find(|&&row| row >= batch.tokens()) {
        Some(&row) => bad(0, row, "requested row", format!("below {} tokens", batch.tokens()), row),
        None => Ok(()),
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("model", &self.config.class_name())
            .field("backend", &self.backend.name())
            .finish_non_exhaustive()
    }
}

fn load(
    config: &ModelConfig,
    graph: Graph,
    weights: &dyn WeightSource,
    options: &EngineOptions,
) -> Result<Box<dyn Backend>> {
    let stored = if config.quantization.is_some() { Precision::Int8 } else { Precision::F32 };
    match options.backend {
        BackendKind::Native => {
            let kept = config.quantization.iter().flat_map(|q| &q.keep_f32).chain(&options.keep_f32);
            let native =
                NativeOptions::new().precision(options.precision.unwrap_or(stored)).keep_f32(kept.cloned());
            Ok(Box::new(NativeBackend::load(graph, weights, native)?))
        }
        BackendKind::Candle => {
            Err(ErrorKind::NotBuilt { what: "the candle backend".to_owned(), feature: "candle" }.into())
        }
    }
}
