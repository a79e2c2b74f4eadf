//! From the start to the end: bind, load, be ready, load again, drain, stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::connect::{self, HEALTH_CONNECTIONS, Listener, Places, Purpose};
use crate::log::{Log, Sink};
use crate::schedule::{Limits, Scheduler};
use crate::state::{Phase, Server};

/// How long a client may take to read the last answers after the time to drain is over.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// A server that runs on threads of its own.
#[derive(Debug)]
pub struct Running {
    runtime: Runtime,
    server: Arc<Server>,
    places: Arc<Places>,
    address: String,
    health_address: Option<String>,
    grpc_address: Option<String>,
}

/// What a signal of the system asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Load models and keys again.
    Reload,
    /// Answer what was accepted and stop.
    Stop,
}

impl Running {
    /// Takes the addresses and starts the threads. `live` is answered from here on, and everything else by
    /// 503 until [`Running::load`] is done.
    ///
    /// # Errors
    /// A message that names the address or the file that cannot be used.
    pub fn start(config: Config, sink: Sink) -> Result<Self, String> {
        let config = Arc::new(config);
        let limits =
            Limits { workers: config.threads, budget: config.budget_tokens, queue: config.queue_tokens };
        let thread = |error: io::Error| format!("a thread cannot be started: {error}");
        let runtime = Builder::new_multi_thread()
            .worker_threads(config.io_threads)
            .max_blocking_threads(config.threads.max(2) + 2)
            .thread_name("io")
            .enable_all()
            .build()
            .map_err(thread)?;
        let scheduler = Scheduler::start(limits).map_err(thread)?;
        let log = Log::new(config.log, sink);
        let bind = |listen| {
            let bound = runtime.block_on(Listener::bind(listen));
            bound.map_err(|error| format!("cannot listen on {listen}: {error}"))
        };
        let listener = bind(&config.listen)?;
        let health = config.health_listen.as_ref().map(bind).transpose()?;
        let grpc = config.grpc_listen.as_ref().map(bind).transpose()?;
        let server = Arc::new(Server::new(Arc::clone(&config), scheduler, log)?);
        let places = Places::new(config.max_connections);
        let (address, health_address) = (listener.place(), health.as_ref().map(Listener::place));
        runtime.spawn(connect::accept(
            listener,
            Arc::clone(&server),
            Arc::clone(&places),
            Purpose::Everything,
        ));
        if let Some(health) = health {
            let places = Places::new(HEALTH_CONNECTIONS);
            runtime.spawn(connect::accept(health, Arc::clone(&server), places, Purpose::Health));
        }
        server.log.event(&format!("listening on {address}"));
        let grpc_address = grpc.as_ref().map(Listener::place);
        #[cfg(feature = "grpc")]
        if let Some(grpc) = grpc {
            server.log.event(&format!("listening for gRPC on {}", grpc.place()));
            let (server, places) = (Arc::clone(&server), Arc::clone(&places));
            runtime.spawn(connect::accept(grpc, server, places, Purpose::Grpc));
        }
        Ok(Self { runtime, server, places, address, health_address, grpc_address })
    }

    /// Loads the models, after which requests are taken.
    ///
    /// # Errors
    /// A message that names the model and what is wrong with it.
    pub fn load(&self) -> Result<(), String> {
        self.loader().load()
    }

    /// Returns what loads the models on another thread, while this one waits for signals.
    pub fn loader(&self) -> Loader {
        Loader(Arc::clone(&self.server))
    }

    /// Returns the address, with the port that was free if the settings said 0.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the address that answers for health only.
    pub fn health_address(&self) -> Option<&str> {
        self.health_address.as_deref()
    }

    /// Returns the address that answers gRPC.
    pub fn grpc_address(&self) -> Option<&str> {
        self.grpc_address.as_deref()
    }

    /// Loads models and keys again; see [`Loader::reload`].
    pub fn reload(&self) -> bool {
        self.loader().reload()
    }

    /// Stops: `ready` says no at once, requests are still taken for `--drain-delay-ms`, and what was accepted
    /// until then is answered, for at most `--drain-ms`. Returns true if all of it got its result.
    pub fn drain(self) -> bool {
        let Self { runtime, server, places, .. } = self;
        let config = Arc::clone(&server.config);
        server.set_phase(Phase::Leaving);
        server.log.event("stopping: answering what was accepted");
        runtime.block_on(async {
            tokio::time::sleep(config.drain_delay).await;
            server.set_phase(Phase::Draining);
            if tokio::time::timeout(config.drain, places.all_free()).await.is_ok() {
                return;
            }
            // What waits is told so, and what runs goes on to the end of its pass.
            let scheduler = Arc::clone(&server);
            let close = tokio::task::spawn_blocking(move || scheduler.scheduler.close());
            let _ =
                tokio::time::timeout(LAST_ANSWERS, async { tokio::join!(close, places.all_free()) }).await;
        });
        let answered = server.open_requests() == 0 && !server.left_unanswered.load(Ordering::Acquire);
        server.log.event(if answered { "stopped" } else { "stopped before all was answered" });
        if let Some(traces) = &server.traces {
            traces.finish(LAST_ANSWERS);
        }
        runtime.shutdown_timeout(LAST_ANSWERS);
        answered
    }
}

/// Loads what a server serves, on whatever thread it is.
#[derive(Debug, Clone)]
pub struct Loader(Arc<Server>);

impl Loader {
    /// Loads the models, after which requests are taken, unless the server was told to stop meanwhile.
    ///
    /// # Errors
    /// A message that names the model and what is wrong with it.
    pub fn load(&self) -> Result<(), String> {
        self.0.load()?;
        if self.0.loaded() {
            self.0.log.event("ready");
        }
        Ok(())
    }

    /// Loads keys and models again. Keys are swapped first, on their own. If a model cannot be loaded, the old
    /// models stay, and the log says why. Requests that began with the old models end with them.
    pub fn reload(&self) -> bool {
        self.0.reload()
    }
}

/// The signals of the system, which are watched from the moment that this is made.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    #[cfg(unix)]
    watched: [tokio::signal::unix::Signal; 3],
}

impl Signals {
    /// Watches SIGHUP, SIGTERM and SIGINT, or Ctrl-C where there are no such signals.
    ///
    /// # Errors
    /// Those of the system, if it does not let signals be watched.
    pub fn watch() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        #[cfg(unix)]
        let watched = {
            use tokio::signal::unix::{SignalKind, signal};
            let _entered = runtime.enter();
            [
                signal(SignalKind::hangup())?,
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            ]
        };
        Ok(Self {
            runtime,
            #[cfg(unix)]
            watched,
        })
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    pub fn wait(&mut self) -> Signal {
        let [hangup, terminate, interrupt] = &mut self.watched;
        self.runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => Signal::Stop,
                _ = interrupt.recv() => Signal::Stop,
                _ = hangup.recv() => Signal::Reload,
            }
        })
    }

    /// Waits for the next signal.
    #[cfg(not(unix))]
    pub fn wait(&mut self) -> Signal {
        // Without the signal nothing else stops the server.
        let _ = self.runtime.block_on(tokio::signal::ctrl_c());
        Signal::Stop
    }
}
