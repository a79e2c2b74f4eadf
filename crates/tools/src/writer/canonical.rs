//! The canonical form that every source is brought to: its names, its hash and its `config.json`.

use serde_json::{Map, Value, json};

use mobilebert::format::{Tensor, WeightSource, sha256};
use mobilebert::graph::{Graph, ParameterId};
use mobilebert::model;
use mobilebert::quant::Bits;
use mobilebert::{Error, ModelConfig, QuantizationConfig, Result, TensorProblem};

/// Returns the name under which a parameter is written.
pub(super) fn name(config: &ModelConfig, parameter: &str) -> String {
    model::names::canonical(config, parameter)
}

/// Collects the tensors of a model in any order. The hash is that of the sorted list.
#[derive(Default)]
pub(super) struct ContentHash {
    lines: Vec<String>,
}

impl ContentHash {
    pub(super) fn add(&mut self, name: &str, dtype: &str, shape: &[usize], bytes: &[u8]) {
        let digest = sha256([bytes]);
        self.lines.push(format!("{name} {dtype} {shape:?} {digest}\n"));
    }

    pub(super) fn finish(mut self) -> String {
        self.lines.sort_unstable();
        sha256(&self.lines)
    }
}

/// Returns the SHA-256 of the weights that a model computes with. It does not depend on the file format, the
/// order, the number of files or the float type that they are stored in. What is hashed are the sorted lines
/// `NAME DTYPE SHAPE SHA256\n`, where SHA256 is that of the tensor's little-endian bytes and DTYPE is `F32`,
/// or `I8` for int8 tensors, whose scales are tensors of their own (`docs/conversion.md`).
///
/// # Errors
/// Returns the errors of reading the weights.
///
/// ```
/// use mobilebert::model::{self, synthetic::Synthetic};
/// use mobilebert::ModelConfig;
/// use mobilebert_tools::writer;
///
/// let config = ModelConfig::from_json(r#"{"model_type": "mobilebert", "num_hidden_layers": 1}"#)?;
/// let graph = model::build(&config, config.head);
/// let hash = writer::content_hash(&config, &graph, &Synthetic::new(&graph))?;
/// assert_eq!(hash.len(), 64);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn content_hash(config: &ModelConfig, graph: &Graph, weights: &dyn WeightSource) -> Result<String> {
    let mut hash = ContentHash::default();
    for (i, parameter) in graph.parameters.iter().enumerate() {
        let name = name(config, &parameter.name);
        match weights.tensor(ParameterId(i))? {
            Tensor::F32(values) => hash.add(&name, "F32", &parameter.shape, &le_bytes(&values)),
            Tensor::Int8 { values, scales } => {
                hash.add(&name, "I8", &parameter.shape, bytemuck::cast_slice(&values));
                hash.add(&scale_name(&name), "F32", &[scales.len()], &le_bytes(&scales));
            }
        }
    }
    Ok(hash.finish())
}

/// Refuses a tensor that holds a NaN or an infinity.
///
/// # Errors
/// [`mobilebert::ErrorKind::Tensor`] with the tensor's name.
pub(super) fn check_finite(name: &str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => {
            let problem = TensorProblem::NotFinite { index, value: values[index] };
            Err(Error::tensor("the source", name, problem))
        }
    }
}

pub(super) fn scale_name(name: &str) -> String {
    format!("{name}{}", QuantizationConfig::SCALE_SUFFIX)
}

/// Returns the `quantization_config` of a model in which no module keeps another precision.
pub(super) fn quantization(bits: Bits) -> Value {
    let mut value = json!({
        "quant_method": QuantizationConfig::METHOD,
        "bits": 8,
        "weights": "symmetric, one f32 scale per row (output channel; embedding row)",
        "activations": "dynamic, per token",
        "scale_suffix": QuantizationConfig::SCALE_SUFFIX,
    });
    if bits == Bits::Four {
        value["bits"] = 4.into();
        value["group_size"] = QuantizationConfig::GROUP_SIZE.into();
        value["weights"] =
            "symmetric, one f32 scale per row, one integer multiplier per group of its columns".into();
    }
    value
}

/// Returns the bytes of numbers as they are in a file, which are always little-endian.
pub(crate) fn le_bytes(values: &[f32]) -> std::borrow::Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        bytemuck::cast_slice(values).into()
    } else {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}

/// Returns a `config.json` with every field that the engine reads, and with the original's fields about the
/// text or the training.
pub(crate) fn config_json(config: &ModelConfig, original: &Map<String, Value>) -> Result<String> {
    /// Fields about the library that wrote the original, and those that change, such as the number type.
    const DROPPED: [&str; 6] = [
        "_name_or_path",
        "transformers_version",
        "dtype",
        "torch_dtype",
        "num_labels",
        "quantization_config",
    ];
    let mut map = config.to_fields();
    for (field, value) in original.iter().filter(|(field, _)| !DROPPED.contains(&field.as_str())) {
        if !map.contains_key(field) {
            map.insert(field.clone(), value.clone());
        }
    }
    let quantization = original.get("quantization_config").filter(|_| config.quantization.is_some());
    if let Some(value) = quantization {
        let mut value = value.clone();
        if value["bits"] == 4 {
            let keep_f32 = value["keep_f32"].take();
            value = self::quantization(Bits::Eight);
            if !keep_f32.is_null() {
                value["keep_f32"] = keep_f32;
            }
        }
        // Scales are written under this suffix, whatever the original called them.
        value["scale_suffix"] = QuantizationConfig::SCALE_SUFFIX.into();
        map.insert("quantization_config".to_owned(), value);
    }
    let text = serde_json::to_string_pretty(&map)
        .map_err(|source| mobilebert::ErrorKind::Json { file: "config.json".into(), source })?;
    Ok(text + "\n")
}
