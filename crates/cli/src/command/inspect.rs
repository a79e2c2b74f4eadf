//! `mobilebert inspect`

use std::collections::BTreeMap;

use mobilebert::format::{ElementType, sha256};
use mobilebert::graph::Parameter;
use mobilebert::model::{self, Weights};
use mobilebert::{Head, ModelConfig, ModelFiles, QuantizationConfig, Result, TagScheme};
use mobilebert_tools::writer::content_hash;
use serde::Serialize;
use serde_json::{Map, Value};

use super::DEFAULT_MODEL;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::{Format, Output, plain};

/// The description of a model.
#[derive(Serialize)]
struct Description {
    model: String,
    architecture: &'static str,
    class: String,
    config: Map<String, Value>,
    labels: Vec<String>,
    /// The scheme of a tagger's labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag_scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tokenizer: Option<Tokens>,
    /// The number of weights, without scales and buffers.
    parameters: usize,
    /// A hash that is the same for the same weights in any file format.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_sha256: Option<String>,
    totals: BTreeMap<String, Total>,
    files: Vec<WeightFile>,
    tensors: Vec<TensorLine>,
}

#[derive(Serialize)]
struct Tokens {
    vocab_size: usize,
    model_max_length: Option<usize>,
}

#[derive(Serialize, Default)]
struct Total {
    tensors: usize,
    elements: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct WeightFile {
    name: String,
    bytes: usize,
    sha256: String,
}

#[derive(Serialize)]
struct TensorLine {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    bytes: usize,
}

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let model = global.model(DEFAULT_MODEL);
    let description = match model.strip_prefix("synthetic:") {
        Some(name) => describe_synthetic(model, &model::synthetic::config(name)?),
        None => describe(&ModelFiles::resolve(model)?)?,
    };
    let mut output = Output::stdout(global);
    match output.format() {
        Format::Json => output.json(&description)?,
        Format::Human | Format::Table => show(&description, &mut output)?,
    }
    output.flush()
}

fn describe(files: &ModelFiles) -> Result<Description> {
    let mut config = ModelConfig::from_json(&files.config_json()?)?;
    let tokenizer = files.tokenizer()?;
    let checkpoint = files.checkpoint()?;
    let mut totals: BTreeMap<String, Total> = BTreeMap::new();
    let mut tensors = Vec::new();
    for (name, entry) in checkpoint.entries() {
        let dtype = entry.dtype.as_ref().map_or_else(Clone::clone, |dtype| dtype.name().to_owned());
        let elements = entry.shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
        let total = totals.entry(dtype.clone()).or_default();
        total.tensors += 1;
        total.elements += elements;
        total.bytes += entry.byte_len();
        let (name, shape) = (name.to_owned(), entry.shape.clone());
        tensors.push(TensorLine { name, dtype, shape, bytes: entry.byte_len() });
    }
    let weights = checkpoint.files().map(|(name, bytes)| WeightFile {
        name: name.to_owned(),
        bytes: bytes.len(),
        sha256: sha256([bytes]),
    });
    let head = config.head;
    let (head, bound) = Weights::open(files.checkpoint()?, &mut config, head)?;
    let is_scale = |name: &&String| {
        config.quantization.as_ref().is_some_and(|q| name.ends_with(q.scale_suffix.as_str()))
    };
    let unused =
        bound.extra().iter().filter(|name| !is_scale(name)).filter_map(|name| bound.checkpoint().entry(name));
    let unused = unused.filter(|entry| entry.dtype != Ok(ElementType::I64)).map(|entry| &entry.shape);
    let shapes = head.parameters.iter().map(|parameter| &parameter.shape).chain(unused);
    Ok(Description {
        parameters: shapes.map(|shape| shape.iter().fold(1usize, |n, &d| n.saturating_mul(d))).sum(),
        content_sha256: Some(content_hash(&config, &head, &bound)?),
        model: files.label(),
        architecture: config.prefix(),
        class: config.class_name(),
        config: summary(&config),
        labels: config.labels.clone(),
        tag_scheme: tag_scheme(&config),
        tokenizer: Some(Tokens {
            vocab_size: tokenizer.vocab_size(),
            model_max_length: tokenizer.model_max_length(),
        }),
        totals,
        files: weights.collect(),
        tensors,
    })
}

/// Describes a model whose weights are a formula. It has no files and no tokenizer.
fn describe_synthetic(name: &str, config: &ModelConfig) -> Description {
    let head = model::build(config, config.head);
    let size = |shape: &[usize]| shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    let line = |parameter: &Parameter| {
        let (name, shape) = (parameter.name.clone(), parameter.shape.clone());
        TensorLine { name, dtype: "F32".to_owned(), bytes: 4 * size(&shape), shape }
    };
    let tensors: Vec<TensorLine> = head.parameters.iter().map(line).collect();
    let parameters = head.parameters.iter().map(|parameter| size(&parameter.shape)).sum();
    let total = Total { tensors: tensors.len(), elements: parameters, bytes: 4 * parameters };
    Description {
        model: format!("{name}, weights from a formula"),
        architecture: config.prefix(),
        class: config.class_name(),
        config: summary(config),
        labels: config.labels.clone(),
        tag_scheme: tag_scheme(config),
        tokenizer: None,
        parameters,
        content_sha256: None,
        totals: BTreeMap::from([("F32".to_owned(), total)]),
        files: Vec::new(),
        tensors,
    }
}

fn tag_scheme(config: &ModelConfig) -> Option<String> {
    (config.head == Head::TokenClassification).then(|| TagScheme::of(&config.labels).to_string())
}

/// Returns the resolved configuration, under the names of `config.json`.
fn summary(config: &ModelConfig) -> Map<String, Value> {
    let mut fields: Vec<(&str, Value)> = vec![
        ("num_hidden_layers", config.num_hidden_layers.into()),
        ("hidden_size", config.hidden_size.into()),
        ("num_attention_heads", config.num_attention_heads.into()),
        ("intermediate_size", config.intermediate_size.into()),
        ("hidden_act", format!("{:?}", config.hidden_act).to_lowercase().into()),
        ("max_position_embeddings", config.max_position_embeddings.into()),
        ("type_vocab_size", config.type_vocab_size.into()),
        ("vocab_size", config.vocab_size.into()),
    ];
    if config.embedding_size != config.hidden_size {
        fields.push(("embedding_size", config.embedding_size.into()));
    }
    if config.own_decoder {
        let found = "false: the checkpoint stores another decoder, although config.json says true";
        fields.push(("tie_word_embeddings", found.into()));
    }
    if let Some(handles_unanswerable) = config.handles_unanswerable {
        fields.push(("handles_unanswerable", handles_unanswerable.into()));
    }
    if let Some(m) = &config.mobilebert {
        fields.extend([
            ("intra_bottleneck_size", m.intra_bottleneck_size.into()),
            ("num_feedforward_networks", m.num_feedforward_networks.into()),
            ("trigram_input", m.trigram_input.into()),
            ("use_bottleneck", m.use_bottleneck.into()),
            ("use_bottleneck_attention", m.use_bottleneck_attention.into()),
            ("key_query_shared_bottleneck", m.key_query_shared_bottleneck.into()),
            ("classifier_activation", m.classifier_activation.into()),
        ]);
    }
    if let Some(quantization) = &config.quantization {
        fields.push(("quant_method", QuantizationConfig::METHOD.into()));
        fields.push(("bits", quantization.bits.into()));
        for (field, modules) in [("keep_int8", &quantization.keep_int8), ("keep_f32", &quantization.keep_f32)]
        {
            if !modules.is_empty() {
                fields.push((field, modules.clone().into()));
            }
        }
    }
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn show(model: &Description, output: &mut Output) -> Result<(), Failure> {
    output.line(format_args!("model         {}", model.model))?;
    output.line(format_args!("class         {}", model.class))?;
    if !model.labels.is_empty() {
        output.line(format_args!("labels        {}", plain(&model.labels.join(", "))))?;
    }
    if let Some(scheme) = &model.tag_scheme {
        output.line(format_args!("tag scheme    {scheme}"))?;
    }
    match &model.tokenizer {
        Some(tokenizer) => output.line(format_args!("tokenizer     {} tokens", tokenizer.vocab_size))?,
        None => output.line(format_args!("tokenizer     none"))?,
    }
    output.line(format_args!("parameters    {}", model.parameters))?;
    if let Some(hash) = &model.content_sha256 {
        output.line(format_args!("content       sha256 {hash}"))?;
    }
    for (dtype, total) in &model.totals {
        let Total { tensors, elements, bytes } = total;
        output.line(format_args!("{dtype:<13} {tensors} tensors, {elements} elements, {bytes} bytes"))?;
    }
    for WeightFile { name, bytes, sha256 } in &model.files {
        output.line(format_args!("file          {name}, {bytes} bytes, sha256 {sha256}"))?;
    }
    output.line(format_args!("\nconfiguration"))?;
    for (name, value) in &model.config {
        output.line(format_args!("  {name:<28} {value}"))?;
    }
    output.line(format_args!("\ntensors"))?;
    let width = model.tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for TensorLine { name, dtype, shape, bytes } in &model.tensors {
        output.line(format_args!("  {name:<width$}  {dtype:<4} {shape:?}, {bytes} bytes"))?;
    }
    Ok(())
}
