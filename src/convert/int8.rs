//! Writes the int8 form of a model folder: see `docs/model-format.md`.

use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::output::Partial;
use crate::config::{ModelConfig, QuantizationConfig};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checkpoint, Tensor, WeightSource};
use crate::graph::{Node, ParameterId};
use crate::model::{self, Weights};
use crate::quant::{self, Deviation, Scales};
use crate::source::{ModelFiles, TOKENIZER_FILES};

/// How weights become int8.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Int8Options {
    keep_f32: Vec<String>,
    scales: Scales,
}

impl Int8Options {
    /// Everything that can be is in int8, without clipping.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves the modules whose path begins with one of these in f32, such as `encoder.layer.0.`.
    pub fn keep_f32<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.keep_f32 = paths.into_iter().map(Into::into).collect();
        self
    }

    /// Chooses how scales are found.
    pub fn scales(mut self, scales: Scales) -> Self {
        self.scales = scales;
        self
    }
}

/// What a conversion wrote.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Int8Report {
    /// Tensors now in int8.
    pub quantized_tensors: usize,
    /// Tensors kept in f32: biases, norms, output layers, and those of modules that stay in f32.
    pub f32_tensors: usize,
    /// Size of the written `model.safetensors`.
    pub bytes: u64,
    /// Each tensor that has rows and columns to quantise, in int8 or kept.
    #[serde(skip)]
    pub tensors: Vec<TensorError>,
}

/// What a tensor is stored as, and how far that is from the source.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct TensorError {
    /// Its name in the checkpoint.
    pub name: String,
    /// `int8`, or `f32` if its module stays in f32.
    pub stored: &'static str,
    /// Rows and columns.
    pub shape: Vec<usize>,
    /// Bytes of the values and their scales.
    pub bytes: usize,
    /// Rows whose largest values are clipped.
    pub clipped_rows: usize,
    /// See [`Deviation`].
    #[serde(skip)]
    pub deviation: Deviation,
}

/// Quantises the weights of a model folder and writes a new folder that every part of this crate opens like the
/// original. The destination must not exist; it appears only when it is complete.
///
/// # Errors
/// Those of opening the source, and [`ErrorKind::Io`] or [`ErrorKind::Input`] for the destination.
pub fn to_int8(source: &ModelFiles, destination: &Path) -> Result<Int8Report> {
    to_int8_with(source, destination, &Int8Options::new())
}

/// As [`to_int8`], with options.
///
/// # Errors
/// As [`to_int8`].
pub fn to_int8_with(source: &ModelFiles, destination: &Path, options: &Int8Options) -> Result<Int8Report> {
    super::output::check_destination(destination, None, false)?;
    let partial = Partial::create(destination)?;
    let report = write_int8(source, &partial, options)?;
    partial.rename(destination)?;
    Ok(report)
}

/// Writes all files of the int8 model into a folder under construction.
pub(crate) fn write_int8(
    source: &ModelFiles,
    partial: &Partial,
    options: &Int8Options,
) -> Result<Int8Report> {
    let config_text = source.config_json()?;
    let config = ModelConfig::from_json(&config_text)?;
    let graph = model::build(&config, config.head);
    let weights = Weights::bind(source.checkpoint()?, &config, &graph)?;
    // A model that keeps modules in f32 already goes on keeping them.
    let mut keep_f32 = config.quantization.as_ref().map_or_else(Vec::new, |q| q.keep_f32.clone());
    keep_f32.extend(options.keep_f32.iter().cloned());
    keep_f32.dedup();
    let is_kept = |node: &&Node| keep_f32.iter().any(|prefix| node.name.starts_with(prefix.as_str()));
    let kept: Vec<ParameterId> =
        graph.nodes.iter().filter(is_kept).flat_map(|node| node.op.parameters()).collect();

    let mut written: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let mut tensors = Vec::new();
    let (mut quantized_tensors, mut f32_tensors) = (0, 0);
    for (i, parameter) in graph.parameters.iter().enumerate() {
        let id = ParameterId(i);
        let name = super::canonical::name(&config, &parameter.name);
        let shape = parameter.shape.clone();
        let report = |stored, bytes, clipped_rows, deviation| TensorError {
            name: name.clone(),
            stored,
            shape: shape.clone(),
            bytes,
            clipped_rows,
            deviation,
        };
        let (values, scales) = match weights.tensor(id)? {
            Tensor::Int8 { values, scales } => {
                tensors.push(report("int8", values.len() + 4 * scales.len(), 0, Deviation::default()));
                (values.into_owned(), scales.into_owned())
            }
            Tensor::F32(floats) if parameter.quantizable && !kept.contains(&id) => {
                let columns = shape[1];
                let (values, scales) = quant::quantize_rows_with(&floats, columns, options.scales);
                let clipped = clipped_rows(&floats, columns, &scales);
                let stored =
                    Tensor::Int8 { values: values.as_slice().into(), scales: scales.as_slice().into() };
                let mut deviation = Deviation::default();
                deviation.add(&floats, &stored.into_f32());
                tensors.push(report("int8", values.len() + 4 * scales.len(), clipped, deviation));
                (values, scales)
            }
            Tensor::F32(values) => {
                f32_tensors += 1;
                if parameter.quantizable {
                    tensors.push(report("f32", 4 * values.len(), 0, Deviation::default()));
                }
                written.push((name, Dtype::F32, shape, bytemuck::cast_slice(&values).to_vec()));
                continue;
            }
        };
        quantized_tensors += 1;
        let scale_name = super::canonical::scale_name(&name);
        written.push((scale_name, Dtype::F32, vec![scales.len()], bytemuck::cast_slice(&scales).to_vec()));
        written.push((name, Dtype::I8, shape, bytemuck::cast_slice(&values).to_vec()));
    }

    let checkpoint = serialize(&written, &sha256(weights.checkpoint()))?;
    partial.write("model.safetensors", &checkpoint)?;
    let config = with_quantization(&config_text, &keep_f32, options.scales)?;
    partial.write("config.json", config.as_bytes())?;
    for name in TOKENIZER_FILES {
        if let Some(bytes) = source.read(name)? {
            partial.write(name, &bytes)?;
        }
    }
    Ok(Int8Report { quantized_tensors, f32_tensors, bytes: checkpoint.len() as u64, tensors })
}

fn clipped_rows(values: &[f32], columns: usize, scales: &[f32]) -> usize {
    // Half a step beyond the end still rounds to it.
    let is_clipped = |row: &[f32], scale: f32| row.iter().any(|v| v.abs() > (quant::MAX + 0.5) * scale);
    values.chunks_exact(columns.max(1)).zip(scales).filter(|(row, scale)| is_clipped(row, **scale)).count()
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

fn with_quantization(config: &str, keep_f32: &[String], scales: Scales) -> Result<String> {
    let json_error = |source| ErrorKind::Json { file: "config.json".into(), source };
    let mut config: Value = serde_json::from_str(config).map_err(json_error)?;
    let mut quantization = json!({
        "quant_method": QuantizationConfig::METHOD,
        "bits": 8,
        "weights": "symmetric, one f32 scale per row (output channel; embedding row)",
        "activations": "dynamic, per token",
        "scale_suffix": QuantizationConfig::SCALE_SUFFIX,
    });
    // What is as in the plain form is not mentioned, so that plain folders stay the same, byte by byte.
    if scales != Scales::Max {
        quantization["scales"] = scales.name().into();
    }
    if !keep_f32.is_empty() {
        quantization["keep_f32"] = keep_f32.into();
    }
    config["quantization_config"] = quantization;
    config.as_object_mut().map(|map| map.remove("dtype"));
    Ok(serde_json::to_string_pretty(&config).map_err(json_error)? + "\n")
}
