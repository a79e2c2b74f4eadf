//! The state of the server, which all connections share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::{Semaphore, watch};

use crate::access::Keys;
use crate::budget::Budget;
use crate::config::{Config, Dialect};
use crate::log::Log;
use crate::metrics::{Metrics, ModelInfo, State};
use crate::models::{Models, Served};
use crate::schedule::{Scheduler, lock};
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::trace::Traces;

/// The most who watch the health at the same time.
#[cfg(feature = "grpc")]
const WATCHERS: usize = 128;

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
    admins: RwLock<Option<Arc<Keys>>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Tls>,
    /// Why a model of the settings is not served, where that is so.
    missing: Mutex<BTreeMap<String, String>>,
    pub(crate) scheduler: Scheduler,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) traces: Option<Traces>,
    phase: watch::Sender<Phase>,
    /// Long bodies are read, tokenised and written by as many threads at the same time as run models.
    pub(crate) long_bodies: Arc<Semaphore>,
    pub(crate) bodies: Arc<Budget>,
    /// Requests to the main address whose answer is not written to the end.
    pub(crate) open: AtomicUsize,
    /// True if a request that was accepted got no result because the server stopped.
    pub(crate) left_unanswered: AtomicBool,
    /// Places for those who watch the health over gRPC, for which nobody needs a key.
    #[cfg(feature = "grpc")]
    pub(crate) watchers: Arc<Semaphore>,
    reloading: Mutex<()>,
    /// One administrator at a time loads or unloads a model.
    pub(crate) changes: Arc<Semaphore>,
}

impl Server {
    /// Reads the keys, and has no models yet.
    ///
    /// # Errors
    /// A message that names a file of keys or of the certificate that cannot be used.
    pub(crate) fn new(config: Arc<Config>, scheduler: Scheduler, log: Log) -> Result<Self, String> {
        let read = |file: &Option<PathBuf>| file.as_deref().map(Keys::read).transpose();
        let traces = config.trace_endpoint.as_ref().map(|to| Traces::start(to, config.trace_ratio));
        let (keys, admins) = (read(&config.api_key_file)?, read(&config.admin_key_file)?);
        Ok(Self {
            models: RwLock::default(),
            keys: RwLock::new(keys.map(Arc::new)),
            admins: RwLock::new(admins.map(Arc::new)),
            #[cfg(feature = "tls")]
            tls: config.tls.as_ref().map(Tls::read).transpose()?,
            missing: Mutex::default(),
            scheduler,
            metrics: Metrics::default(),
            log,
            traces: traces.transpose().map_err(|error| format!("traces cannot be sent: {error}"))?,
            phase: watch::Sender::new(Phase::Loading),
            long_bodies: Arc::new(Semaphore::new(config.threads.max(2))),
            bodies: Budget::new(config.body_memory),
            open: AtomicUsize::new(0),
            left_unanswered: AtomicBool::new(false),
            #[cfg(feature = "grpc")]
            watchers: Arc::new(Semaphore::new(WATCHERS)),
            reloading: Mutex::default(),
            changes: Arc::new(Semaphore::new(1)),
            config,
        })
    }

    /// Returns the models of this moment. A request keeps those that it began with.
    pub(crate) fn models(&self) -> Arc<Models> {
        Arc::clone(&self.models.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn keys(&self) -> Option<Arc<Keys>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the keys of those who may load and unload models, if anyone may.
    pub(crate) fn admins(&self) -> Option<Arc<Keys>> {
        self.admins.read().unwrap_or_else(PoisonError::into_inner).clone()
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

    /// Loads the keys, the certificate and then all models, and puts them in the place of the old ones. Keys
    /// and certificate are swapped first and on their own, so that a key that was revoked is refused even if
    /// a model cannot be loaded. What fails leaves the old ones in place. This takes as long as loading does.
    ///
    /// # Errors
    /// A message that says what could not be loaded.
    pub(crate) fn load(&self) -> Result<(), String> {
        let _one_at_a_time = lock(&self.reloading);
        let mut problem = Ok(());
        for (file, keys) in
            [(&self.config.api_key_file, &self.keys), (&self.config.admin_key_file, &self.admins)]
        {
            // A file that cannot be used keeps no key of the other one alive.
            match file.as_deref().map(Keys::read).transpose() {
                Ok(read) => *keys.write().unwrap_or_else(PoisonError::into_inner) = read.map(Arc::new),
                Err(found) => problem = problem.and(Err(found)),
            }
        }
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            problem = problem.and(tls.read_again());
        }
        problem?;
        let models = Models::load(&self.config).map_err(|error| error.with_causes(error.to_string()))?;
        if let Some(problem) = models.contradiction(&self.models()) {
            return Err(problem);
        }
        models.all().iter().for_each(|model| self.tell(model));
        self.swap(models);
        lock(&self.missing).clear();
        Ok(())
    }

    /// Says which weights were loaded.
    fn tell(&self, model: &Served) {
        let (name, task, sha) = (&model.name, model.task.name(), model.sha.get(..12).unwrap_or_default());
        let time = model.ready_after.as_millis();
        self.log.event(&format!("model {name}: {task}, sha {sha}, ready after {time} ms"));
        model.warnings.iter().for_each(|warning| self.log.event(&format!("model {name}: {warning}")));
    }

    fn swap(&self, models: Models) {
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    /// Loads one model of the settings again, in the place of the one that has its name. The result is `None`
    /// if the settings have no such model. This takes as long as loading does.
    pub(crate) fn load_model(&self, name: &str) -> Option<Result<(), String>> {
        let setting = self.config.models.iter().find(|setting| setting.name == name)?;
        let _one_at_a_time = lock(&self.reloading);
        let loaded = Models::load_one(setting, &self.config)
            .map_err(|error| error.with_causes(error.to_string()))
            .and_then(|model| {
                let models = self.models().with(model, &self.config);
                models.contradiction(&self.models()).map_or(Ok(models), Err)
            });
        self.metrics.reloaded(loaded.is_ok());
        Some(match loaded {
            Ok(models) => {
                models.get(name).into_iter().for_each(|model| self.tell(model));
                self.swap(models);
                lock(&self.missing).remove(name);
                Ok(())
            }
            Err(problem) => {
                self.log.event(&format!("not loaded: {problem}"));
                // One that was loaded before goes on to be served.
                if self.models().get(name).is_none() {
                    lock(&self.missing).insert(name.to_owned(), problem.clone());
                }
                Err(problem)
            }
        })
    }

    /// Serves a model no longer. Requests that began with it end with it. Returns false if the settings have
    /// no such model.
    pub(crate) fn unload_model(&self, name: &str) -> bool {
        let _one_at_a_time = lock(&self.reloading);
        let known = self.config.models.iter().any(|setting| setting.name == name);
        if known && self.models().get(name).is_some() {
            self.swap(self.models().without(name));
            lock(&self.missing).insert(name.to_owned(), "unloaded".to_owned());
            self.log.event(&format!("model {name}: unloaded"));
        }
        known
    }

    /// Returns the models of the settings, and why one is not served.
    pub(crate) fn index(&self) -> Vec<(String, Option<String>)> {
        let (models, missing) = (self.models(), lock(&self.missing));
        let of = |name: &String| match models.get(name) {
            Some(_) => None,
            None => Some(missing.get(name).cloned().unwrap_or_else(|| "not loaded yet".to_owned())),
        };
        self.config.models.iter().map(|setting| (setting.name.clone(), of(&setting.name))).collect()
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
        self.metrics.text(&State {
            queue: self.scheduler.snapshot(),
            models: &info.collect::<Vec<_>>(),
            ready: self.is_ready(),
            unlogged: self.log.dropped(),
            untraced: self.traces.as_ref().map_or(0, Traces::lost),
            body_bytes: self.bodies.taken(),
            tei: self.config.dialects.contains(&Dialect::Tei),
        })
    }

    pub(crate) fn open_requests(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }
}
