//! `copy` and `insert`: a statement that fails finishes no file.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::plan_err;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::stream::{self, StreamExt as _};
use tokio::sync::oneshot;

/// Lets no statement that fails finish a file. DataFusion's writers take the end of their rows for the end of
/// the table, also when an error is what ended them: the file would hold the rows so far, look like a whole
/// one, and stand in the place of the one before.
#[derive(Debug, Default)]
pub struct NoPartialFiles;

impl PhysicalOptimizerRule for NoPartialFiles {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<DataSinkExec>() {
            Some(exec) if !exec.sink().is::<Whole>() => {
                let (input, order) = (Arc::clone(exec.input()), exec.sort_order().clone());
                let sink = Arc::new(Whole { exec: exec.clone() });
                Ok(Transformed::yes(Arc::new(DataSinkExec::new(input, sink, order)) as _))
            }
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "no_partial_files"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A sink whose rows end well or not at all. DataFusion shows the sink of a plan, but does not share it, so
/// this holds the plan.
#[derive(Debug)]
struct Whole {
    exec: DataSinkExec,
}

impl DisplayAs for Whole {
    fn fmt_as(&self, kind: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.exec.sink().fmt_as(kind, f)
    }
}

#[async_trait]
impl DataSink for Whole {
    fn metrics(&self) -> Option<MetricsSet> {
        self.exec.sink().metrics()
    }

    fn schema(&self) -> &SchemaRef {
        self.exec.sink().schema()
    }

    /// An error among the rows is handed past the writers, which wait for a batch that never comes until they
    /// are dropped. Writers that are dropped finish nothing, as after Ctrl-C.
    async fn write_all(&self, data: SendableRecordBatchStream, context: &Arc<TaskContext>) -> Result<u64> {
        let (sender, problem) = oneshot::channel();
        let schema = data.schema();
        let rows = stream::unfold((data, sender), |(mut data, sender)| async move {
            match data.next().await? {
                Ok(batch) => Some((Ok(batch), (data, sender))),
                Err(error) => {
                    // The receiver has gone if the writers have failed, too.
                    let _ = sender.send(error);
                    std::future::pending().await
                }
            }
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        tokio::select! {
            biased;
            Ok(error) = problem => Err(error),
            written = self.exec.sink().write_all(rows, context) => written,
        }
    }
}

/// Refuses to write columns into CSV that it cannot hold, before a file is begun.
pub(crate) fn check(plan: &LogicalPlan) -> Result<()> {
    plan.apply(|node| {
        let LogicalPlan::Copy(copy) = node else { return Ok(TreeNodeRecursion::Continue) };
        let nested = copy.input.schema().fields().iter().find(|field| field.data_type().is_nested());
        match nested {
            Some(field) if copy.file_type.get_ext() == "csv" => plan_err!(
                "CSV has no structs, lists and maps, but the column `{0}` holds them; take what you need of it, as in \
                 {0}['label'], or write .parquet or .json",
                field.name()
            ),
            _ => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(())
}
