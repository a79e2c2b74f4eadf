//! How an executor runs its part of a query: as Ballista does, but without partial files.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ballista_core::JobId;
use ballista_core::client::BallistaClient;
use ballista_core::client_pool::{BallistaClientPool, PooledClient};
use ballista_core::error::Result as BallistaResult;
use ballista_core::extension::BallistaConfigGrpcEndpoint;
use ballista_core::utils::GrpcClientConfig;
use ballista_executor::execution_engine::{DefaultExecutionEngine, ExecutionEngine, QueryStageExecutor};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use mobilebert_sql::NoPartialFiles;

/// Ballista's engine, for plans whose writers finish a file only if all its rows came. The scheduler cannot see
/// to that, because plans that are sent hold DataFusion's writers. Without it, a task that loses its input with
/// an executor would leave a file of the rows so far beside that of its second try.
pub(crate) struct Engine(DefaultExecutionEngine);

impl Engine {
    pub(crate) fn new() -> Self {
        Self(DefaultExecutionEngine::with_client_pool(Arc::new(Connections::default())))
    }
}

impl ExecutionEngine for Engine {
    fn create_query_stage_exec(
        &self,
        job_id: JobId,
        stage_id: usize,
        task_id: usize,
        partitions: Vec<usize>,
        plan: Arc<dyn ExecutionPlan>,
        work_dir: &str,
        config: &SessionConfig,
    ) -> Result<Arc<dyn QueryStageExecutor>> {
        let plan = NoPartialFiles.optimize(plan, config.options())?;
        self.0.create_query_stage_exec(job_id, stage_id, task_id, partitions, plan, work_dir, config)
    }
}

/// An executor that results are fetched from, and how.
type Other = (String, u16, GrpcClientConfig);
/// Connections that nobody uses, and since when.
type Idle = HashMap<Other, Vec<(Instant, BallistaClient)>>;

/// Connections to other executors, which fetch one result after another. That of Ballista is not public.
#[derive(Default)]
struct Connections(Arc<Mutex<Idle>>);

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    // It changes by single insertions and removals.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes connections that were not used for long, such as those to executors that are lost.
fn close_old(idle: &mut Idle) {
    const LONG: Duration = Duration::from_secs(30);
    idle.retain(|_, clients| {
        clients.retain(|(since, _)| since.elapsed() < LONG);
        !clients.is_empty()
    });
}

#[async_trait]
impl BallistaClientPool for Connections {
    async fn acquire(
        &self,
        host: &str,
        port: u16,
        config: &GrpcClientConfig,
        customize: Option<Arc<BallistaConfigGrpcEndpoint>>,
    ) -> BallistaResult<PooledClient> {
        let other = (host.to_owned(), port, config.clone());
        let known = {
            let mut idle = lock(&self.0);
            close_old(&mut idle);
            idle.get_mut(&other).and_then(Vec::pop)
        };
        let client = match known {
            Some((_, client)) => client,
            None => {
                BallistaClient::try_new(
                    host,
                    port,
                    config.max_message_size,
                    config.use_tls,
                    customize,
                    config.io_retries_times,
                    config.io_retry_wait_time_ms,
                    config.initial_connection_window_size,
                    config.initial_stream_window_size,
                )
                .await?
            }
        };
        let idle = Arc::clone(&self.0);
        let give_back = move |client| lock(&idle).entry(other).or_default().push((Instant::now(), client));
        Ok(PooledClient::new(client, Box::new(give_back)))
    }

    async fn evict_idle(&self) {
        close_old(&mut lock(&self.0));
    }
}
