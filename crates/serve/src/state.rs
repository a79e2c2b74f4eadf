//! The state of the server, which all connections share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Semaphore, watch};

use crate::access::Keys;
use crate::config::Config;
use crate::log::Log;
use crate::metrics::{Metrics, ModelInfo};
use crate::models::Models;
use crate::schedule::{Scheduler, lock};

/// How far the server has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// The models are being loaded.
    Loading,
    /// Requests are taken.
    Ready,
    /// The signal to stop has come; requests are still taken.
    Leaving,
    /// What was accepted is finished, and nothing new is taken.
    Draining,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) config: Arc<Config>,
    models: RwLock<Arc<Models>>,
    keys: RwLock<Option<Arc<Keys>>>,
    pub(crate) scheduler: Scheduler,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    phase: watch::Sender<Phase>,
    /// Long bodies are read, tokenised and written by as many threads at the same time as run models.
    pub(crate) long_bodies: Arc<Semaphore>,
    /// Requests to the main address whose answer is not written to the end.
    pub(crate) open: AtomicUsize,
    /// True if a request that was accepted got no result because the server stopped.
    pub(crate) left_unanswered: AtomicBool,
    reloading: Mutex<()>,
}

impl Server {
    pub(crate) fn new(config: Arc<Config>, keys: Option<Keys>, scheduler: Scheduler, log: Log) -> Self {
        Self {
            models: RwLock::default(),
            keys: RwLock::new(keys.map(Arc::new)),
            scheduler,
            metrics: Metrics::default(),
            log,
            phase: watch::Sender::new(Phase::Loading),
            long_bodies: Arc::new(Semaphore::new(config.threads.max(2))),
            open: AtomicUsize::new(0),
            left_unanswered: AtomicBool::new(false),
            reloading: Mutex::default(),
            config,
        }
    }

    /// Returns the models of this moment. A request keeps those that it began with.
    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Begins to take requests, unless the server was told to stop meanwhile.
    pub(crate) fn loaded(&self) -> bool {
        self.phase.send_if_modified(|phase| {
            let was_loading = *phase == Phase::Loading;
            if was_loading {
                *phase = Phase::Ready;
            }
            was_loading
        })
    }

    pub(crate) fn phases(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Returns true if requests are taken, which is what `ready` says.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase() == Phase::Ready && !self.scheduler.snapshot().panicking
    }

    /// Loads the keys and then all models, and puts them in the place of the old ones. The keys are swapped
    /// first and on their own, so that a key that was revoked is refused even if a model cannot be loaded. What
    /// fails leaves the old ones in place. This takes as long as loading does.
    ///
    /// # Errors
    /// A message that says what could not be loaded.
    pub(crate) fn load(&self) -> Result<(), String> {
        let _one_at_a_time = lock(&self.reloading);
        let keys = self.config.api_key_file.as_deref().map(Keys::read).transpose()?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.map(Arc::new);
        let models = Models::load(&self.config).map_err(|error| error.with_causes(error.to_string()))?;
        for model in models.all() {
            let (name, task, sha) = (&model.name, model.task.name(), model.sha.get(..12).unwrap_or_default());
            self.log.event(&format!(
                "model {name}: {task}, sha {sha}, ready after {} ms",
                model.ready_after.as_millis()
            ));
            model.warnings.iter().for_each(|warning| self.log.event(&format!("model {name}: {warning}")));
        }
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
        Ok(())
    }

    /// Loads everything again, and says in the log and in the metrics how that went.
    pub(crate) fn reload(&self) -> bool {
        let loaded = self.load();
        self.metrics.reloaded(loaded.is_ok());
        match &loaded {
            Ok(()) => self.log.event("loaded models and keys again"),
            Err(problem) => self.log.event(&format!("not loaded again, the old models stay: {problem}")),
        }
        loaded.is_ok()
    }

    /// Writes the metrics.
    pub(crate) fn metrics_text(&self) -> String {
        let models = self.models();
        let info = models.all().iter().map(|model| ModelInfo {
            name: model.name.clone(),
            sha: model.sha.clone(),
            precision: model.precision(),
            arena_bytes: model.arena_bytes(),
        });
        let snapshot = self.scheduler.snapshot();
        self.metrics.text(&snapshot, &info.collect::<Vec<_>>(), self.is_ready(), self.log.dropped())
    }

    pub(crate) fn open_requests(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}
