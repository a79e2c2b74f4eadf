//! TOKENS -> LOGITS: a model, its weights and the backend that runs it.

mod encoder;
mod options;
mod output;
mod self_check;

use crate::backend::parallel::Place;
use crate::backend::{Backend, Observer, Precision, Request};
use crate::config::{Head, ModelConfig};
use crate::error::{ErrorKind, Result};
use crate::format::WeightSource;
use crate::graph::{Graph, RowUnit};
use crate::model::synthetic::{self, Synthetic};
use crate::model::{self, Weights};
use crate::profile::Profiler;
use crate::source::{ModelFiles, Source};
use crate::text::Batch;

pub use options::EngineOptions;
pub use output::Output;

/// A model that is ready to run. It is `Send + Sync`, so one engine serves any number of threads.
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
    place: Place,
}

impl Engine {
    /// Opens a model with the head that its `config.json` names. [`Source`] says what `source` may be. In
    /// addition, `synthetic:mobilebert` and `synthetic:bert-base` name full-size models whose weights come
    /// from a formula.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`], [`ErrorKind::MissingFile`], [`ErrorKind::Config`], [`ErrorKind::Tensor`]
    /// or [`ErrorKind::Format`] if the files cannot be found or read.
    pub fn open(source: impl Into<Source>, options: EngineOptions) -> Result<Self> {
        let source = source.into();
        let Some(name) = source.synthetic() else {
            return Self::from_files(&ModelFiles::resolve(source)?, None, options);
        };
        let config = synthetic::config(name)?;
        let graph = model::build(&config, config.head);
        let weights = Synthetic::new(&graph);
        Self::from_weights(config, graph, &weights, options)
    }

    /// Opens a model from its files, with its own head or with another one that its checkpoint has weights
    /// for. [`Head::None`] always works.
    ///
    /// # Errors
    /// The same as for [`Engine::open`].
    pub fn from_files(files: &ModelFiles, head: Option<Head>, options: EngineOptions) -> Result<Self> {
        let mut config = ModelConfig::from_json(&files.config_json()?)?;
        let head = head.unwrap_or(config.head);
        let (graph, weights) = Weights::open(files.checkpoint()?, &mut config, head)?;
        Self::from_weights(config, graph, &weights, options)
    }

    /// Makes a model from any source of weights, such as [`crate::model::synthetic::Synthetic`].
    ///
    /// # Errors
    /// The errors of the weight source and of the backend.
    pub fn from_weights(
        config: ModelConfig,
        graph: Graph,
        weights: &dyn WeightSource,
        options: EngineOptions,
    ) -> Result<Self> {
        let place = options.place()?;
        let backend = place.run(|| options.load(&config, graph, weights))?;
        Ok(Self { config, backend, place })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The most threads that a forward pass would run on if the calling thread started it now.
    pub fn threads(&self) -> usize {
        self.place.threads()
    }

    /// Bytes of memory for intermediate values that are kept for the next passes. There are as many arenas as
    /// passes have run at the same time, each large enough for the largest batch that it has
    /// seen. Weights do not count, nor does the memory that a pass is using now.
    pub fn arena_bytes(&self) -> usize {
        self.backend.arena_bytes()
    }

    /// Frees the memory that [`Engine::arena_bytes`] counts. The next passes allocate it again; results do
    /// not change.
    pub fn trim(&self) {
        self.backend.trim();
    }

    /// The backend that runs the model.
    pub fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// Runs the model on a batch.
    ///
    /// # Errors
    /// [`ErrorKind::Batch`] for ids, types or lengths beyond the model's tables, [`ErrorKind::NotFinite`] if
    /// the numbers overflow, and [`ErrorKind::Backend`] if the backend fails.
    pub fn forward(&self, batch: &Batch) -> Result<Output> {
        self.run(&Request::new(batch))
    }

    /// Runs the model like [`Engine::forward`], but a masked-LM head scores only the given tokens (indices
    /// into [`Batch::ids`]) and returns one row for each.
    ///
    /// # Errors
    /// The same as for [`Engine::forward`]; a row beyond the batch is an [`ErrorKind::Batch`].
    pub fn forward_rows(&self, batch: &Batch, rows: &[usize]) -> Result<Output> {
        self.run(&Request { rows: Some(rows), ..Request::new(batch) })
    }

    /// Runs the model like [`Engine::forward`] and shows each intermediate value to `observer`.
    ///
    /// # Errors
    /// The same as for [`Engine::forward`].
    pub fn forward_observed(&self, batch: &Batch, observer: &dyn Observer) -> Result<Output> {
        self.run(&Request { observer: Some(observer), ..Request::new(batch) })
    }

    /// Runs the model like [`Engine::forward`] and records when each operation of the backend ran.
    ///
    /// # Errors
    /// The same as for [`Engine::forward`].
    pub fn forward_profiled(&self, batch: &Batch, profiler: &Profiler) -> Result<Output> {
        self.run(&Request { profiler: Some(profiler), ..Request::new(batch) })
    }

    /// Runs the model like [`Engine::forward`], but the output may hold numbers that are not finite.
    /// [`Output::not_finite`] finds them, so a caller who put several texts into one batch can report the
    /// error for the text that such a row belongs to and keep the results of the others.
    ///
    /// # Errors
    /// The same as for [`Engine::forward`], except [`ErrorKind::NotFinite`].
    pub fn forward_any(&self, batch: &Batch) -> Result<Output> {
        self.compute(&Request::new(batch))
    }

    /// Runs the model like [`Engine::forward_rows`], but the output may hold numbers that are not finite, as
    /// with [`Engine::forward_any`].
    ///
    /// # Errors
    /// The same as for [`Engine::forward_rows`], except [`ErrorKind::NotFinite`].
    pub fn forward_rows_any(&self, batch: &Batch, rows: &[usize]) -> Result<Output> {
        self.compute(&Request { rows: Some(rows), ..Request::new(batch) })
    }

    /// The unit of text that a row of the output belongs to.
    pub fn row_unit(&self) -> RowUnit {
        self.backend.graph().row_unit()
    }

    fn run(&self, request: &Request<'_>) -> Result<Output> {
        let output = self.compute(request)?;
        match output.not_finite(0..output.rows()) {
            Some((row, value)) => Err(ErrorKind::NotFinite { row, value }.into()),
            None => Ok(output),
        }
    }

    fn compute(&self, request: &Request<'_>) -> Result<Output> {
        check_request(&self.config, request)?;
        let graph = self.backend.graph();
        let (rows, width) = (request.output_rows(graph), graph.width(graph.output()));
        if rows == 0 {
            return Ok(Output { values: Vec::new(), width });
        }
        let values = self.place.run(|| self.backend.run(request))?;
        if values.len() != rows * width {
            let source = format!("{} numbers instead of {rows} rows of {width}", values.len());
            let (backend, node) = (self.backend.name(), "output".to_owned());
            return Err(ErrorKind::Backend { backend, node, source: source.into() }.into());
        }
        Ok(Output { values, width })
    }
}

impl ModelConfig {
    /// The precision that the weights are stored for: int8 if `config.json` has a `quantization_config`, else
    /// f32.
    pub fn stored_precision(&self) -> Precision {
        if self.quantization.is_some() { Precision::Int8 } else { Precision::F32 }
    }
}

/// Checks that the model's tables have a row for every number of a request. [`Engine::forward`] calls it
/// before each pass; a program that runs a [`Backend`] itself has to call it too.
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
            if config.type_vocab_size > 0 && type_id as usize >= config.type_vocab_size {
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
