//! Writes the int8 form of a model folder: see `docs/model-format.md`.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::output::Partial;
use crate::config::{ModelConfig, QuantizationConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checkpoint, Tensor, WeightSource};
use crate::graph::ParameterId;
use crate::model::{self, Weights};
use crate::quant;
use crate::source::{ModelFiles, TOKENIZER_FILES};

/// What a conversion wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Int8Report {
    /// Tensors now in int8.
    pub quantized_tensors: usize,
    /// Tensors kept in f32: biases, norms, output layers.
    pub f32_tensors: usize,
    /// Size of the written `model.safetensors`.
    pub bytes: u64,
}

/// Quantises the weights of a model folder and writes a new folder that every part of this crate opens like the
/// original. The destination must not exist; it appears only when it is complete.
///
/// # Errors
/// Those of opening the source, and [`ErrorKind::Io`] or [`ErrorKind::Input`] for the destination.
pub fn to_int8(source: &ModelFiles, destination: &Path) -> Result<Int8Report> {
    super::output::check_destination(destination, None, false)?;
    let config_text = source.config_json()?;
    let config = ModelConfig::from_json(&config_text)?;
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(source.checkpoint()?, &config, &graph)?;

    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let (mut quantized_tensors, mut f32_tensors) = (0, 0);
    for (i, parameter) in graph.parameters.iter().enumerate() {
        let id = ParameterId(i);
        let name = match model::names::candidates(&config, &parameter.name).into_iter().next() {
            Some(name) => name,
            None => parameter.name.clone(),
        };
        let (values, scales) = match weights.tensor(id)? {
            Tensor::Int8 { values, scales } => (values.into_owned(), scales.into_owned()),
            Tensor::F32(values) if parameter.quantizable => quant::quantize_rows(&values, parameter.shape[1]),
            Tensor::F32(values) => {
                f32_tensors += 1;
                tensors.push((
                    name,
                    Dtype::F32,
                    parameter.shape.clone(),
                    bytemuck::cast_slice(&values).to_vec(),
                ));
                continue;
            }
        };
        quantized_tensors += 1;
        let scale_name = format!("{name}{}", QuantizationConfig::SCALE_SUFFIX);
        tensors.push((scale_name, Dtype::F32, vec![scales.len()], bytemuck::cast_slice(&scales).to_vec()));
        tensors.push((name, Dtype::I8, parameter.shape.clone(), bytemuck::cast_slice(&values).to_vec()));
    }

    let partial = Partial::create(destination)?;
    let checkpoint = serialize(&tensors, &sha256(weights.checkpoint()))?;
    partial.write("model.safetensors", &checkpoint)?;
    partial.write("config.json", with_quantization(&config_text)?.as_bytes())?;
    for name in TOKENIZER_FILES {
        if let Some(bytes) = source.read(name)? {
            partial.write(name, &bytes)?;
        }
    }
    partial.rename(destination)?;
    Ok(Int8Report { quantized_tensors, f32_tensors, bytes: checkpoint.len() as u64 })
}

/// Of the weight files, end to end in the order of their names.
fn sha256(checkpoint: &Checkpoint) -> String {
    let mut files: Vec<_> = checkpoint.files().collect();
    files.sort_unstable_by_key(|(label, _)| *label);
    let mut hasher = Sha256::new();
    for (_, bytes) in files {
        hasher.update(bytes);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn serialize(tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)], source_sha256: &str) -> Result<Vec<u8>> {
    let invalid = |e: safetensors::SafeTensorError| {
        let file = "model.safetensors".to_owned();
        Error::from(ErrorKind::Format {
            file,
            offset: 0,
            expected: "tensors that fit the format".into(),
            found: e.to_string(),
        })
    };
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).map_err(invalid)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, None).map_err(invalid)?;
    // The library keeps metadata in a hash map, so each run would write it in another order.
    let metadata = json!({
        "format": "pt",
        "source_sha256": source_sha256,
        "mobilebert_version": env!("CARGO_PKG_VERSION"),
    });
    Ok(with_metadata(&file, &metadata))
}

/// Puts `metadata` into the header of a safetensors file: its length in 8 bytes, an object, and the tensors.
fn with_metadata(file: &[u8], metadata: &Value) -> Vec<u8> {
    const LENGTH: usize = size_of::<u64>();
    let (length, rest) = file.split_at(LENGTH);
    let length = length.iter().rev().fold(0, |n, &byte| n << 8 | usize::from(byte));
    let (header, tensors) = rest.split_at(length);
    let mut with = format!("{{\"__metadata__\":{metadata},").into_bytes();
    with.extend(header[1..].trim_ascii_end());
    // Tensors begin at a multiple of 8, as the library aligns them.
    with.resize(with.len().next_multiple_of(LENGTH), b' ');
    [&(with.len() as u64).to_le_bytes()[..], &with, tensors].concat()
}

fn with_quantization(config: &str) -> Result<String> {
    let json_error = |source| ErrorKind::Json { file: "config.json".into(), source };
    let mut config: Value = serde_json::from_str(config).map_err(json_error)?;
    config["quantization_config"] = json!({
        "quant_method": QuantizationConfig::METHOD,
        "bits": 8,
        "weights": "symmetric, one f32 scale per row (output channel; embedding row)",
        "activations": "dynamic, per token",
        "scale_suffix": QuantizationConfig::SCALE_SUFFIX,
    });
    config.as_object_mut().map(|map| map.remove("dtype"));
    Ok(serde_json::to_string_pretty(&config).map_err(json_error)? + "\n")
}
