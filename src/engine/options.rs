//! The options that a caller may choose when an engine is loaded.

use std::sync::Arc;

use rayon::ThreadPool;

use crate::backend::native::NativeFactory;
use crate::backend::parallel::{Place, Pool};
use crate::backend::{Backend, BackendFactory, LoadOptions, Precision};
use crate::config::ModelConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::format::WeightSource;
use crate::graph::Graph;

/// How to load and run a model.
///
/// # Threads
/// The model is loaded, and each pass runs, on the threads that the last call of [`EngineOptions::threads`],
/// [`EngineOptions::pool`] and [`EngineOptions::on_caller`] names. The results have the same bits on any
/// threads.
///
/// Without such a call, a thread of a rayon pool uses that pool, and any other thread uses rayon's global
/// pool. Unless the program configures the global pool itself, the environment variable `RAYON_NUM_THREADS`
/// sets its size. Without the variable it has as many threads as [`std::thread::available_parallelism`]
/// reports when it is first used. On Linux this is the number of CPUs that the process may run on (its
/// affinity mask), but no more than the CPU quota of its cgroup (v2 `cpu.max`, v1 `cpu.cfs_quota_us`), which
/// is rounded down to at least 1.
///
/// # Forked processes
/// Threads do not survive `fork`, so the child cannot use a pool that the parent made. In the child of a
/// process that has used this crate, the native backend loads models and runs passes on the calling thread
/// alone, with the same results. There is one exception: an engine that the child itself loads with
/// [`EngineOptions::threads`] has a new pool. If the parent never used this crate but started rayon's global
/// pool, or a pool that the child gives to [`EngineOptions::pool`], the child waits forever: this crate
/// cannot tell that such a pool has no threads.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct EngineOptions {
    backend: Option<Arc<dyn BackendFactory>>,
    precision: Option<Precision>,
    keep_f32: Vec<String>,
    threads: Threads,
}

/// The threads that share the work of a pass.
#[derive(Debug, Clone, Default)]
enum Threads {
    #[default]
    Current,
    Caller,
    /// A new pool of this many threads.
    New(usize),
    Pool(Pool),
}

impl EngineOptions {
    /// Default options: the native backend, on the threads described above.
    pub fn new() -> Self {
        Self::default()
    }

    /// Chooses the backend. Default: [`NativeFactory`].
    pub fn backend(mut self, backend: impl BackendFactory + 'static) -> Self {
        self.backend = Some(Arc::new(backend));
        self
    }

    /// Chooses the precision. Default: [`ModelConfig::stored_precision`], which is int8 for a quantised model
    /// and else f32.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = Some(precision);
        self
    }

    /// Keeps linears, attentions and embeddings in f32 if their module path begins with one of these
    /// prefixes, such as `encoder.layer.0.`. The modules that the model itself keeps in f32
    /// ([`crate::QuantizationConfig::keep_f32`]) stay in f32 too.
    pub fn keep_f32<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_f32 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Runs on a new pool of this many threads. All callers of the engine share it: with one thread, two
    /// callers run one after the other. [`EngineOptions::on_caller`] lets them run at the same time.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Threads::New(threads);
        self
    }

    /// Runs on this pool, which the current process must have made.
    pub fn pool(mut self, pool: Arc<ThreadPool>) -> Self {
        self.threads = Threads::Pool(Pool::of_caller(pool));
        self
    }

    /// Loads the model and runs each pass on the calling thread alone. No pool is made or used, and as many
    /// passes run at the same time as there are callers. This suits programs with threads of their own, such
    /// as the workers of a server. Do not choose it for the latency of a single pass, which is shorter on
    /// several threads.
    ///
    /// This holds for the native backend. Another backend may use threads of its own.
    pub fn on_caller(mut self) -> Self {
        self.threads = Threads::Caller;
        self
    }

    /// The threads that the options name; makes a pool if they ask for one.
    pub(super) fn place(&self) -> Result<Place> {
        match &self.threads {
            Threads::Current => Ok(Place::Current),
            Threads::Caller => Ok(Place::Caller),
            Threads::Pool(pool) => Ok(Place::Pool(pool.clone())),
            &Threads::New(threads) => {
                // WebAssembly has the calling thread only.
                const MAX_THREADS: usize = if cfg!(target_family = "wasm") { 1 } else { 1024 };
                let invalid = |found: String| Error::option("threads", format!("1 to {MAX_THREADS}"), found);
                if !(1..=MAX_THREADS).contains(&threads) {
                    return Err(invalid(threads.to_string()));
                }
                if cfg!(target_family = "wasm") {
                    return Ok(Place::Caller);
                }
                Pool::new(threads).map(Place::Pool).map_err(|e| {
                    let node = format!("{threads} threads");
                    ErrorKind::Backend { backend: "native", node, source: e.into() }.into()
                })
            }
        }
    }

    /// Loads the chosen backend with these weights.
    pub(super) fn load(
        &self,
        config: &ModelConfig,
        graph: Graph,
        weights: &dyn WeightSource,
    ) -> Result<Box<dyn Backend>> {
        let of_model = config.quantization.iter().flat_map(|q| &q.keep_f32);
        let keep_f32: Vec<String> = of_model.chain(&self.keep_f32).cloned().collect();
        check_modules(config, &graph, &self.keep_f32)?;
        let stored = config.stored_precision();
        let options = LoadOptions { precision: self.precision, stored, keep_f32: &keep_f32 };
        match &self.backend {
            Some(factory) => factory.load(graph, weights, &options),
            None => NativeFactory::new().load(graph, weights, &options),
        }
    }
}

/// Checks that each prefix of a module's path belongs to a module of the model, so that a misspelt one is not
/// ignored. The folder's list may also name modules of a head that this graph does not have, because an
/// embedder, for instance, has none.
fn check_modules(config: &ModelConfig, graph: &Graph, keep_f32: &[String]) -> Result<()> {
    /// The parts of all models that every graph has.
    const BODY: [&str; 2] = ["embeddings", "encoder"];
    let is_there = |prefix: &str| graph.nodes.iter().any(|node| node.name.starts_with(prefix));
    let expected = || {
        let last = config.num_hidden_layers.saturating_sub(1);
        format!(
            "the beginning of a module's path, such as embeddings or encoder.layer.0. to encoder.layer.{last}."
        )
    };
    if let Some(unknown) = keep_f32.iter().find(|prefix| !is_there(prefix)) {
        return Err(Error::option("keep_f32", expected(), unknown));
    }
    let Some(quantization) = &config.quantization else { return Ok(()) };
    let lists = [("keep_f32", &quantization.keep_f32), ("keep_int8", &quantization.keep_int8)];
    for (name, list) in lists {
        let of_body = |prefix: &&String| {
            BODY.iter().any(|part| prefix.starts_with(part) || part.starts_with(&***prefix))
        };
        if let Some(unknown) = list.iter().filter(of_body).find(|prefix| !is_there(prefix)) {
            let field = format!("quantization_config.{name}");
            return Err(ErrorKind::Config { field, expected: expected(), found: unknown.clone() }.into());
        }
    }
    Ok(())
}
