//! Calls of models in plans that go to other machines.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{TableReference, not_impl_err};
use datafusion::datasource::file_format::FileFormatFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Extension, LogicalPlan, ScalarUDF};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::LogicalExtensionCodec;
use datafusion_proto::physical_plan::{PhysicalExtensionCodec, PhysicalProtoConverterExtension};
use mobilebert_sql::core::Call;
use mobilebert_sql::{Pinned, Registry};

/// A codec of Ballista, with the calls of models on top: each stands in a plan with its model's hash.
#[derive(Debug)]
pub(crate) struct Codec<C> {
    inner: C,
    registry: Registry,
    is_checked: bool,
}

impl<C> Codec<C> {
    /// For those who plan: types and hashes are enough.
    pub(crate) fn signatures(inner: C, registry: Registry) -> Self {
        Self { inner, registry, is_checked: false }
    }

    /// For those who compute: a plan for other models than those here is refused before anything runs.
    pub(crate) fn checked(inner: C, registry: Registry) -> Self {
        Self { inner, registry, is_checked: true }
    }

    fn decode(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        let external = |error| DataFusionError::External(Box::new(error));
        if bytes.is_empty() {
            return not_impl_err!("the plan has no model for the function {name}; plan it with this program");
        }
        let call = Call::decode(bytes).map_err(external)?;
        if self.is_checked
            && let Err(error) = self.registry.models().check(call.model())
        {
            // The client gets the debug form of this one, which is to be read by people.
            return Err(DataFusionError::Execution(error.to_string()));
        }
        Ok(Arc::new(self.registry.pinned(call)))
    }
}

fn encode(function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
    if let Some(pinned) = function.inner().downcast_ref::<Pinned>() {
        bytes.extend(pinned.call().encode().map_err(|error| DataFusionError::External(Box::new(error)))?);
    }
    Ok(())
}

impl<C: LogicalExtensionCodec> LogicalExtensionCodec for Codec<C> {
    fn try_decode(&self, bytes: &[u8], inputs: &[LogicalPlan], context: &TaskContext) -> Result<Extension> {
        self.inner.try_decode(bytes, inputs, context)
    }

    fn try_encode(&self, node: &Extension, bytes: &mut Vec<u8>) -> Result<()> {
        self.inner.try_encode(node, bytes)
    }

    fn try_decode_table_provider(
        &self,
        bytes: &[u8],
        name: &TableReference,
        schema: SchemaRef,
        context: &TaskContext,
    ) -> Result<Arc<dyn TableProvider>> {
        self.inner.try_decode_table_provider(bytes, name, schema, context)
    }

    fn try_encode_table_provider(
        &self,
        name: &TableReference,
        table: Arc<dyn TableProvider>,
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        self.inner.try_encode_table_provider(name, table, bytes)
    }

    fn try_decode_file_format(
        &self,
        bytes: &[u8],
        context: &TaskContext,
    ) -> Result<Arc<dyn FileFormatFactory>> {
        self.inner.try_decode_file_format(bytes, context)
    }

    fn try_encode_file_format(&self, bytes: &mut Vec<u8>, format: Arc<dyn FileFormatFactory>) -> Result<()> {
        self.inner.try_encode_file_format(bytes, format)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.decode(name, bytes)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        encode(function, bytes)
    }
}

impl<C: PhysicalExtensionCodec> PhysicalExtensionCodec for Codec<C> {
    fn try_decode(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
        context: &TaskContext,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.inner.try_decode(bytes, inputs, context, converter)
    }

    fn try_encode(
        &self,
        node: Arc<dyn ExecutionPlan>,
        bytes: &mut Vec<u8>,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<()> {
        self.inner.try_encode(node, bytes, converter)
    }

    fn try_decode_udf(&self, name: &str, bytes: &[u8]) -> Result<Arc<ScalarUDF>> {
        self.decode(name, bytes)
    }

    fn try_encode_udf(&self, function: &ScalarUDF, bytes: &mut Vec<u8>) -> Result<()> {
        encode(function, bytes)
    }
}
