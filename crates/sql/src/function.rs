//! The functions as DataFusion sees them: by name in a query, and pinned to a model in its plan.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue, config::ConfigOptions, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use mobilebert_sql_core::{Argument, Call, Error, Evaluator, Function, is_text};

use crate::options;
use crate::registry::Registry;

fn external(error: Error) -> DataFusionError {
    match error {
        // A cluster hands errors on as the debug form of this one, which is to be read by people.
        Error::Row { .. } => DataFusionError::Execution(error.to_string()),
        error => DataFusionError::External(Box::new(error)),
    }
}

/// A function by its name, whose last argument may be the name of a model.
#[derive(Debug)]
pub struct Named {
    function: Function,
    registry: Registry,
    signature: Signature,
    documentation: Documentation,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Named {}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

/// Returns how the function is written.
fn usage(function: Function) -> String {
    let model = if function.default_model().is_some() { " [, 'MODEL']" } else { ", 'MODEL'" };
    format!("{function}({}{model})", function.texts().join(", "))
}

impl Named {
    /// Makes the function.
    pub fn new(function: Function, registry: Registry) -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        let section = DocSection { include: true, label: "Functions of models", description: None };
        let documentation = Documentation::builder(section, function.description(), usage(function)).build();
        Self { function, registry, signature, documentation }
    }

    fn usage(&self) -> &str {
        &self.documentation.syntax_example
    }

    /// Finds the model that a literal names.
    fn call(&self, model: Option<&ScalarValue>, options: mobilebert_sql_core::Options) -> Result<Call> {
        let name = match model {
            None => None,
            Some(value) => match value.try_as_str() {
                Some(Some(name)) => Some(name),
                _ => return plan_err!("the model of {} is {value}; expected its name", self.usage()),
            },
        };
        Call::plan(self.registry.models(), self.function, name, options).map_err(external)
    }

    fn no_literal<T>(&self) -> Result<T> {
        plan_err!("the model of {} has to be a literal, such as 'sentiment'", self.usage())
    }
}

impl ScalarUDFImpl for Named {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        let texts = self.function.texts().len();
        if kinds.len() != texts && kinds.len() != texts + 1 {
            return plan_err!("expected {}; found {} arguments", self.usage(), kinds.len());
        }
        if let Some(found) = kinds.iter().find(|kind| !is_text(kind)) {
            return plan_err!("expected texts in {}; found {found}", self.usage());
        }
        Ok(kinds.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        plan_err!("the type of {} depends on its model", self.function)
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let model = match args.scalar_arguments.get(self.function.texts().len()) {
            None => None,
            Some(Some(literal)) => Some(*literal),
            Some(None) => return self.no_literal(),
        };
        let call = self.call(model, mobilebert_sql_core::Options::default())?;
        Ok(Arc::new(Field::new(self.name(), call.data_type(), true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    /// Most plans hold pinned functions only. This serves those that were made without the rewrite.
    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = self.function.texts().len();
        let model = match args.args.get(texts) {
            None => None,
            Some(ColumnarValue::Scalar(literal)) => Some(literal),
            Some(ColumnarValue::Array(_)) => return self.no_literal(),
        };
        let call = self.call(model, options::of(&args.config_options)?)?;
        args.args.truncate(texts);
        self.registry.pinned(call).invoke_with_args(args)
    }
}

/// A call whose model is known by its content.
#[derive(Debug)]
pub struct Pinned {
    evaluator: Arc<Evaluator>,
    signature: Signature,
}

impl PartialEq for Pinned {
    fn eq(&self, other: &Self) -> bool {
        self.call() == other.call()
    }
}

impl Eq for Pinned {}

impl Hash for Pinned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.call().hash(state);
    }
}

impl Pinned {
    pub(crate) fn new(evaluator: Arc<Evaluator>) -> Self {
        Self { evaluator, signature: Signature::user_defined(Volatility::Immutable) }
    }

    /// Returns the call.
    pub fn call(&self) -> &Call {
        self.evaluator.call()
    }

    /// Returns the call with its texts and its model: two models on one text are two columns.
    fn with_texts(&self, texts: &str) -> String {
        format!("{}({texts},{})", self.name(), self.call().model())
    }
}

impl ScalarUDFImpl for Pinned {
    fn name(&self) -> &str {
        self.call().function().name()
    }

    /// DataFusion takes columns of one name for the same column.
    fn schema_name(&self, texts: &[Expr]) -> Result<String> {
        let names = texts.iter().map(|text| text.schema_name().to_string()).collect::<Vec<_>>();
        Ok(self.with_texts(&names.join(",")))
    }

    /// DataFusion calls this deprecated one still, and names columns of physical plans by it.
    fn display_name(&self, texts: &[Expr]) -> Result<String> {
        Ok(self.with_texts(&texts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        Ok(kinds.to_vec())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.call().data_type())
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name(), self.call().data_type(), true)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalar { 1 } else { args.number_rows };
        let arguments = args.args.into_iter().map(argument).collect::<Result<Vec<_>>>()?;
        let result: ArrayRef = self.evaluator.evaluate(&arguments, rows).map_err(external)?;
        match scalar {
            true => ScalarValue::try_from_array(&result, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(result)),
        }
    }
}

fn argument(value: ColumnarValue) -> Result<Argument> {
    match value {
        ColumnarValue::Array(array) => Ok(Argument::Column(array)),
        ColumnarValue::Scalar(value) if value.is_null() => Ok(Argument::Literal(None)),
        ColumnarValue::Scalar(value) => match value.try_as_str() {
            Some(text) => Ok(Argument::Literal(text.map(str::to_owned))),
            None => plan_err!("expected a text; found {value}"),
        },
    }
}

/// Puts pinned calls in the place of named ones before a plan is optimised.
#[derive(Debug)]
pub(crate) struct Pin;

impl FunctionRewrite for Pin {
    fn name(&self) -> &str {
        "pin_models"
    }

    fn rewrite(&self, expr: Expr, _: &DFSchema, config: &ConfigOptions) -> Result<Transformed<Expr>> {
        let Expr::ScalarFunction(ScalarFunction { func, mut args }) = expr else {
            return Ok(Transformed::no(expr));
        };
        let Some(named) = func.inner().downcast_ref::<Named>() else {
            return Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })));
        };
        let model = match args.get(named.function.texts().len()) {
            None => None,
            Some(Expr::Literal(literal, _)) => Some(literal),
            Some(_) => return named.no_literal(),
        };
        let call = named.call(model, options::of(config)?)?;
        args.truncate(named.function.texts().len());
        let func: Arc<ScalarUDF> = Arc::new(named.registry.pinned(call));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction { func, args })))
    }
}
