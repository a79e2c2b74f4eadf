//! Options by name.

use mobilebert_bindings::{Failure, Opening};
use serde_json::{Map, Value};

use crate::failure::Result;

/// The value of an option.
#[derive(Debug, Clone, uniffi::Enum)]
pub(crate) enum OptionValue {
    /// "All" where a number is expected, and the default elsewhere.
    Nothing,
    /// True or false.
    Flag {
        /// The value.
        value: bool,
    },
    /// A whole number.
    Whole {
        /// The value.
        value: i64,
    },
    /// A number.
    Number {
        /// The value.
        value: f64,
    },
    /// A text.
    Text {
        /// The value.
        value: String,
    },
    /// A list of texts.
    Texts {
        /// The value.
        value: Vec<String>,
    },
}

/// An option of a task with its value.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct NamedOption {
    /// The name, such as `top_k`.
    pub name: String,
    /// The value.
    pub value: OptionValue,
}

/// Returns options in the form that the tasks take, the last of a name.
///
/// # Errors
/// `option` for NaN and the infinities. That form is JSON, which would write them as "nothing".
pub(crate) fn map(options: Vec<NamedOption>) -> Result<Map<String, Value>> {
    let pair = |NamedOption { name, value }| {
        let value = match value {
            OptionValue::Nothing => Value::Null,
            OptionValue::Flag { value } => value.into(),
            OptionValue::Whole { value } => value.into(),
            OptionValue::Number { value } if !value.is_finite() => {
                return Err(Failure::option(&name, "a finite number", value).into());
            }
            OptionValue::Number { value } => value.into(),
            OptionValue::Text { value } => value.into(),
            OptionValue::Texts { value } => value.into(),
        };
        Ok((name, value))
    };
    options.into_iter().map(pair).collect()
}

/// How a model is loaded and run.
#[derive(Debug, Clone, uniffi::Record)]
pub(crate) struct Loading {
    /// The number of threads for each pass.
    pub threads: Option<i32>,
    /// `int8`, `bf16` or `f32`.
    pub precision: Option<String>,
    /// False if `[SEP]` and the like in a text are plain characters.
    pub special_tokens_in_text: Option<bool>,
    /// The name of the backend.
    pub backend: Option<String>,
}

impl Loading {
    pub(crate) fn opening(self) -> Result<Opening> {
        let Self { threads, precision, special_tokens_in_text, backend } = self;
        let threads = threads.map(|threads| {
            usize::try_from(threads)
                .map_err(|_| Failure::option("threads", "a whole number, 1 or more", threads))
        });
        Ok(Opening { threads: threads.transpose()?, precision, special_tokens_in_text, backend })
    }
}
