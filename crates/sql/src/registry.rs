//! What all functions of a session share: models, the calls that run, and their counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use mobilebert_sql_core::{Call, Counters, Counts, Evaluator, Function, Models, Stop};

use crate::function::{Named, Pin, Pinned};

/// The models and the running calls of a process. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    models: Models,
    stop: Stop,
    calls: Mutex<BTreeMap<Call, Known>>,
}

/// A call that was planned at least once.
#[derive(Debug)]
struct Known {
    counters: Counters,
    /// What it has computed is kept as long as a plan with the call is.
    running: Weak<Evaluator>,
}

impl Registry {
    /// Makes a registry of these models.
    pub fn new(models: Models) -> Self {
        Self(Arc::new(Inner { models, ..Inner::default() }))
    }

    /// Returns the models.
    pub fn models(&self) -> &Models {
        &self.0.models
    }

    /// Returns what stops all calls.
    pub fn stop(&self) -> &Stop {
        &self.0.stop
    }

    /// Returns what each call has done since the registry was made.
    pub fn counts(&self) -> Vec<(Call, Counts)> {
        self.calls().iter().map(|(call, known)| (call.clone(), known.counters.get())).collect()
    }

    /// Returns the function of a call. Equal calls share what they have computed.
    pub fn pinned(&self, call: Call) -> ScalarUDF {
        Pinned::new(self.evaluator(call)).into()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<Call, Known>> {
        self.0.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evaluator(&self, call: Call) -> Arc<Evaluator> {
        let mut calls = self.calls();
        let known = calls
            .entry(call.clone())
            .or_insert_with(|| Known { counters: Counters::new(), running: Weak::new() });
        if let Some(running) = known.running.upgrade() {
            return running;
        }
        let made = Evaluator::new(self.0.models.clone(), call);
        let made = Arc::new(made.with_stop(self.0.stop.clone()).with_counters(known.counters.clone()));
        known.running = Arc::downgrade(&made);
        made
    }

    /// Returns all functions, as they are named in queries.
    pub fn functions(&self) -> Vec<ScalarUDF> {
        Function::ALL.into_iter().map(|function| Named::new(function, self.clone()).into()).collect()
    }
}

/// Registers all functions, and the rewrite that pins the models of their calls.
///
/// # Errors
/// Those of the registry.
pub fn register(functions: &mut dyn FunctionRegistry, registry: &Registry) -> Result<()> {
    for function in registry.functions() {
        functions.register_udf(Arc::new(function))?;
    }
    functions.register_function_rewrite(Arc::new(Pin))
}
