//! Functions, their options, and calls as data.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use mobilebert::Head;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::models::{ModelRef, Models};

/// A task as a function of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Function {
    /// The best label of a text.
    Classify,
    /// The best label of a pair of texts.
    ClassifyPair,
    /// The scores of all labels of a text.
    Scores,
    /// The answer to a question in a context.
    Answer,
    /// The entities of a text.
    Tag,
    /// The words for the masks of a text.
    FillMask,
    /// The vector of a text.
    Embed,
    /// The cosine of the vectors of two texts.
    Similarity,
    /// The number of tokens of a text.
    Tokens,
}

impl Function {
    /// All functions.
    pub const ALL: [Self; 9] = [
        Self::Classify,
        Self::ClassifyPair,
        Self::Scores,
        Self::Answer,
        Self::Tag,
        Self::FillMask,
        Self::Embed,
        Self::Similarity,
        Self::Tokens,
    ];

    /// Returns the function's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::ClassifyPair => "classify_pair",
            Self::Scores => "scores",
            Self::Answer => "answer",
            Self::Tag => "tag",
            Self::FillMask => "fill_mask",
            Self::Embed => "embed",
            Self::Similarity => "similarity",
            Self::Tokens => "tokens",
        }
    }

    /// Returns the names of the texts that the function takes before the model's name.
    pub fn texts(self) -> &'static [&'static str] {
        match self {
            Self::ClassifyPair | Self::Similarity => &["first", "second"],
            Self::Answer => &["question", "context"],
            _ => &["text"],
        }
    }

    /// Returns what the function does, in one sentence.
    pub fn description(self) -> &'static str {
        match self {
            Self::Classify => "Gives the best label of a text, its score, and whether the text was cut.",
            Self::ClassifyPair => "Gives the best label of a pair of texts.",
            Self::Scores => "Gives the score of each label of a text.",
            Self::Answer => "Finds the answer to a question in a context; offsets are bytes.",
            Self::Tag => "Finds the entities of a text; offsets are bytes.",
            Self::FillMask => "Finds the best words for each [MASK] of a text.",
            Self::Embed => "Gives the vector of a text.",
            Self::Similarity => "Gives the cosine of the vectors of two texts.",
            Self::Tokens => "Counts the tokens of a text, without [CLS] and [SEP].",
        }
    }

    /// Returns the model of calls that name none.
    pub fn default_model(self) -> Option<&'static str> {
        match self {
            Self::Classify | Self::Scores | Self::Tokens => Some("sentiment"),
            Self::Answer => Some("qa"),
            Self::Embed | Self::Similarity => Some("embed"),
            Self::Tag => Some("ner"),
            Self::ClassifyPair | Self::FillMask => None,
        }
    }

    /// Returns the head that the function needs, and its task in words.
    pub(crate) fn head(self) -> (Head, &'static str) {
        match self {
            Self::Classify | Self::ClassifyPair | Self::Scores => {
                (Head::SequenceClassification, "text classification")
            }
            Self::Answer => (Head::QuestionAnswering, "question answering"),
            Self::Tag => (Head::TokenClassification, "token classification"),
            Self::FillMask => (Head::MaskedLm, "fill-mask"),
            Self::Embed | Self::Similarity | Self::Tokens => (Head::None, "embedding"),
        }
    }

    /// Returns the type of the result. Vectors have this many numbers.
    pub(crate) fn data_type(self, dimensions: i32) -> DataType {
        match self {
            Self::Classify | Self::ClassifyPair => DataType::Struct(label_fields()),
            Self::Scores => DataType::Map(map_field(), false),
            Self::Answer => DataType::Struct(answer_fields()),
            Self::Tag => DataType::List(item(DataType::Struct(entity_fields()))),
            Self::FillMask => DataType::List(item(DataType::Struct(fill_fields()))),
            Self::Embed => DataType::FixedSizeList(item(DataType::Float32), dimensions),
            Self::Similarity => DataType::Float32,
            Self::Tokens => DataType::Int32,
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn fields<const N: usize>(named: [(&str, DataType); N]) -> Fields {
    named.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect()
}

/// The fields of a label.
pub(crate) fn label_fields() -> Fields {
    fields([("label", DataType::Utf8), ("score", DataType::Float32), ("truncated", DataType::Boolean)])
}

/// The fields of an answer.
pub(crate) fn answer_fields() -> Fields {
    fields([
        ("answer", DataType::Utf8),
        ("score", DataType::Float32),
        ("start", DataType::Int64),
        ("end", DataType::Int64),
    ])
}

/// The fields of an entity.
pub(crate) fn entity_fields() -> Fields {
    fields([
        ("entity", DataType::Utf8),
        ("score", DataType::Float32),
        ("word", DataType::Utf8),
        ("start", DataType::Int64),
        ("end", DataType::Int64),
    ])
}

/// The fields of a word for a mask.
pub(crate) fn fill_fields() -> Fields {
    fields([
        ("mask", DataType::Int32),
        ("word", DataType::Utf8),
        ("score", DataType::Float32),
        ("sequence", DataType::Utf8),
    ])
}

/// The field of the items of a list.
pub(crate) fn item(kind: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", kind, true))
}

/// The fields of an entry of the map from labels to scores.
pub(crate) fn entry_fields() -> Fields {
    vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Float32, true)].into()
}

/// The field of the entries of a map.
pub(crate) fn map_field() -> Arc<Field> {
    Arc::new(Field::new("entries", DataType::Struct(entry_fields()), false))
}

/// What happens to a row whose text the model cannot read: an empty one, a question that is too long, a text
/// without a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The row is NULL, and counted in [`crate::Counts::failed`].
    #[default]
    Null,
    /// The query fails.
    Fail,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "null" => Ok(Self::Null),
            "fail" => Ok(Self::Fail),
            other => Err(Error::Option {
                option: "mobilebert.on_error",
                expected: "`null` or `fail`",
                found: other.to_owned(),
            }),
        }
    }
}

impl fmt::Display for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Fail => "fail",
        })
    }
}

/// The options of a call that do not stand among its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// What happens to a row whose text the model cannot read.
    pub on_error: OnError,
    /// True if "the context does not say" may be an answer, which is then NULL. It is meant for models
    /// trained on SQuAD 2.0.
    pub allow_no_answer: bool,
}

/// A function with its model and options. Equal calls give equal results for equal texts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    function: Function,
    model: ModelRef,
    options: Options,
    /// The number of numbers in a vector; 0 for functions that give none.
    dimensions: i32,
}

/// A call as it stands in a plan.
#[derive(Serialize, Deserialize)]
struct Written {
    version: String,
    call: Call,
}

impl Call {
    /// Finds the model of a call, checks that it can do the task, and takes its hash. The weights are loaded
    /// only if the type of the result depends on them.
    ///
    /// # Errors
    /// [`Error::NoModel`] if there is no name and no built-in model for the task; [`Error::Model`] if there
    /// is none of that name, or it was trained for another task.
    pub fn plan(models: &Models, function: Function, model: Option<&str>, options: Options) -> Result<Self> {
        let Some(name) = model.or(function.default_model()) else {
            return Err(Error::NoModel { function });
        };
        let model = models.find(name, function)?;
        let dimensions =
            if function == Function::Embed { models.open(&model)?.dimensions(name)? } else { 0 };
        Ok(Self { function, model, options, dimensions })
    }

    /// Returns the function.
    pub fn function(&self) -> Function {
        self.function
    }

    /// Returns the model.
    pub fn model(&self) -> &ModelRef {
        &self.model
    }

    /// Returns the options.
    pub fn options(&self) -> Options {
        self.options
    }

    /// Returns the type of the result.
    pub fn data_type(&self) -> DataType {
        self.function.data_type(self.dimensions)
    }

    /// Writes the call for a plan that goes to another machine.
    ///
    /// # Errors
    /// [`Error::Encoded`] if it cannot be written.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let written = Written { version: VERSION.to_owned(), call: self.clone() };
        serde_json::to_vec(&written).map_err(|error| Error::Encoded { problem: error.to_string() })
    }

    /// Reads a call that [`Call::encode`] wrote. Other versions of this crate may compute other bits, so
    /// theirs are refused. Two builds of one version are not told apart.
    ///
    /// # Errors
    /// [`Error::Encoded`] for anything else than a call of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let problem = |problem: String| Error::Encoded { problem };
        let Written { version, call } =
            serde_json::from_slice(bytes).map_err(|error| problem(error.to_string()))?;
        match version == VERSION {
            true if (0..=MOST_DIMENSIONS).contains(&call.dimensions) => Ok(call),
            true => Err(problem(format!(
                "it has vectors of {} numbers; expected at most {MOST_DIMENSIONS}",
                call.dimensions
            ))),
            false => Err(problem(format!("it is from version {version}; expected {VERSION}"))),
        }
    }
}

/// More numbers than any model's vectors have.
pub(crate) const MOST_DIMENSIONS: i32 = 1 << 20;

/// The version in plans. All packages of the engine have this one version, and a release that changes a
/// result by a bit has a new one.
///
/// The kernels that a processor runs stand in no plan. Those of int8 models sum integers, and have the same
/// bits on every machine. Those of f32 models add in an order that depends on the width of the processor's
/// vectors, so machines of one cluster that differ in it agree on such models up to rounding only.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.function, self.model)
    }
}
