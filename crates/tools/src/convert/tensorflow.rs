//! Reads checkpoints of google-research's BERT and MobileBERT, and maps TensorFlow's variables to the
//! architecture's parameters.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::elsewhere::OBJECTS;
use super::stored::{Stored, StoredWeights, View};
use crate::writer::RawModel;
use mobilebert::format::Checkpoint;
use mobilebert::graph::Parameter;
use mobilebert::model::{self, names};
use mobilebert::{Error, ErrorKind, ModelConfig, Result, TensorProblem};

/// The last parts of the names of variables that training adds and no model reads.
const OF_TRAINING: [&str; 6] = ["adam_m", "adam_v", "Adam", "Adam_1", "Momentum", "ExponentialMovingAverage"];

/// The variable of a checkpoint of TensorFlow 2 that holds the graph of its objects.
const OBJECT_GRAPH: &str = "_CHECKPOINTABLE_OBJECT_GRAPH";

/// Refuses a checkpoint of objects, whose variables have no names of layers.
pub(super) fn refuse_objects(checkpoint: &Checkpoint, file: &str) -> Result<()> {
    if checkpoint.entry(OBJECT_GRAPH).is_none() {
        return Ok(());
    }
    Err(ErrorKind::Conversion {
        file: file.to_owned(),
        place: format!("variable `{OBJECT_GRAPH}`").into(),
        module: "the model".into(),
        expected:
            "a checkpoint of `tf.compat.v1.train.Saver`, with names such as bert/embeddings/word_embeddings"
                .to_owned(),
        found: OBJECTS.found.to_owned(),
        hint: OBJECTS.hint.into(),
    }
    .into())
}

/// Reads the model in a checkpoint. `config` holds the fields of its `bert_config.json`.
pub(super) fn open(
    checkpoint: Checkpoint,
    config: Map<String, Value>,
    notes: &mut Vec<String>,
) -> Result<RawModel> {
    let original = with_class(config, &checkpoint);
    let config = ModelConfig::from_json(&Value::Object(original.clone()).to_string())?;
    let graph = model::build(&config, config.head);

    let mut parameters = graph.parameters.clone();
    let mut extra = optional(&config);
    extra.retain(|parameter| {
        let there = variables(&parameter.name).iter().any(|(name, _)| checkpoint.entry(name).is_some());
        there && !parameters.iter().any(|p| p.name == parameter.name)
    });
    parameters.extend(extra.iter().cloned());
    let views = parameters.iter().map(|p| bind(&checkpoint, p)).collect::<Result<Vec<View>>>()?;
    let skipped = skipped(&checkpoint, &config, &views)?;
    if skipped > 0 {
        notes.push(format!("{skipped} variables of the training or of other heads were left out"));
    }
    let stored = views.into_iter().map(Stored::Tensor).collect();
    let weights = StoredWeights { checkpoint, stored, parameters };
    Ok(RawModel { config, original, graph, weights: Box::new(weights), extra, approximate: false })
}

/// Finds the variable that a parameter is stored as, and checks its shape.
fn bind(checkpoint: &Checkpoint, parameter: &Parameter) -> Result<View> {
    let candidates = variables(&parameter.name);
    let there = candidates.iter().find_map(|found| Some((found, checkpoint.entry(&found.0)?)));
    let Some(((name, transposed), entry)) = there else {
        let expected = &candidates[0].0;
        let problem = TensorProblem::Missing { expected: parameter.shape.clone(), nearest: None };
        return Err(Error::tensor(checkpoint.file_of(expected), expected, problem));
    };
    checkpoint.check_float(name)?;
    let mut view = View::new(name, &entry.shape);
    view.transposed = *transposed;
    if view.shape() != parameter.shape {
        let mut expected = parameter.shape.clone();
        if *transposed {
            expected.reverse();
        }
        let problem = TensorProblem::Shape { expected, found: entry.shape.clone() };
        return Err(Error::tensor(checkpoint.file_of(name), name, problem));
    }
    Ok(view)
}

/// Returns the number of variables that belong to no parameter but to the training or to other heads. Any
/// other variable is an error.
fn skipped(checkpoint: &Checkpoint, config: &ModelConfig, views: &[View]) -> Result<usize> {
    let claimed: HashSet<&str> = views.iter().map(|view| view.name.as_str()).collect();
    let mut skipped = 0;
    for (name, _) in checkpoint.entries().filter(|(name, _)| !claimed.contains(name)) {
        let last = name.rsplit('/').next().unwrap_or(name);
        let of_training = OF_TRAINING.contains(&last)
            || name.ends_with("global_step")
            || name.contains("beta1_power")
            || name.contains("beta2_power");
        if !of_training && !parameter_name(name).is_some_and(|p| names::is_known_extra(config, &p)) {
            return Err(Error::tensor(checkpoint.file_of(name), name, TensorProblem::Unknown));
        }
        skipped += 1;
    }
    Ok(skipped)
}

/// Returns the variables that a parameter may be stored as, most usual first, and whether each is transposed.
fn variables(parameter: &str) -> Vec<(String, bool)> {
    if let Some(&(_, variable, transposed)) = HEADS.iter().find(|(name, ..)| *name == parameter) {
        return vec![(variable.to_owned(), transposed)];
    }
    let (module, kind) = parameter.rsplit_once('.').unwrap_or((parameter, ""));
    let mut path =
        module.replace("encoder.layer.", "encoder.layer_").replace(".ffn.", ".ffn_layer_").replace('.', "/");
    if !path.starts_with("cls/") {
        path = format!("bert/{path}");
    }
    if path.ends_with("_embeddings") {
        return vec![(path, false)];
    }
    if let Some(norm) = path.strip_suffix("LayerNorm") {
        let kind = if kind == "weight" { "gamma" } else { "beta" };
        return ["FakeLayerNorm", "LayerNorm"].map(|name| (format!("{norm}{name}/{kind}"), false)).into();
    }
    match kind {
        "weight" => vec![(format!("{path}/kernel"), true)],
        _ => vec![(format!("{path}/bias"), false)],
    }
}

/// Returns the parameter that an encoder's variable would be, to tell a known extra from an unknown one.
fn parameter_name(variable: &str) -> Option<String> {
    if let Some((name, ..)) = HEADS.iter().find(|(_, name, _)| *name == variable) {
        return Some((*name).to_owned());
    }
    let path = variable.strip_prefix("bert/").unwrap_or(variable);
    let (module, kind) = path.rsplit_once('/')?;
    let kind = match kind {
        "kernel" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        _ => return None,
    };
    let module = module.replace("layer_", "layer.").replace("FakeLayerNorm", "LayerNorm").replace('/', ".");
    Some(format!("{module}.{kind}"))
}

/// The heads: parameter, variable, and whether it is transposed.
const HEADS: [(&str, &str, bool); 8] = [
    ("qa_outputs.weight", "cls/squad/output_weights", false),
    ("qa_outputs.bias", "cls/squad/output_bias", false),
    ("classifier.weight", "output_weights", false),
    ("classifier.bias", "output_bias", false),
    ("cls.predictions.bias", "cls/predictions/output_bias", false),
    ("cls.predictions.dense.weight", "cls/predictions/extra_output_weights", true),
    ("cls.seq_relationship.weight", "cls/seq_relationship/output_weights", false),
    ("cls.seq_relationship.bias", "cls/seq_relationship/output_bias", false),
];

/// Returns the parts that a checkpoint has beside those that its head reads. They are kept so that the model
/// can be trained further.
fn optional(config: &ModelConfig) -> Vec<Parameter> {
    let hidden = config.hidden_size;
    let pooler = [("pooler.dense.weight", vec![hidden, hidden]), ("pooler.dense.bias", vec![hidden])];
    let next = [("cls.seq_relationship.weight", vec![2, hidden]), ("cls.seq_relationship.bias", vec![2])];
    let parameter =
        |(name, shape): (&str, Vec<usize>)| Parameter { name: name.into(), shape, quantizable: false };
    pooler.into_iter().chain(next).map(parameter).collect()
}

/// Adds `model_type`, `architectures` and the number of labels, which `bert_config.json` leaves to the
/// program.
fn with_class(mut config: Map<String, Value>, checkpoint: &Checkpoint) -> Map<String, Value> {
    let has = |variable: &str| checkpoint.entry(variable).is_some();
    let mobile = config.get("model_type").map_or_else(
        || {
            config.contains_key("intra_bottleneck_size")
                || config.contains_key("use_bottleneck")
                || checkpoint.entries().any(|(name, _)| name.contains("/bottleneck/"))
        },
        |model_type| model_type == "mobilebert",
    );
    let family = if mobile { "MobileBert" } else { "Bert" };
    config.entry("model_type").or_insert_with(|| family.to_lowercase().into());
    let head = if has("cls/squad/output_weights") {
        "ForQuestionAnswering"
    } else if has("output_weights") {
        "ForSequenceClassification"
    } else if has("cls/predictions/output_bias") {
        "ForMaskedLM"
    } else {
        "Model"
    };
    config.entry("architectures").or_insert_with(|| json!([format!("{family}{head}")]));
    let labels = checkpoint.entry("output_bias").and_then(|entry| entry.shape.first().copied());
    if let Some(labels) = labels.filter(|_| !config.contains_key("id2label")) {
        config.entry("num_labels").or_insert_with(|| labels.into());
    }
    config
}
