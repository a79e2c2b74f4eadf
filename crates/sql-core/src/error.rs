//! What can go wrong between a query and its rows.

use arrow_schema::{ArrowError, DataType};

use crate::call::Function;

/// The result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reasons for which a function has no result. New ones may be added in any release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A model cannot be found, read or run.
    #[error("model `{name}`: {}", source.with_causes(source.to_string()))]
    Model {
        /// The name in the query.
        name: String,
        /// The engine's error.
        source: mobilebert::Error,
    },
    /// The model that has this name here is not the one that the query was planned with.
    #[error(
        "model `{name}` has other content than the query was planned with: expected sha {expected}, found \
         {found}; give every machine the same files under this name"
    )]
    OtherModel {
        /// The name in the query.
        name: String,
        /// The hash in the plan.
        expected: String,
        /// The hash of the files here.
        found: String,
    },
    /// The function has no built-in model, and the query names none.
    #[error(
        "{} needs a model: expected {}(…, 'MODEL'), a folder, a hub id or a name given to --model; none is \
         built in",
        function.name(),
        function.name()
    )]
    NoModel {
        /// The function.
        function: Function,
    },
    /// An argument is no text.
    #[error("argument {} of {} is {found}; expected a text", argument + 1, function.name())]
    NotText {
        /// The function.
        function: Function,
        /// The index of the argument.
        argument: usize,
        /// Its type.
        found: DataType,
    },
    /// The number of arguments, or of rows in one of them, is not what the function needs.
    #[error("{}: expected {expected}; found {found}", function.name())]
    Shape {
        /// The function.
        function: Function,
        /// What is needed.
        expected: String,
        /// What was given.
        found: String,
    },
    /// The text of a row cannot be read by the model, and such rows are to fail.
    #[error(
        "{}, row {row} of a batch, {texts}: {source}; filter such rows out, or set \
         mobilebert.on_error = 'null'",
        function.name()
    )]
    Row {
        /// The function.
        function: Function,
        /// The index of the row in its batch.
        row: usize,
        /// The beginnings of its texts, quoted.
        texts: String,
        /// The engine's error.
        source: mobilebert::Error,
    },
    /// The call was stopped.
    #[error("cancelled")]
    Cancelled,
    /// An option has a value that is not allowed.
    #[error("{option} is {found:?}; expected {expected}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The values that are allowed.
        expected: &'static str,
        /// The value that was given.
        found: String,
    },
    /// A call in a plan cannot be read.
    #[error("the plan's call of a model cannot be read: {problem}; run the same version everywhere")]
    Encoded {
        /// What is wrong with it.
        problem: String,
    },
    /// The result does not fit into an Arrow array.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}
