//! `config.json` of a Hugging Face model folder, with every default resolved and every value checked.

mod family;

use serde_json::{Map, Value, json};

use crate::error::{ErrorKind, Result};
use crate::files;
use crate::graph::{Activation, NormKind};

pub(crate) use family::{Eps, Pooled, Projection};
pub use family::{Family, MobileBertConfig, NormalizationType};

/// The configuration of a model: its sizes, structure, head and labels. Fields have the names that BERT's
/// `config.json` gives them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The family that `model_type` names. It has the names, defaults and conventions of its models.
    pub family: &'static Family,
    /// The head on top of the encoder, from `architectures`.
    pub head: Head,
    /// The number of rows of the word embedding table.
    pub vocab_size: usize,
    /// The width of the word embedding table. It is [`ModelConfig::hidden_size`] in BERT and DistilBERT.
    pub embedding_size: usize,
    /// The width of the encoder's output.
    pub hidden_size: usize,
    /// The number of encoder layers.
    pub num_hidden_layers: usize,
    /// The number of attention heads.
    pub num_attention_heads: usize,
    /// The width inside the feed-forward networks.
    pub intermediate_size: usize,
    /// The activation inside the feed-forward networks.
    pub hidden_act: Activation,
    /// The length of the longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// The number of segments that a token can belong to. A model with 0 ignores token types.
    pub type_vocab_size: usize,
    /// The number that LayerNorm adds to the variance.
    pub layer_norm_eps: f32,
    /// True if `config.json` says that the masked-LM decoder is the word embedding table.
    pub tie_word_embeddings: bool,
    /// True if the checkpoint stores a decoder table that differs from the word embedding table although
    /// [`ModelConfig::tie_word_embeddings`] is true. The stored table is then used, as in `transformers`.
    /// [`Weights::open`](crate::model::Weights::open) sets it; `config.json` has no such field.
    pub own_decoder: bool,
    /// The label of each output of a classification head, from `id2label`.
    pub labels: Vec<String>,
    /// The meaning of a sequence classifier's outputs, or `None` if the file does not say.
    pub problem_type: Option<ProblemType>,
    /// True if the model tells questions that their context does not answer from others, as those trained on
    /// SQuAD 2.0 do, so that its score of "no answer" can be relied on. `None` if the file does not say. The
    /// field `handles_unanswerable` is this engine's own; `transformers` ignores it.
    pub handles_unanswerable: Option<bool>,
    /// The recommended [`AnswerOptions::null_threshold`](crate::AnswerOptions::null_threshold) of the model.
    /// `None` if the file does not say. The field `null_threshold` is this engine's own, too.
    pub null_threshold: Option<f32>,
    /// MobileBERT's options, or `None` in the other families, whose layers are BERT's.
    pub mobilebert: Option<MobileBertConfig>,
    /// The quantisation, which is present if the checkpoint holds int8 weights (see `docs/model-format.md`).
    pub quantization: Option<QuantizationConfig>,
}

/// The head on top of the encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Head {
    /// The encoder alone. The outputs are hidden states.
    None,
    /// A start and an end logit for each token.
    QuestionAnswering,
    /// One logit per label for each sequence.
    SequenceClassification,
    /// One logit per label for each token.
    TokenClassification,
    /// One logit per vocabulary entry for each token.
    MaskedLm,
    /// One logit for each sequence. A sequence is one of several choices, and the caller compares the choices
    /// of one question.
    MultipleChoice,
}

/// The meaning of the outputs of a sequence classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    /// The outputs are numbers, not scores.
    Regression,
    /// Exactly one label holds.
    SingleLabel,
    /// Any number of labels hold.
    MultiLabel,
}

/// The `quantization_config` of this engine's int8 checkpoints.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizationConfig {
    /// The number of bits of a stored weight: 8, or 4 for the tensors whose type says so.
    pub bits: u8,
    /// The suffix that makes a tensor's name the name of its scales.
    pub scale_suffix: String,
    /// The modules that keep their weights and their arithmetic in f32, as prefixes of module paths such as
    /// `encoder.layer.7.`.
    pub keep_f32: Vec<String>,
    /// The modules that stay in int8 where the others have 4 bits, as prefixes of module paths.
    pub keep_int8: Vec<String>,
}

impl QuantizationConfig {
    /// The only `quant_method` that this engine reads and writes.
    pub const METHOD: &str = "mobilebert-int8";
    /// The suffix that the writer uses.
    pub const SCALE_SUFFIX: &str = "_scale";
    /// The suffix that makes the name of a 4-bit tensor the name of its groups' multipliers.
    pub const GROUP_SUFFIX: &str = "_group";
    /// The number of neighbouring columns that share a multiplier.
    pub const GROUP_SIZE: usize = 32;
}

impl Head {
    /// Returns Hugging Face's class suffix, such as `ForQuestionAnswering`.
    pub fn class_suffix(self) -> &'static str {
        match self {
            Head::None => "Model",
            Head::QuestionAnswering => "ForQuestionAnswering",
            Head::SequenceClassification => "ForSequenceClassification",
            Head::TokenClassification => "ForTokenClassification",
            Head::MaskedLm => "ForMaskedLM",
            Head::MultipleChoice => "ForMultipleChoice",
        }
    }
}

impl ModelConfig {
    /// Reads `config.json`.
    ///
    /// # Errors
    /// [`ErrorKind::Json`] if it is not JSON; [`ErrorKind::Config`] for a value this engine cannot run, such
    /// as another `model_type`, an unknown activation, or sizes that do not fit together.
    ///
    /// ```
    /// let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "mobilebert"}"#)?;
    /// assert_eq!((config.num_hidden_layers, config.hidden_size), (24, 512));
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    pub fn from_json(text: &str) -> Result<Self> {
        let value: Value = files::json::parse("config.json", text.as_bytes())?;
        let Value::Object(map) = value else {
            return Err(bad("model_type", "a JSON object with this field", "absent"));
        };
        let model_type = map.get("model_type").filter(|value| !value.is_null());
        let Some(family) = model_type.and_then(Value::as_str).and_then(Family::of) else {
            let known: Vec<String> =
                Family::all().map(|family| format!("{:?}", family.model_type())).collect();
            return Err(bad(
                "model_type",
                &format!("one of {}", known.join(", ")),
                model_type.unwrap_or(&Value::from("")),
            ));
        };
        let (fields, defaults) = (Fields { map: &map, family }, &family.defaults);
        let hidden_size = fields.size("hidden_size", defaults.hidden_size)?;
        let mut config = Self {
            family,
            head: head(&fields)?,
            vocab_size: fields.size("vocab_size", 30522)?,
            embedding_size: hidden_size,
            hidden_size,
            num_hidden_layers: fields.size_within(
                "num_hidden_layers",
                defaults.num_hidden_layers,
                MAX_LAYERS,
            )?,
            num_attention_heads: fields.size("num_attention_heads", defaults.num_attention_heads)?,
            intermediate_size: fields.size("intermediate_size", defaults.intermediate_size)?,
            hidden_act: activation(&fields, defaults.hidden_act)?,
            max_position_embeddings: fields.size("max_position_embeddings", 512)?,
            type_vocab_size: fields.size("type_vocab_size", defaults.type_vocab_size)?,
            layer_norm_eps: fields.non_negative("layer_norm_eps", 1e-12)?,
            tie_word_embeddings: fields.bool("tie_word_embeddings", true)?,
            own_decoder: false,
            labels: labels(&fields)?,
            problem_type: problem_type(&fields)?,
            handles_unanswerable: fields.optional_bool("handles_unanswerable")?,
            null_threshold: fields.optional_number("null_threshold")?,
            mobilebert: None,
            quantization: quantization(&fields)?,
        };
        (family.read)(&fields, &mut config)?;
        config.check(&fields)?;
        Ok(config)
    }

    /// Returns every field but `quantization_config`, under its name in `config.json`.
    /// [`ModelConfig::from_json`] reads the same configuration back from them.
    ///
    /// ```
    /// let config = mobilebert::ModelConfig::from_json(r#"{"model_type": "bert", "num_hidden_layers": 3}"#)?;
    /// let fields = config.to_fields();
    /// assert_eq!((&fields["num_hidden_layers"], &fields["hidden_size"]), (&3.into(), &768.into()));
    /// # Ok::<(), mobilebert::Error>(())
    /// ```
    pub fn to_fields(&self) -> Map<String, Value> {
        let labels = || self.labels.iter().enumerate();
        let id2label: Map<_, _> = labels().map(|(i, label)| (i.to_string(), label.as_str().into())).collect();
        let label2id: Map<_, _> = labels().map(|(i, label)| (label.clone(), i.into())).collect();
        // The decimal number is that of the f32 and not of its widening: 1e-12 instead of
        // 9.999999960041972e-13.
        let eps = self.layer_norm_eps.to_string().parse::<f64>().unwrap_or_default();
        let fields = [
            ("architectures", json!([self.class_name()])),
            ("model_type", self.family.model_type().into()),
            ("vocab_size", self.vocab_size.into()),
            ("hidden_size", self.hidden_size.into()),
            ("num_hidden_layers", self.num_hidden_layers.into()),
            ("num_attention_heads", self.num_attention_heads.into()),
            ("intermediate_size", self.intermediate_size.into()),
            ("hidden_act", activation_name(self.hidden_act).into()),
            ("max_position_embeddings", self.max_position_embeddings.into()),
            ("type_vocab_size", self.type_vocab_size.into()),
            ("layer_norm_eps", eps.into()),
            ("tie_word_embeddings", self.decoder_is_tied().into()),
            ("id2label", id2label.into()),
            ("label2id", label2id.into()),
        ];
        let fields = fields.into_iter().filter_map(|(name, value)| Some((self.family.field(name)?, value)));
        let problem_type = self.problem_type.map(|problem| ("problem_type", problem.name().into()));
        let unanswerable = self.handles_unanswerable.map(|yes| ("handles_unanswerable", yes.into()));
        let decimal = |odds: f32| odds.to_string().parse::<f64>().unwrap_or_default();
        let threshold = self.null_threshold.map(|odds| ("null_threshold", decimal(odds).into()));
        let own = unanswerable.into_iter().chain(threshold);
        let all = fields.chain((self.family.write)(self)).chain(problem_type).chain(own);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the prefix of the encoder's tensors in checkpoints, such as `mobilebert` or `bert`.
    pub fn prefix(&self) -> &'static str {
        self.family.prefix()
    }

    /// Returns the width inside a layer, where attention and feed-forward networks work.
    pub fn true_hidden_size(&self) -> usize {
        match &self.mobilebert {
            Some(m) if m.use_bottleneck => m.intra_bottleneck_size,
            _ => self.hidden_size,
        }
    }

    /// Returns true if the masked-LM decoder shares the word embedding table.
    pub fn decoder_is_tied(&self) -> bool {
        self.tie_word_embeddings && !self.own_decoder
    }

    /// Returns the class name that Hugging Face would give this model.
    pub fn class_name(&self) -> String {
        self.family.class_name(self.head)
    }

    /// Returns the norm with the epsilon of the configuration.
    pub(crate) fn norm(&self) -> NormKind {
        self.norm_with(Eps::Configured)
    }

    /// Returns the norm with an epsilon that the family chooses.
    pub(crate) fn norm_with(&self, eps: Eps) -> NormKind {
        match (&self.mobilebert, eps) {
            (Some(m), _) if m.normalization_type == NormalizationType::NoNorm => NormKind::NoNorm,
            (_, Eps::Configured) => NormKind::LayerNorm { eps: self.layer_norm_eps },
            (_, Eps::Fixed(eps)) => NormKind::LayerNorm { eps },
        }
    }

    fn check(&self, fields: &Fields<'_>) -> Result<()> {
        let (width, heads) = (self.true_hidden_size(), self.num_attention_heads);
        if !width.is_multiple_of(heads) {
            return Err(bad(
                self.family.field("num_attention_heads").unwrap_or("num_attention_heads"),
                &format!("a divisor of {width}, the attention width"),
                &heads,
            ));
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

/// The activations, under each name that transformers has for them. `gelu_python` is `gelu` written in
/// Python. `gelu_fast`, `gelu_pytorch_tanh` and `gelu_python_tanh` are `gelu_new` with the terms in another
/// order, and `gelu_fast` also rounds `sqrt(2 / pi)` to ten digits. Over -12 to 12 they differ from
/// `gelu_new` by less than 1e-6.
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

/// The largest size that is accepted. Larger ones are mistakes or attacks: the largest BERT has 30 thousand
/// to 250 thousand vocabulary entries.
const MAX_SIZE: u64 = 1 << 22;

/// The most layers that are accepted, and the most feed-forward networks in all of them. The graph is built
/// before the weights are seen, so its size must not be up to the file alone. MobileBERT has 24 layers of 4
/// feed-forward networks.
const MAX_LAYERS: u64 = 1000;
const MAX_FEEDFORWARD_NETWORKS_IN_ALL: usize = 4096;

/// The fields of a `config.json`, looked up by BERT's names.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    family: &'static Family,
}

impl<'a> Fields<'a> {
    /// Returns the value of a field and its name in the file.
    fn find<'n>(&self, name: &'n str) -> Option<(&'n str, &'a Value)> {
        let name = self.family.field(name)?;
        Some((name, self.map.get(name).filter(|v| !v.is_null())?))
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.find(name).map(|(_, value)| value)
    }

    fn size(&self, name: &str, default: usize) -> Result<usize> {
        self.size_within(name, default, MAX_SIZE)
    }

    fn size_within(&self, name: &str, default: usize, max: u64) -> Result<usize> {
        let Some((name, value)) = self.find(name) else { return Ok(default) };
        match value.as_u64() {
            Some(n) if (1..=max).contains(&n) => Ok(n as usize),
            _ => Err(bad(name, &format!("a whole number from 1 to {max}"), value)),
        }
    }

    fn non_negative(&self, name: &str, default: f32) -> Result<f32> {
        let Some((name, value)) = self.find(name) else { return Ok(default) };
        match value.as_f64().map(|v| v as f32) {
            Some(v) if v >= 0.0 && v.is_finite() => Ok(v),
            _ => Err(bad(name, "a number of at least 0", value)),
        }
    }

    fn optional_number(&self, name: &str) -> Result<Option<f32>> {
        let Some((name, value)) = self.find(name) else { return Ok(None) };
        let number = value.as_f64().map(|v| v as f32).filter(|v| v.is_finite());
        number.map(Some).ok_or_else(|| bad(name, "a number", value))
    }

    fn bool(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.optional_bool(name)?.unwrap_or(default))
    }

    fn optional_bool(&self, name: &str) -> Result<Option<bool>> {
        let Some((name, value)) = self.find(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| bad(name, "true or false", value))
    }

    fn string(&self, name: &str) -> Result<Option<&'a str>> {
        let Some((name, value)) = self.find(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| bad(name, "a string", value))
    }
}

fn bad(field: &str, expected: &str, found: &(impl std::fmt::Display + ?Sized)) -> crate::Error {
    let found: String = found.to_string().chars().take(200).collect();
    ErrorKind::Config { field: field.into(), expected: expected.into(), found }.into()
}

/// Returns the first name of an activation.
fn activation_name(activation: Activation) -> &'static str {
    ACTIVATIONS.iter().find(|(_, named)| *named == activation).map_or("linear", |(name, _)| name)
}

fn activation(fields: &Fields<'_>, default: Activation) -> Result<Activation> {
    let Some(name) = fields.string("hidden_act")? else { return Ok(default) };
    match ACTIVATIONS.iter().find(|(accepted, _)| *accepted == name) {
        Some((_, activation)) => Ok(*activation),
        None => {
            let accepted: Vec<String> = ACTIVATIONS.iter().map(|(name, _)| format!("{name:?}")).collect();
            let field = fields.family.field("hidden_act").unwrap_or("hidden_act");
            Err(bad(field, &format!("one of {}", accepted.join(", ")), &format!("{name:?}")))
        }
    }
}

/// Reads the head from `architectures`. Its class has to be of the family that `model_type` names: if the two
/// differ, one of them is a mistake.
fn head(fields: &Fields<'_>) -> Result<Head> {
    let Some(value) = fields.get("architectures") else { return Ok(Head::None) };
    if value.as_array().is_some_and(Vec::is_empty) {
        return Ok(Head::None);
    }
    let Family { class, classes, .. } = fields.family;
    let found = value.get(0).and_then(Value::as_str).and_then(|name| name.strip_prefix(class));
    if let Some((_, head)) = classes.iter().find(|(suffix, _)| Some(*suffix) == found) {
        return Ok(*head);
    }
    let suffixes: Vec<&str> = classes.iter().map(|(suffix, _)| *suffix).collect();
    let expected =
        format!("a list beginning with {class} (as `model_type` says) and one of {}", suffixes.join(", "));
    Err(bad("architectures", &expected, value))
}

/// Reads the labels in the order of their ids. They are `id2label`, else as many generated names as
/// `num_labels` says, else Hugging Face's default of two.
fn labels(fields: &Fields<'_>) -> Result<Vec<String>> {
    const MAX_LABELS: usize = 1 << 16;
    let Some(value) = fields.get("id2label") else {
        let n = fields.size("num_labels", 2)?;
        if n > MAX_LABELS {
            return Err(bad("num_labels", &format!("at most {MAX_LABELS}"), &n));
        }
        return Ok((0..n).map(|i| format!("LABEL_{i}")).collect());
    };
    let expected = "an object from the ids \"0\" to \"n-1\" to labels, strings or numbers";
    let map = value.as_object().ok_or_else(|| bad("id2label", expected, value))?;
    if map.is_empty() {
        return Err(bad("id2label", expected, "empty"));
    }
    (0..map.len())
        .map(|i| match map.get(&i.to_string()) {
            Some(Value::String(label)) => Ok(label.clone()),
            Some(Value::Number(label)) => Ok(label.to_string()),
            _ => Err(bad("id2label", expected, &format!("without a label for id {i}"))),
        })
        .collect()
}

impl ProblemType {
    const ALL: [Self; 3] = [Self::Regression, Self::SingleLabel, Self::MultiLabel];

    /// Returns the name in `config.json`.
    fn name(self) -> &'static str {
        match self {
            ProblemType::Regression => "regression",
            ProblemType::SingleLabel => "single_label_classification",
            ProblemType::MultiLabel => "multi_label_classification",
        }
    }
}

fn problem_type(fields: &Fields<'_>) -> Result<Option<ProblemType>> {
    let Some(name) = fields.string("problem_type")? else { return Ok(None) };
    match ProblemType::ALL.into_iter().find(|problem| problem.name() == name) {
        Some(problem) => Ok(Some(problem)),
        None => {
            let expected =
                "\"regression\", \"single_label_classification\" or \"multi_label_classification\"";
            Err(bad("problem_type", expected, &format!("{name:?}")))
        }
    }
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

/// Reads a list of module prefixes, which may be absent. The empty prefix is refused, as it would name all
/// modules.
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
