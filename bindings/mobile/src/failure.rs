//! Errors in the form that crosses the border.

use std::fmt;

/// The result of every fallible function in this crate.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// An error of the engine or of its bindings.
#[derive(Debug, uniffi::Error)]
pub(crate) enum Failure {
    /// There is one kind; `code` tells errors apart.
    Failed {
        /// The stable name of the kind of error.
        code: String,
        /// What happened, where, what was expected and what to do. Kotlin's exceptions have a property
        /// `message` of their own.
        text: String,
        /// Where it happened.
        place: Option<String>,
        /// The index in the list of inputs, from 0.
        index: Option<i32>,
        /// The position in the text, in UTF-16 units.
        position: Option<i32>,
    },
}

impl From<mobilebert_bindings::Failure> for Failure {
    fn from(failure: mobilebert_bindings::Failure) -> Self {
        Self::Failed {
            code: failure.code().to_owned(),
            text: failure.message().to_owned(),
            place: failure.place().map(str::to_owned),
            index: failure.index().map(count),
            position: failure.position().map(|position| count(position.utf16)),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { text, .. } = self;
        f.write_str(text)
    }
}

impl std::error::Error for Failure {}

/// Turns a count into the whole number of Java and Kotlin, whose texts and lists are never longer.
pub(crate) fn count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// Fails with `invalid_text` for a text that holds half of a surrogate pair. Java's strings can hold one, and
/// no text that crosses the border can. `before` is the text in front of it, `unit` and `index` say which
/// input of a list it is.
#[uniffi::export]
fn refuse_surrogate(
    what: String,
    surrogate: u32,
    before: String,
    unit: Option<String>,
    index: i32,
) -> Result<()> {
    let failure = mobilebert_bindings::lone_surrogate(&what, surrogate, &before);
    let index = usize::try_from(index).unwrap_or(0);
    Err(match unit {
        Some(unit) => failure.of(&unit, index),
        None => failure,
    }
    .into())
}

/// Lists the codes that an error may have.
#[uniffi::export]
fn error_codes() -> Vec<String> {
    mobilebert_bindings::CODES.iter().flat_map(|codes| codes.iter()).map(|&code| code.to_owned()).collect()
}
