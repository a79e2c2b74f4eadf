//! Ctrl-C at the client ends the work of the executors, too.

use std::sync::Arc;
use std::time::Duration;

use ballista_core::execution_plans::DistributedQueryExec;
use ballista_core::serde::protobuf::CancelJobParams;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::protobuf::LogicalPlanNode;
use mobilebert_sql::shell::Place;

/// The cluster of this scheduler.
pub(crate) struct Cluster {
    /// `HOST:PORT`
    pub(crate) scheduler: String,
}

/// A query as the client's plan holds it.
type Query = DistributedQueryExec<LogicalPlanNode>;

/// The longest time for the scheduler to be told. It may be gone.
const LONGEST: Duration = Duration::from_secs(10);
/// The time between two looks whether the scheduler has given a query its number.
const LOOK: Duration = Duration::from_millis(20);

impl Place for Cluster {
    async fn stop(&self, plan: &Arc<dyn ExecutionPlan>) {
        let Some(query) = query_of(plan) else { return };
        let told = tokio::time::timeout(LONGEST, tell(&self.scheduler, &query)).await;
        if let Err(problem) = told.unwrap_or_else(|_| Err(format!("no answer in {LONGEST:?}"))) {
            eprintln!(
                "mobilebert-cluster: the scheduler cannot be told to cancel the query, which may go on: \
                 {problem}"
            );
        }
    }
}

/// Tells the scheduler that nobody waits for a query.
async fn tell(scheduler: &str, query: &Arc<dyn ExecutionPlan>) -> Result<(), String> {
    // A query that was sent just now has no number yet.
    let job_id = loop {
        match query.downcast_ref::<Query>().map(Query::job_id) {
            Some(None) => tokio::time::sleep(LOOK).await,
            found => break found.flatten().map(|id| id.to_string()).unwrap_or_default(),
        }
    };
    let connected = SchedulerGrpcClient::connect(format!("http://{scheduler}")).await;
    let mut client = connected.map_err(|error| error.to_string())?;
    client.cancel_job(CancelJobParams { job_id }).await.map_err(|error| error.to_string())?;
    Ok(())
}

/// Finds the part of a client's plan that the cluster runs.
fn query_of(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let mut found = None;
    // The closure never fails.
    let _ = plan.apply(|node| {
        if node.downcast_ref::<Query>().is_none() {
            return Ok(TreeNodeRecursion::Continue);
        }
        found = Some(Arc::clone(node));
        Ok(TreeNodeRecursion::Stop)
    });
    found
}
