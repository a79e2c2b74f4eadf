//! Cheap filters run before a model does.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr, conjunction, split_conjunction};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};

use crate::function::{Named, Pinned};

/// Splits a filter whose conditions do not all need a model: those that need none run first, and a model sees
/// only the rows that they keep. DataFusion evaluates conditions of one filter in the order of the query and
/// on whole batches.
#[derive(Debug, Default)]
pub struct CheapFiltersFirst;

impl PhysicalOptimizerRule for CheapFiltersFirst {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<FilterExec>() {
            Some(filter) => split(filter).map(|split| match split {
                Some(split) => Transformed::yes(split),
                None => Transformed::no(plan),
            }),
            None => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "cheap_filters_first"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn split(filter: &FilterExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let conditions = split_conjunction(filter.predicate()).into_iter().cloned();
    let (models, cheap): (Vec<_>, Vec<_>) = conditions.partition(needs_model);
    if models.is_empty() || cheap.is_empty() {
        return Ok(None);
    }
    let first = FilterExecBuilder::new(conjunction(cheap), Arc::clone(filter.input()))
        .with_batch_size(filter.batch_size())
        .build()?;
    let then = FilterExecBuilder::from(filter)
        .with_predicate(conjunction(models))
        .with_input(Arc::new(first))
        .build()?;
    Ok(Some(Arc::new(then)))
}

/// True if the expression calls a model.
pub(crate) fn needs_model(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let mut found = false;
    // The closure never fails.
    let _ = expr.apply(|expr| {
        let function = expr.downcast_ref::<ScalarFunctionExpr>().map(|call| call.fun().inner());
        found = function.is_some_and(|inner| {
            inner.downcast_ref::<Pinned>().is_some() || inner.downcast_ref::<Named>().is_some()
        });
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    found
}
