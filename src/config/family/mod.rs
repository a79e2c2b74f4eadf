//! The families of models: one file and one row of [`FAMILIES`] each.
//!
//! A family is data. It says how the fields of `config.json` are called and what they default to, how tensors
//! are called in checkpoints, and where its encoder and its heads differ from BERT's. The graph's own names
//! are BERT's for every family, so the rest of the crate asks a [`Family`] and never compares a `model_type`.

mod bert;
mod distilbert;
mod electra;
mod mobilebert;

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::{Fields, Head, ModelConfig};
use crate::error::Result;
use crate::graph::Activation;

pub use mobilebert::{MobileBertConfig, NormalizationType};

/// Every family, in the order in which errors list them.
static FAMILIES: [&Family; 4] = [&bert::FAMILY, &mobilebert::FAMILY, &distilbert::FAMILY, &electra::FAMILY];

/// The names, defaults and conventions that the models of one `model_type` have in common.
///
/// ```
/// use mobilebert::{Head, ModelConfig};
///
/// let config = ModelConfig::from_json(r#"{"model_type": "bert"}"#)?;
/// assert_eq!(config.family.class_name(Head::QuestionAnswering), "BertForQuestionAnswering");
/// assert_eq!((config.num_hidden_layers, config.hidden_size), (12, 768));
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub struct Family {
    /// The `model_type` in `config.json`.
    pub(super) model_type: &'static str,
    /// The prefix of the encoder's tensors in checkpoints, without the dot.
    pub(super) prefix: &'static str,
    /// The beginning of Hugging Face's class names.
    pub(super) class: &'static str,
    /// The names that may follow [`Family::class`] in `architectures`, and the head that each stands for.
    pub(super) classes: &'static [(&'static str, Head)],
    /// BERT's names of the fields of `config.json` that have another name here. Each comes with that name, or
    /// with `None` if the family does not have the field.
    pub(super) fields: &'static [(&'static str, Option<&'static str>)],
    pub(super) defaults: Defaults,
    /// Reads and checks the family's own fields into a configuration that has all common ones.
    pub(super) read: fn(&Fields<'_>, &mut ModelConfig) -> Result<()>,
    /// Returns the family's own fields, as `config.json` has them.
    pub(super) write: fn(&ModelConfig) -> Vec<(&'static str, Value)>,
    /// The module paths of the graph that checkpoints call differently. `{}` stands for a layer's number.
    pub(super) renamed: &'static [(&'static str, &'static str)],
    /// The modules and buffers that checkpoints may hold although the graph does not read them. They have the
    /// checkpoint's names without the prefix, and `{}` for the number of a layer.
    pub(super) unread: &'static [&'static str],
    /// The place where the width of the word embeddings becomes that of the encoder, if the two differ.
    pub(crate) projection: Projection,
    /// The epsilon of the norm over the embeddings.
    pub(crate) embeddings_eps: Eps,
    /// The epsilon of the norm behind the last feed-forward network of a layer.
    pub(crate) output_eps: Eps,
    /// The head that classifies sequences.
    pub(crate) sequence: Pooled,
    /// The head that scores one choice of several.
    pub(crate) choice: Pooled,
    /// The masked-LM head.
    pub(crate) masked_lm: Transform,
}

/// The values that stand in for fields missing from `config.json`.
pub(super) struct Defaults {
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: Activation,
    pub(super) type_vocab_size: usize,
}

/// The linear from the width of the word embeddings to that of the encoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Projection {
    /// There is none, because words have the encoder's width.
    None,
    /// Words are projected before positions and types are added. The value is the module's path.
    BeforeSum(&'static str),
    /// Words, positions and types are added and normalised at the width of the words, then projected. The
    /// value is the module's path.
    AfterNorm(&'static str),
}

/// The number that a LayerNorm adds to the variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Eps {
    /// The `layer_norm_eps` of the configuration.
    Configured,
    /// This number, whatever the configuration says.
    Fixed(f32),
}

/// A head on the first token's state: a linear, an activation and an output linear.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pooled {
    /// The module path of the first linear.
    pub(crate) dense: &'static str,
    /// The activation behind the first linear.
    pub(crate) activation: Activation,
    /// The module path of the output linear.
    pub(crate) out: &'static str,
}

/// The transform below a masked-LM decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Transform {
    /// True if it ends at the width of the word embeddings instead of the encoder's.
    pub(crate) to_embedding_size: bool,
    /// The activation, where it is not `hidden_act`.
    pub(crate) activation: Option<Activation>,
}

/// Tensors of training scripts and of old versions of `transformers` that no model of any family reads: the
/// class weights of a loss function, and the numbers of the positions.
const BUFFERS: [&str; 5] =
    ["loss_fct.weight", "loss_fn.weight", "criterion.weight", "embeddings.position_ids", "position_ids"];

/// BERT's and MobileBERT's pooler and classifier, which multiple choice shares.
const POOLER: Pooled = Pooled { dense: "pooler.dense", activation: Activation::Tanh, out: "classifier" };

/// The transform of the masked-LM heads that keep the encoder's width and activation.
const TRANSFORM: Transform = Transform { to_embedding_size: false, activation: None };

impl Family {
    /// Returns every family that this crate runs.
    pub fn all() -> impl Iterator<Item = &'static Family> {
        FAMILIES.into_iter()
    }

    /// Returns the family that has this `model_type`.
    pub fn of(model_type: &str) -> Option<&'static Family> {
        Self::all().find(|family| family.model_type == model_type)
    }

    /// Returns the `model_type` in `config.json`.
    pub fn model_type(&self) -> &'static str {
        self.model_type
    }

    /// Returns the prefix of the encoder's tensors in checkpoints, such as `mobilebert`.
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Returns Hugging Face's class of a model of this family with the given head.
    pub fn class_name(&self, head: Head) -> String {
        format!("{}{}", self.class, head.class_suffix())
    }

    /// Returns the name in `config.json` of one of BERT's fields, or `None` if the family has no such field.
    pub(super) fn field<'n>(&self, name: &'n str) -> Option<&'n str> {
        let renamed = self.fields.iter().find(|(ours, _)| *ours == name);
        renamed.map_or(Some(name), |(_, theirs)| *theirs)
    }

    /// Returns the name in checkpoints, without the prefix, of a parameter of the graph.
    pub(crate) fn tensor_name<'n>(&self, parameter: &'n str) -> Cow<'n, str> {
        let Some((module, kind)) = parameter.rsplit_once('.') else { return parameter.into() };
        let found = self.renamed.iter().find_map(|(ours, theirs)| Some((matched(ours, module)?, theirs)));
        match found {
            Some((layer, theirs)) => format!("{}.{kind}", theirs.replace("{}", layer)).into(),
            None => parameter.into(),
        }
    }

    /// Returns true if a checkpoint's tensor, named without the prefix, belongs to the family although no
    /// parameter of a graph of so many layers reads it.
    pub(crate) fn is_unread(&self, tensor: &str, layers: usize) -> bool {
        let module = tensor.rsplit_once('.').map_or(tensor, |(module, kind)| match kind {
            "weight" | "bias" => module,
            "gamma" | "beta" if module.ends_with("LayerNorm") => module,
            _ => tensor,
        });
        if BUFFERS.contains(&tensor) {
            return true;
        }
        let exists = |layer: &str| layer.is_empty() || layer.parse().is_ok_and(|l: usize| l < layers);
        self.unread.iter().any(|pattern| matched(pattern, module).is_some_and(exists))
    }
}

/// Returns the part of a module path that stands for the `{}` of a pattern, if the rest of the two is the
/// same. The part is empty for a pattern without `{}`.
fn matched<'n>(pattern: &str, module: &'n str) -> Option<&'n str> {
    let Some((before, behind)) = pattern.split_once("{}") else { return (pattern == module).then_some("") };
    let layer = module.strip_prefix(before)?.strip_suffix(behind)?;
    (!layer.is_empty() && layer.bytes().all(|b| b.is_ascii_digit())).then_some(layer)
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Family").field(&self.model_type).finish()
    }
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

/// Reads nothing, for families without fields of their own.
fn read_nothing(_: &Fields<'_>, _: &mut ModelConfig) -> Result<()> {
    Ok(())
}

/// Writes nothing, for families without fields of their own.
fn write_nothing(_: &ModelConfig) -> Vec<(&'static str, Value)> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_renamed_by_module_and_layer() {
        let name = |parameter| distilbert::FAMILY.tensor_name(parameter).into_owned();
        assert_eq!(
            name("encoder.layer.11.attention.self.query.weight"),
            "transformer.layer.11.attention.q_lin.weight"
        );
        assert_eq!(
            name("encoder.layer.0.output.LayerNorm.bias"),
            "transformer.layer.0.output_layer_norm.bias"
        );
        assert_eq!(name("cls.predictions.bias"), "vocab_projector.bias");
        assert_eq!(name("embeddings.LayerNorm.weight"), "embeddings.LayerNorm.weight");
        assert_eq!(name("encoder.layer.x.output.dense.weight"), "encoder.layer.x.output.dense.weight");
    }

    #[test]
    fn unread_tensors_are_those_of_layers_that_exist() {
        let unread = |tensor| mobilebert::FAMILY.is_unread(tensor, 2);
        assert!(unread("encoder.layer.1.bottleneck.attention.dense.bias"));
        assert!(unread("encoder.layer.0.bottleneck.attention.LayerNorm.gamma"));
        assert!(!unread("encoder.layer.2.bottleneck.attention.dense.bias"));
        assert!(!unread("encoder.layer..bottleneck.attention.dense.bias"));
        assert!(!unread("encoder.layer.1.bottleneck.attention.dense.gamma"));
        assert!(unread("embeddings.position_ids"));
        assert!(!unread("embeddings.position_ids.more"));
    }

    #[test]
    fn names_of_families_are_unique() {
        for name in [Family::model_type, Family::prefix] {
            let names: std::collections::BTreeSet<_> = Family::all().map(name).collect();
            assert_eq!(names.len(), FAMILIES.len());
        }
        assert!(Family::of("t5").is_none());
    }
}
