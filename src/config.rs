//! `config.json` of a Hugging Face model folder, with every default resolved and every value checked.

use serde_json::{Map, Value};

use crate::error::{ErrorKind, Result};
use crate::graph::{Activation, NormKind};

/// What a model is: sizes, structure, head and labels. Field names are those of `config.json`.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// BERT, or MobileBERT with its structure.
    pub architecture: Architecture,
    /// What stands on top of the encoder, from `architectures`.
    pub head: Head,
    /// Rows of the word embedding table.
    pub vocab_size: usize,
    /// Width of the encoder's output.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward networks.
    pub intermediate_size: usize,
    /// Activation inside the feed-forward networks.
    pub hidden_act: Activation,
    /// Longest sequence in tokens.
    pub max_position_embeddings: usize,
    /// Number of segments a token can belong to.
    pub type_vocab_size: usize,
    /// Added to the variance by LayerNorm.
    pub layer_norm_eps: f32,
    /// Whether the masked-LM decoder is the word embedding table.
    pub tie_word_embeddings: bool,
    /// Label of each output of a classification head, from `id2label`.
    pub labels: Vec<String>,
    /// What a sequence classifier's outputs mean; `None` where the file does not say.
    pub problem_type: Option<ProblemType>,
    /// Present if the checkpoint holds int8 weights (see `docs/model-format.md`).
    pub quantization: Option<QuantizationConfig>,
}

/// The two encoder families.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Architecture {
    /// Devlin et al. 2018, arXiv 1810.04805; also MiniLM, TinyBERT and the like.
    Bert,
    /// Sun et al. 2020, arXiv 2004.02984.
    MobileBert(MobileBertConfig),
}

/// MobileBERT's own options.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct MobileBertConfig {
    /// Width of the word embedding table.
    pub embedding_size: usize,
    /// Whether a token's embedding is joined with its neighbours'.
    pub trigram_input: bool,
    /// Whether layers work at `intra_bottleneck_size` between linear bottlenecks.
    pub use_bottleneck: bool,
    /// Width inside a layer with bottlenecks.
    pub intra_bottleneck_size: usize,
    /// Whether query, key and value all read the input bottleneck.
    pub use_bottleneck_attention: bool,
    /// Whether query and key share a bottleneck of their own.
    pub key_query_shared_bottleneck: bool,
    /// Stacked feed-forward networks per layer.
    pub num_feedforward_networks: usize,
    /// Which norm follows linears and residuals.
    pub normalization_type: NormalizationType,
    /// Whether the pooler has a linear and a tanh, or is the first token's state as it is.
    pub classifier_activation: bool,
}

/// `normalization_type`: the parameter-only norm of the mobile models or the usual one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormalizationType {
    /// `gamma * x + beta`.
    NoNorm,
    /// Over the features of each token.
    LayerNorm,
}

/// What stands on top of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Head {
    /// The encoder alone: hidden states.
    None,
    /// Start and end logit of each token.
    QuestionAnswering,
    /// One logit per label for each sequence.
    SequenceClassification,
    /// One logit per label for each token.
    TokenClassification,
    /// One logit per vocabulary entry for each token.
    MaskedLm,
}

/// What the outputs of a sequence classifier mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    /// Numbers, not scores.
    Regression,
    /// Exactly one label holds.
    SingleLabel,
    /// Any number of labels hold.
    MultiLabel,
}

/// `quantization_config` of this engine's int8 checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizationConfig {
    /// Bits of a stored weight: 8, or 4 (where a tensor says so by its type).
    pub bits: u8,
    /// Appended to a tensor's name to find its scales.
    pub scale_suffix: String,
    /// Modules that stay in f32, weights and arithmetic: prefixes of module paths, such as `encoder.layer.7.`.
    pub keep_f32: Vec<String>,
    /// Modules that stay in int8 where the others are in 4 bits: prefixes of module paths.
    pub keep_int8: Vec<String>,
}

impl QuantizationConfig {
    /// The only `quant_method` this engine reads and writes.
    pub const METHOD: &str = "mobilebert-int8";
    /// The suffix that the writer uses.
    pub const SCALE_SUFFIX: &str = "_scale";
    /// Appended to the name of a 4-bit tensor to find the multipliers of its groups.
    pub const GROUP_SUFFIX: &str = "_group";
    /// Neighbouring columns that share a multiplier.
    pub const GROUP_SIZE: usize = 32;
}

impl Head {
    /// Hugging Face's class suffix, such as `ForQuestionAnswering`.
    pub fn class_suffix(self) -> &'static str {
        match self {
            Head::None => "Model",
            Head::QuestionAnswering => "ForQuestionAnswering",
            Head::SequenceClassification => "ForSequenceClassification",
            Head::TokenClassification => "ForTokenClassification",
            Head::MaskedLm => "ForMaskedLM",
        }
    }
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Json`] if it is not JSON; [`ErrorKind::Config`] for a value this engine cannot run, such as another
    /// `model_type`, an unknown activation, or sizes that do not fit together.
    ///
    /// ```
    /// let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
    /// assert_eq!((config.num_hidden_layers, config.hidden_size), (24, 512));
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
            .map_err(|source| ErrorKind::Json { file: "config.json".into(), source })?;
        let Value::Object(map) = value else {
            return Err(bad("model_type", "a JSON object with this field", "absent"));
        };
        let fields = Fields { map: &map };
        let model_type = fields.string("model_type")?.unwrap_or_default();
        let mobile = match model_type {
            "mobilebert" => true,
            "bert" => false,
            other => return Err(bad("model_type", "\"mobilebert\" or \"bert\"", &format!("{other:?}"))),
        };
        let size = |name, mobile_default, bert_default| {
            fields.size(name, if mobile { mobile_default } else { bert_default })
        };
        let config = Self {
            head: head(&fields, mobile)?,
            vocab_size: size("vocab_size", 30522, 30522)?,
            hidden_size: size("hidden_size", 512, 768)?,
            num_hidden_layers: fields.size_within(
                "num_hidden_layers",
                if mobile { 24 } else { 12 },
                MAX_LAYERS,
            )?,
            num_attention_heads: size("num_attention_heads", 4, 12)?,
            intermediate_size: size("intermediate_size", 512, 3072)?,
            hidden_act: activation(&fields, if mobile { Activation::Relu } else { Activation::Gelu })?,
            max_position_embeddings: size("max_position_embeddings", 512, 512)?,
            type_vocab_size: size("type_vocab_size", 2, 2)?,
            layer_norm_eps: fields.non_negative("layer_norm_eps", 1e-12)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
            labels: labels(&fields)?,
            problem_type: problem_type(&fields)?,
            quantization: quantization(&fields)?,
            architecture: if mobile {
                Architecture::MobileBert(MobileBertConfig {
                    embedding_size: fields.size("embedding_size", 128)?,
                    trigram_input: fields.bool("trigram_input", true)?,
                    use_bottleneck: fields.bool("use_bottleneck", true)?,
                    intra_bottleneck_size: fields.size("intra_bottleneck_size", 128)?,
                    use_bottleneck_attention: fields.bool("use_bottleneck_attention", false)?,
                    key_query_shared_bottleneck: fields.bool("key_query_shared_bottleneck", true)?,
                    num_feedforward_networks: fields.size("num_feedforward_networks", 4)?,
                    normalization_type: normalization(&fields)?,
                    classifier_activation: fields.bool("classifier_activation", true)?,
                })
            } else {
                Architecture::Bert
            },
        };
        config.check(&fields)?;
        Ok(config)
    }

    /// Prefix of the encoder's tensors in checkpoints: `mobilebert` or `bert`.
    pub fn prefix(&self) -> &'static str {
        match self.architecture {
            Architecture::Bert => "bert",
            Architecture::MobileBert(_) => "mobilebert",
        }
    }

    /// Width inside a layer, where attention and feed-forward networks work.
    pub fn true_hidden_size(&self) -> usize {
        match &self.architecture {
            Architecture::MobileBert(m) if m.use_bottleneck => m.intra_bottleneck_size,
            _ => self.hidden_size,
        }
    }

    /// Width of the word embedding table.
    pub fn embedding_size(&self) -> usize {
        match &self.architecture {
            Architecture::MobileBert(m) => m.embedding_size,
            Architecture::Bert => self.hidden_size,
        }
    }

    /// The class name that Hugging Face would give this model.
    pub fn class_name(&self) -> String {
        let family = match self.architecture {
            Architecture::Bert => "Bert",
            Architecture::MobileBert(_) => "MobileBert",
        };
        format!("{family}{}", self.head.class_suffix())
    }

    /// The norm with the epsilon of the configuration.
    pub(crate) fn norm(&self) -> NormKind {
        self.norm_with(self.layer_norm_eps)
    }

    /// The norm where the original passes no epsilon on, so that PyTorch's default holds: MobileBERT's embeddings and
    /// the `output.LayerNorm` of its layers.
    pub(crate) fn norm_default_eps(&self) -> NormKind {
        const TORCH_LAYER_NORM_EPS: f32 = 1e-5;
        self.norm_with(TORCH_LAYER_NORM_EPS)
    }

    fn norm_with(&self, eps: f32) -> NormKind {
        match &self.architecture {
            Architecture::MobileBert(m) if m.normalization_type == NormalizationType::NoNorm => {
                NormKind::NoNorm
            }
            _ => NormKind::LayerNorm { eps },
        }
    }

    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let (width, heads) = (self.true_hidden_size(), self.num_attention_heads);
        if !width.is_multiple_of(heads) {
            return Err(bad(
                "num_attention_heads",
                &format!("a divisor of {width}, the attention width"),
                &heads,
            ));
        }
        if let Architecture::MobileBert(m) = &self.architecture {
            // The original builds query and key for `true_hidden_size` inputs but then feeds them `hidden_size`.
            let query_reads_hidden =
                m.use_bottleneck && !m.use_bottleneck_attention && !m.key_query_shared_bottleneck;
            if query_reads_hidden && m.intra_bottleneck_size != self.hidden_size {
                let expected = format!(
                    "{} (= hidden_size), because query and key read the hidden states when both \
                     use_bottleneck_attention and key_query_shared_bottleneck are false",
                    self.hidden_size
                );
                return Err(bad("intra_bottleneck_size", &expected, &m.intra_bottleneck_size));
            }
            let max = MAX_FEEDFORWARD_NETWORKS_IN_ALL / self.num_hidden_layers;
            if m.num_feedforward_networks > max {
                let expected = format!("at most {max} with {} layers", self.num_hidden_layers);
                return Err(bad("num_feedforward_networks", &expected, &m.num_feedforward_networks));
            }
            if self.head == Head::MaskedLm && m.embedding_size > self.hidden_size {
                let expected = format!("at most {} (= hidden_size) with a masked-LM head", self.hidden_size);
                return Err(bad("embedding_size", &expected, &m.embedding_size));
            }
        }
        for (field, expected) in [("is_decoder", "false"), ("add_cross_attention", "false")] {
            if fields.bool(field, false)? {
                return Err(bad(field, &format!("{expected}: this engine runs encoders"), "true"));
            }
        }
        match fields.string("position_embedding_type")? {
            None | Some("absolute") => Ok(()),
            Some(other) => Err(bad("position_embedding_type", "\"absolute\"", &format!("{other:?}"))),
        }
    }
}

/// The activations, under each name that transformers has for them. `gelu_python` is `gelu` written in Python.
/// `gelu_fast`, `gelu_pytorch_tanh` and `gelu_python_tanh` are `gelu_new` with the terms in another order and with
/// `sqrt(2 / pi)` rounded to ten digits in `gelu_fast`: over -12 to 12 they differ from it by less than 1e-6.
const ACTIVATIONS: [(&str, Activation); 10] = [
    ("relu", Activation::Relu),
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluNew),
    ("gelu_fast", Activation::GeluNew),
    ("gelu_pytorch_tanh", Activation::GeluNew),
    ("gelu_python_tanh", Activation::GeluNew),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

/// Sizes beyond this are mistakes or attacks: the largest BERT has 30 thousand to 250 thousand vocabulary entries.
const MAX_SIZE: u64 = 1 << 22;

/// The graph is built before the weights are seen, so its size must not be up to the file alone. MobileBERT has 24 layers
/// of 4 feed-forward networks.
const MAX_LAYERS: u64 = 1000;
const MAX_FEEDFORWARD_NETWORKS_IN_ALL: usize = 4096;

struct Fields<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|v| !v.is_null())
    }

    fn size(&self, name: &str, default: usize) -> Result<usize> {
        self.size_within(name, default, MAX_SIZE)
    }

    fn size_within(&self, name: &str, default: usize, max: u64) -> Result<usize> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_u64() {
            Some(n) if (1..=max).contains(&n) => Ok(n as usize),
            _ => Err(bad(name, &format!("a whole number from 1 to {max}"), value)),
        }
    }

    fn non_negative(&self, name: &str, default: f32) -> Result<f32> {
        let Some(value) = self.get(name) else { return Ok(default) };
        match value.as_f64().map(|v| v as f32) {
            Some(v) if v >= 0.0 && v.is_finite() => Ok(v),
            _ => Err(bad(name, "a number of at least 0", value)),
        }
    }

    fn bool(&self, name: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(name) else { return Ok(default) };
        value.as_bool().ok_or_else(|| bad(name, "true or false", value))
    }

    fn string(&self, name: &str) -> Result<Option<&'a str>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| bad(name, "a string", value))
    }
}

fn bad(field: &str, expected: &str, found: &(impl std::fmt::Display + ?Sized)) -> crate::Error {
    let found: String = found.to_string().chars().take(200).collect();
    ErrorKind::Config { field: field.into(), expected: expected.into(), found }.into()
}

fn activation(fields: &Fields<'_>, default: Activation) -> Result<Activation> {
    let Some(name) = fields.string("hidden_act")? else { return Ok(default) };
    match ACTIVATIONS.iter().find(|(accepted, _)| *accepted == name) {
        Some((_, activation)) => Ok(*activation),
        None => {
            let accepted: Vec<String> = ACTIVATIONS.iter().map(|(name, _)| format!("{name:?}")).collect();
            Err(bad("hidden_act", &format!("one of {}", accepted.join(", ")), &format!("{name:?}")))
        }
    }
}

fn normalization(fields: &Fields<'_>) -> Result<NormalizationType> {
    match fields.string("normalization_type")? {
        None | Some("no_norm") => Ok(NormalizationType::NoNorm),
        Some("layer_norm") => Ok(NormalizationType::LayerNorm),
        Some(other) => Err(bad("normalization_type", "\"no_norm\" or \"layer_norm\"", &format!("{other:?}"))),
    }
}

/// The class has to be of the family that `model_type` names: one of the two is a mistake if they differ.
fn head(fields: &Fields<'_>, mobile: bool) -> Result<Head> {
    let Some(value) = fields.get("architectures") else { return Ok(Head::None) };
    let class = value.get(0).and_then(Value::as_str).unwrap_or_default();
    let family = if mobile { "MobileBert" } else { "Bert" };
    match class.strip_prefix(family) {
        Some("Model") => Ok(Head::None),
        Some("ForQuestionAnswering") => Ok(Head::QuestionAnswering),
        Some("ForSequenceClassification") => Ok(Head::SequenceClassification),
        Some("ForTokenClassification") => Ok(Head::TokenClassification),
        Some("ForMaskedLM" | "ForPreTraining") => Ok(Head::MaskedLm),
        _ => Err(bad(
            "architectures",
            &format!(
                "a list beginning with {family} (as `model_type` says) and Model, ForQuestionAnswering, \
                 ForSequenceClassification, ForTokenClassification, ForMaskedLM or ForPreTraining"
            ),
            value,
        )),
    }
}

/// Labels in the order of their ids: `id2label`, else `num_labels` generated names, else Hugging Face's default of two.
fn labels(fields: &Fields<'_>) -> Result<Vec<String>> {
    const MAX_LABELS: usize = 1 << 16;
    let Some(value) = fields.get("id2label") else {
        let n = fields.size("num_labels", 2)?;
        if n > MAX_LABELS {
            return Err(bad("num_labels", &format!("at most {MAX_LABELS}"), &n));
        }
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let expected = "an object from the ids \"0\" to \"n-1\" to label strings";
    let map = value.as_object().ok_or_else(|| bad("id2label", expected, value))?;
    if map.is_empty() {
        return Err(bad("id2label", expected, "empty"));
    }
    (0..map.len())
        .map(|i| match map.get(&i.to_string()).and_then(Value::as_str) {
            Some(label) => Ok(label.to_owned()),
            None => Err(bad("id2label", expected, &format!("without a string for id {i}"))),
        })
        .collect()
}

fn problem_type(fields: &Fields<'_>) -> Result<Option<ProblemType>> {
    Ok(match fields.string("problem_type")? {
        None => None,
        Some("regression") => Some(ProblemType::Regression),
        Some("single_label_classification") => Some(ProblemType::SingleLabel),
        Some("multi_label_classification") => Some(ProblemType::MultiLabel),
        Some(other) => {
            let expected =
                "\"regression\", \"single_label_classification\" or \"multi_label_classification\"";
            return Err(bad("problem_type", expected, &format!("{other:?}")));
        }
    })
}

fn quantization(fields: &Fields<'_>) -> Result<Option<QuantizationConfig>> {
    let Some(value) = fields.get("quantization_config") else { return Ok(None) };
    let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
    let method = field("quant_method");
    if method.as_str() != Some(QuantizationConfig::METHOD) {
        let expected =
            format!("{:?}; checkpoints of other quantizers cannot be read", QuantizationConfig::METHOD);
        return Err(bad("quantization_config.quant_method", &expected, method));
    }
    let bits = match field("bits").as_u64() {
        Some(8) => 8,
        Some(4) => 4,
        _ => return Err(bad("quantization_config.bits", "8 or 4", field("bits"))),
    };
    if bits == 4 && field("group_size").as_u64() != Some(QuantizationConfig::GROUP_SIZE as u64) {
        let expected = QuantizationConfig::GROUP_SIZE.to_string();
        return Err(bad("quantization_config.group_size", &expected, field("group_size")));
    }
    let scale_suffix = match field("scale_suffix").as_str() {
        Some(suffix) if !suffix.is_empty() => suffix.to_owned(),
        _ => {
            return Err(bad("quantization_config.scale_suffix", "a non-empty string", field("scale_suffix")));
        }
    };
    let keep_f32 = modules("quantization_config.keep_f32", field("keep_f32"))?;
    let keep_int8 = modules("quantization_config.keep_int8", field("keep_int8"))?;
    Ok(Some(QuantizationConfig { bits, scale_suffix, keep_f32, keep_int8 }))
}

/// Absent, or a list of prefixes. The empty one would be all modules.
fn modules(name: &str, value: &Value) -> Result<Vec<String>> {
    let invalid = |found: &Value| bad(name, "a list of module paths, such as [\"encoder.layer.0.\"]", found);
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list,
        other => return Err(invalid(other)),
    };
    let prefix = |value: &Value| match value.as_str() {
        Some(prefix) if !prefix.is_empty() => Ok(prefix.to_owned()),
        _ => Err(invalid(value)),
    };
    list.iter().map(prefix).collect()
}
