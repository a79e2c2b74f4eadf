//! Models of the checkout, and short ways to make and read arrays.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{ArrayRef, StringArray};
use mobilebert_sql_core::{Argument, Call, Evaluator, Function, Models, Options};

/// Returns a folder of the checkout.
pub(crate) fn root(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
}

/// The built-in models by their names, and tiny ones, which answer at once but know nothing.
pub(crate) fn models() -> Models {
    let models = Models::new();
    for (name, folder) in [
        ("tiny-qa", "mobilebert-f32"),
        ("tiny", "bert-f32"),
        ("tiny-ner", "mobilebert-ner-f32"),
        ("tiny-mlm", "mobilebert-mlm-f32"),
    ] {
        models.add(name, root(&format!("tests/golden/checkpoints/{folder}")));
    }
    models
}

pub(crate) fn evaluator(function: Function, model: &str) -> Evaluator {
    let models = models();
    let call = Call::plan(&models, function, Some(model), Options::default()).unwrap();
    Evaluator::new(models, call)
}

pub(crate) fn column(texts: &[Option<&str>]) -> Argument {
    Argument::Column(Arc::new(StringArray::from(texts.to_vec())))
}

/// Returns a field of structs.
pub(crate) fn field(array: &ArrayRef, name: &str) -> ArrayRef {
    Arc::clone(array.as_struct().column_by_name(name).unwrap())
}

pub(crate) fn strings(array: &ArrayRef) -> Vec<Option<String>> {
    array.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

pub(crate) fn floats(array: &ArrayRef) -> Vec<Option<u32>> {
    array.as_primitive::<arrow_array::types::Float32Type>().iter().map(|x| x.map(f32::to_bits)).collect()
}

pub(crate) fn longs(array: &ArrayRef) -> Vec<Option<i64>> {
    array.as_primitive::<arrow_array::types::Int64Type>().iter().collect()
}

pub(crate) fn ints(array: &ArrayRef) -> Vec<Option<i32>> {
    array.as_primitive::<arrow_array::types::Int32Type>().iter().collect()
}
