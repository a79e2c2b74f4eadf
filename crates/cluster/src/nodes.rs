//! The three parts of a cluster, each with the functions and with a pulse that notices a loss in seconds.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ballista::prelude::SessionContextExt as _;
use ballista_core::config::{BALLISTA_ADAPTIVE_PLANNER_ENABLED, BALLISTA_CLIENT_PULL, TaskSchedulingPolicy};
use ballista_core::extension::SessionConfigExt as _;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_core::serde::{BallistaLogicalExtensionCodec, BallistaPhysicalExtensionCodec};
use ballista_core::utils::default_session_builder;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::SchedulerConfig;
use ballista_scheduler::scheduler_process::start_server;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use mobilebert_sql::core::OnError;
use mobilebert_sql::shell;
use mobilebert_sql::{
    CheapFiltersFirst, MOST_THREADS, ModelOptions, Registry, Settings, Stores, environment, register,
};
use tokio::net::TcpStream;

use crate::codec::Codec;
use crate::engine::Engine;

/// Executors ask for tasks. If the scheduler of Ballista 55 hands them out, and loses one of two executors in the
/// second stage of a query, it takes the other one for lost, too, and the query fails.
const POLICY: TaskSchedulingPolicy = TaskSchedulingPolicy::PullStaged;
/// Seconds between two signs of life of an executor: Ballista's, for a busy one that asks for tasks.
const HEARTBEAT: usize = 5;
/// Seconds between two looks for executors that gave no sign.
const LOOK: u64 = 5;

/// `mobilebert-cluster scheduler`
#[derive(Debug, clap::Args)]
pub(crate) struct SchedulerArgs {
    /// Where clients and executors connect to
    #[arg(long, default_value = "127.0.0.1:50050", value_name = "ADDR:PORT", value_parser = address)]
    listen: SocketAddr,
    /// Seconds without a sign of life after which an executor counts as lost, and its tasks run elsewhere
    #[arg(long, default_value = "15", value_name = "SECONDS")]
    #[arg(value_parser = shell::number(LEAST_TIMEOUT, DAY))]
    executor_timeout: usize,
}

/// `mobilebert-cluster executor`
#[derive(Debug, clap::Args)]
pub(crate) struct ExecutorArgs {
    /// The scheduler
    #[arg(long, default_value = "127.0.0.1", value_name = "HOST")]
    scheduler_host: String,
    /// The scheduler's port
    #[arg(long, default_value_t = 50050, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    scheduler_port: u16,
    /// The address to listen on, under which other machines reach this one
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDR")]
    listen: String,
    /// The port for data
    #[arg(long, default_value_t = 50051, value_name = "PORT")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The number of tasks at once, each on one core
    #[arg(long, default_value = cores(), value_name = "N", value_parser = shell::number(1, MOST_THREADS))]
    pub(crate) vcores: usize,
    /// The folder for the results of tasks; a temporary one unless given
    #[arg(long, value_name = "DIR")]
    work_dir: Option<String>,
    /// The memory for sorts and groups, in MiB; the model and its texts come on top
    #[arg(long, default_value = "1024", value_name = "MIB", value_parser = shell::number(1, MOST_MEMORY))]
    memory: usize,
}

/// An executor that is well may be silent for two heartbeats.
const LEAST_TIMEOUT: usize = 2 * HEARTBEAT;
/// Seconds.
const DAY: usize = 24 * 60 * 60;
/// MiB: 16 TiB.
const MOST_MEMORY: usize = 16 << 20;

fn cores() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    cores.min(MOST_THREADS).to_string()
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let expected = || "expected an address and a port from 1 to 65535, such as 127.0.0.1:50050".to_owned();
    text.parse().ok().filter(|address: &SocketAddr| address.port() > 0).ok_or_else(expected)
}

/// A configuration that knows `mobilebert.…`, so that it can be sent.
fn config() -> SessionConfig {
    SessionConfig::new_with_ballista().with_option_extension(ModelOptions::default())
}

/// Runs until it is stopped.
pub(crate) async fn scheduler(args: SchedulerArgs, registry: Registry) -> Result<(), String> {
    let functions = registry.clone();
    let timeout = args.executor_timeout as u64;
    let stores = environment(&Arc::new(Stores::default()), None).map_err(|error| error.to_string())?;
    let session = move |config: SessionConfig| -> datafusion::error::Result<SessionState> {
        let state = SessionStateBuilder::new_from_existing(default_session_builder(config)?)
            .with_runtime_env(Arc::clone(&stores))
            .with_physical_optimizer_rule(Arc::new(CheapFiltersFirst));
        let mut state = state.build();
        register(&mut state, &functions)?;
        Ok(state)
    };
    let mut config_ = SchedulerConfig::default()
        .with_hostname(args.listen.ip().to_string())
        .with_port(args.listen.port())
        .with_scheduler_policy(POLICY)
        .with_no_executors_grace_period_seconds(timeout)
        .with_override_config_producer(Arc::new(config))
        .with_override_session_builder(Arc::new(session));
    config_.bind_host = args.listen.ip().to_string();
    config_.executor_timeout_seconds = timeout;
    config_.expire_dead_executor_interval_seconds = LOOK;
    // The scheduler plans with types and hashes. It needs no model.
    config_.override_logical_codec =
        Some(Arc::new(Codec::signatures(BallistaLogicalExtensionCodec::default(), registry.clone())));
    config_.override_physical_codec =
        Some(Arc::new(Codec::signatures(BallistaPhysicalExtensionCodec::default(), registry)));
    let cluster = BallistaCluster::new_from_config(&config_).await.map_err(|error| error.to_string())?;
    check_free(&args.listen.ip().to_string(), args.listen.port())?;
    eprintln!("mobilebert-cluster: the scheduler listens on {}", args.listen);
    start_server(cluster, args.listen, Arc::new(config_)).await.map_err(|error| error.to_string())
}

/// Runs until it is stopped.
pub(crate) async fn executor(args: ExecutorArgs, registry: Registry) -> Result<(), String> {
    let mut functions = BallistaFunctionRegistry::default();
    for function in registry.functions() {
        functions.scalar_functions.insert(function.name().to_owned(), Arc::new(function));
    }
    let (stores, folder) = (Arc::new(Stores::default()), args.work_dir.clone().map(PathBuf::from));
    check_free(&args.listen, args.port)?;
    wait_for(&args.scheduler_host, args.scheduler_port).await?;
    eprintln!(
        "mobilebert-cluster: the executor on {}:{} works for the scheduler at {}:{}",
        args.listen, args.port, args.scheduler_host, args.scheduler_port
    );
    let config_ = ExecutorProcessConfig {
        bind_host: args.listen.clone(),
        external_host: Some(args.listen),
        port: args.port,
        // Nobody listens for tasks.
        grpc_port: args.port,
        scheduler_host: args.scheduler_host,
        scheduler_port: args.scheduler_port,
        vcores: args.vcores,
        work_dir: args.work_dir,
        memory_pool_size: Some((args.memory as u64) << 20),
        task_scheduling_policy: POLICY,
        override_execution_engine: Some(Arc::new(Engine::new())),
        override_function_registry: Some(Arc::new(functions)),
        override_config_producer: Some(Arc::new(config)),
        override_runtime_producer: Some(Arc::new(move |_: &SessionConfig| {
            environment(&stores, folder.as_deref())
        })),
        override_logical_codec: Some(Arc::new(Codec::checked(
            BallistaLogicalExtensionCodec::default(),
            registry.clone(),
        ))),
        override_physical_codec: Some(Arc::new(Codec::checked(
            BallistaPhysicalExtensionCodec::default(),
            registry,
        ))),
        ..ExecutorProcessConfig::default()
    };
    start_executor_process(Arc::new(config_)).await.map_err(|error| error.to_string())
}

/// Checks that this process may listen there. Ballista does not say which address is taken, and an executor
/// whose port for data is taken would end without a word.
fn check_free(host: &str, port: u16) -> Result<(), String> {
    let bound = TcpListener::bind((host, port));
    bound.map(drop).map_err(|error| format!("cannot listen on {host}:{port}: {error}"))
}

/// Waits for a scheduler that is being started. Ballista would do so in silence, and for ever.
async fn wait_for(host: &str, port: u16) -> Result<(), String> {
    const LONGEST: Duration = Duration::from_secs(30);
    let waiting = async {
        while TcpStream::connect((host, port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(LONGEST, waiting)
        .await
        .map_err(|_| format!("expected a scheduler at {host}:{port}; found none for {} s", LONGEST.as_secs()))
}

/// Makes the context of a client. The number of texts that could not be read stays on the executors, so such
/// a text is an error, unless the query says that it is to be NULL.
pub(crate) async fn client(
    scheduler: &str,
    settings: &Settings,
    registry: Registry,
) -> Result<SessionContext, String> {
    // Ballista would tell so when the first query is sent, in the words of four layers.
    let reached = TcpStream::connect(scheduler).await;
    reached.map_err(|error| format!("cannot reach the scheduler at {scheduler}: {error}"))?;
    let codec = Arc::new(Codec::signatures(BallistaLogicalExtensionCodec::default(), registry));
    let config = settings.config().upgrade_for_ballista().with_ballista_logical_extension_codec(codec);
    // A client that asks for the state of its query knows the query's number at once, and can cancel it. One
    // that waits to be told learns the number when the query ends.
    let mut config = config.set_bool(BALLISTA_CLIENT_PULL, true);
    // Ballista 55 plans stages anew while a query runs, and then finds no stage for what it computes again for a
    // lost executor: a query whose second stage had begun hung.
    config = config.set_bool(BALLISTA_ADAPTIVE_PLANNER_ENABLED, false);
    if let Some(options) = config.options_mut().extensions.get_mut::<ModelOptions>() {
        options.on_error = OnError::Fail.to_string();
    }
    let stores = environment(&Arc::new(Stores::default()), None).map_err(|error| error.to_string())?;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(stores)
        .with_default_features()
        .build();
    let url = format!("df://{scheduler}");
    SessionContext::remote_with_state(&url, state).await.map_err(|error| error.to_string())
}
