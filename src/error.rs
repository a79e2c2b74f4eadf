//! Errors as data: every error says what happened, where, what was expected, what was found, and what to do
//! about it.

mod codes;

use std::fmt;
use std::path::{Path, PathBuf};

/// The result of every fallible function in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An [`ErrorKind`] and the places it passed through on its way up.
///
/// `Display` prints the places, outermost first, and then the kind; `source()` gives the error of the library
/// below, where there is one.
///
/// ```
/// use mobilebert::{Error, ErrorKind, ModelConfig};
///
/// let error: Error = ModelConfig::from_json(r#"{"model_type": "t5"}"#).unwrap_err();
/// assert!(matches!(error.kind(), ErrorKind::Config { field, .. } if field == "model_type"));
/// assert_eq!(
///     error.to_string(),
///     "config.json: `model_type` is \"t5\"; expected one of \"bert\", \"mobilebert\", \"distilbert\", \"electra\""
/// );
/// ```
pub struct Error {
    inner: Box<Inner>,
}

struct Inner {
    kind: ErrorKind,
    context: Vec<String>,
}

/// The kind of an error and its details. New kinds may be added in any release.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused to read or write.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A model folder lacks a file that this model needs.
    #[error("{} has none of these files: {}; {hint}", folder.display(), expected.join(", "))]
    MissingFile {
        /// The model folder.
        folder: PathBuf,
        /// File names, any of which would do.
        expected: Vec<String>,
        /// Advice on what to do.
        hint: String,
    },
    /// A model source is neither a folder, nor a built-in name, nor a hub id that can be reached.
    #[error("no model at {source_name:?}: {reason}; {hint}")]
    UnknownModel {
        /// The name or path that the caller asked for.
        source_name: String,
        /// Why it could not be found.
        reason: String,
        /// Advice on what to do.
        hint: String,
    },
    /// A file is not valid JSON, or not the JSON expected there.
    #[error("{file}: {source}")]
    Json {
        /// The file's name.
        file: String,
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// `config.json` holds a value that this engine cannot run.
    #[error("config.json: `{field}` is {found}; expected {expected}")]
    Config {
        /// The field's name, dotted for nested objects.
        field: String,
        /// The values that the engine accepts.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// A checkpoint's tensor is missing, unknown, or not what the configuration says it is.
    #[error("{file}: tensor `{tensor}` {problem}")]
    Tensor {
        /// The checkpoint file.
        file: String,
        /// The tensor's name in the checkpoint.
        tensor: String,
        /// The problem with it.
        problem: TensorProblem,
    },
    /// Several tensors of a checkpoint are missing, unknown, or not what the configuration says they are.
    #[error("{file}: {total} tensors do not fit config.json: {}", list(problems, *total))]
    Tensors {
        /// The checkpoint file, or those of its files that these tensors are in.
        file: String,
        /// The first of them: each tensor's name in the checkpoint and the problem with it.
        problems: Vec<(String, TensorProblem)>,
        /// The number of problems in all.
        total: usize,
    },
    /// A checkpoint file violates its own format.
    #[error("{file}, byte {offset}: expected {expected}; found {found}")]
    Format {
        /// The file.
        file: String,
        /// The byte of the file, or 0 if the parser does not say.
        offset: u64,
        /// The content that belongs there.
        expected: String,
        /// The content that is there.
        found: String,
    },
    /// A tokenizer file cannot be used.
    #[error("{file}: {problem}")]
    Tokenizer {
        /// The file.
        file: String,
        /// The problem with it.
        problem: String,
    },
    /// A text that has to hold something is empty or white space.
    #[error("the {what} is empty; pass a text with at least one word")]
    EmptyText {
        /// The text's role: "question", "context" or "text".
        what: &'static str,
    },
    /// A text does not fit where it may not be cut.
    #[error("the {what} has {found} tokens; the limit is {limit}: {hint}")]
    TooLong {
        /// The text's role.
        what: &'static str,
        /// Its length in tokens.
        found: usize,
        /// The longest length allowed.
        limit: usize,
        /// Advice on what to do.
        hint: &'static str,
    },
    /// An option has a value outside its range, or does not go with another one.
    #[error("`{option}` is {found}; expected {expected}")]
    Option {
        /// The option's name.
        option: &'static str,
        /// The values that are allowed.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// A batch holds numbers that the model has no row for, or lists of different lengths.
    #[error("sequence {sequence}, position {position}: {what} is {found}; expected {expected}")]
    Batch {
        /// Index of the sequence in the batch.
        sequence: usize,
        /// Index of the token in the sequence.
        position: usize,
        /// The number's role.
        what: &'static str,
        /// The values that are allowed.
        expected: String,
        /// The value that was given.
        found: usize,
    },
    /// The model was not trained for the task that was asked of it.
    #[error("the model is for {trained_for} ({found}); {task} needs a {}", expected.join(" or "))]
    WrongTask {
        /// The task that the caller asked for.
        task: &'static str,
        /// The model's own task, in words.
        trained_for: &'static str,
        /// The classes in `config.json` of models that do what the caller wants.
        expected: Vec<String>,
        /// The class in the model's `config.json`.
        found: String,
    },
    /// Data in a batch file, a label list or another input of the user's cannot be used.
    #[error("{place}: {problem}")]
    Input {
        /// File and line, or the flag it came from.
        place: String,
        /// The problem, the expected input, and advice on what to do.
        problem: String,
    },
    /// The model computed something that is not a number: its weights or its activations overflow.
    #[error(
        "row {row} of the logits holds {value}; the weights overflow f32, so no answer of this model can be trusted"
    )]
    NotFinite {
        /// The output row. The head decides whether a row is a token or a sequence.
        row: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The caller stopped the call between two passes.
    #[error("cancelled after {done} sequences")]
    Cancelled {
        /// The number of sequences that the model had read.
        done: usize,
    },
    /// The deadline of the call passed before its last pass began.
    #[error("the deadline passed after {done} sequences; allow more time or send less text")]
    DeadlineExceeded {
        /// The number of sequences that the model had read.
        done: usize,
    },
    /// A job was given rows that are not its own, or finished before it had all of them.
    #[error("sequence {sequence}: expected {expected}; found {found}")]
    Rows {
        /// The job's own index of the sequence.
        sequence: usize,
        /// The rows that the job needs.
        expected: String,
        /// The rows that it was given.
        found: String,
    },
    /// The loss of a training step is not a finite number.
    #[error("the loss of step {step} is {loss}, so nothing was written; lower the learning `rate`")]
    Diverged {
        /// The step, counted from 1.
        step: usize,
        /// NaN or an infinity.
        loss: f64,
    },
    /// The numeric library below failed.
    #[error("backend {backend}, {node}: {source}")]
    Backend {
        /// The backend's name.
        backend: &'static str,
        /// The graph node that was running.
        node: String,
        /// The library's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A model of another framework is not what its architecture asks for.
    #[error("{file}, {place}: {module}: expected {expected}, found {found}; {hint}")]
    Conversion {
        /// The file.
        file: String,
        /// The byte offset, node or variable in the file.
        place: Box<str>,
        /// The module path of the part of the model that was looked for.
        module: Box<str>,
        /// The structure that the architecture asks for.
        expected: String,
        /// The structure that the file has.
        found: String,
        /// Advice on what to try.
        hint: Box<str>,
    },
    /// A converted model does not compute what its source computes.
    #[error("{place}: deviates by {deviation} from {reference}; expected at most {limit}")]
    Verification {
        /// The layer or output that deviates.
        place: String,
        /// The largest absolute difference.
        deviation: f32,
        /// The model it was compared with.
        reference: String,
        /// The largest difference allowed.
        limit: f32,
    },
    /// A quantised model loses more of its score than it may.
    #[error(
        "{metric} drops by {drop:.2} from {reference:.2} to {found:.2}, more than {max_drop}, with {}{} in f32; allow a larger \
         drop or more modules in f32",
        if keep_int8.is_empty() { String::new() } else { format!("{} in int8 and ", keep_int8.join(", ")) },
        if keep_f32.is_empty() { "nothing".to_owned() } else { keep_f32.join(", ") }
    )]
    Gate {
        /// The metric that is compared.
        metric: &'static str,
        /// The metric of the source in f32.
        reference: f64,
        /// The metric of the best model found.
        found: f64,
        /// The difference between the two.
        drop: f64,
        /// The largest difference allowed.
        max_drop: f64,
        /// The modules that were left in f32.
        keep_f32: Vec<String>,
        /// The modules that a quantisation to 4 bits left in int8.
        keep_int8: Vec<String>,
    },
    /// This build lacks the part that was asked for.
    #[error("{what} is not part of this build; rebuild with `--features {feature}`")]
    NotBuilt {
        /// The part that is missing.
        what: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
}

/// The problem with one tensor of a checkpoint.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// The configuration needs the tensor, and no name in the file matches.
    #[error("is missing; expected shape {expected:?}{}", nearest.as_ref().map_or(String::new(), |n| format!(" (the file has `{n}`)")))]
    Missing {
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The most similar name in the file, if any is close.
        nearest: Option<String>,
    },
    /// No part of this architecture has a tensor of this name.
    #[error(
        "has no place in this architecture; remove it, or check `model_type` and the layer counts in config.json"
    )]
    Unknown,
    /// The shape of the tensor differs from what the configuration says.
    #[error("has shape {found:?}; config.json asks for {expected:?}")]
    Shape {
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// The number type of the tensor cannot be read here.
    #[error("has type {found}; expected {expected}")]
    Dtype {
        /// The number types that can be read here.
        expected: &'static str,
        /// The number type in the file.
        found: String,
    },
    /// The tensor holds a NaN or an infinity.
    #[error("holds {value} at element {index}; every weight must be finite")]
    NotFinite {
        /// The flat index of the first such element.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The tensor is an int8 weight with a value outside the symmetric range.
    #[error("holds -128 at element {index}; int8 weights lie in -127..=127")]
    Asymmetric {
        /// The flat index of the first such element.
        index: usize,
    },
    /// The tensor holds the lowest 4-bit number, which lies outside the symmetric range.
    #[error("holds -8 in byte {index}; 4-bit weights lie in -7..=7")]
    AsymmetricInt4 {
        /// The index of the first byte that has this number as one of its halves.
        index: usize,
    },
    /// The tensor lists the multipliers of 4-bit weights, and one of them would leave the range of int8.
    #[error("holds {value} at element {index}; multipliers lie in 1..=18")]
    Multiplier {
        /// The flat index of the first such multiplier.
        index: usize,
        /// The value.
        value: u8,
    },
    /// The tensor lists the scales of int8 weights, and one of them cannot be a scale.
    #[error("holds {value} at element {index}; every scale must be positive")]
    Scale {
        /// The index of the first such scale.
        index: usize,
        /// The value.
        value: f32,
    },
}

/// Writes one line for each problem, and one for the problems that were left out.
fn list(problems: &[(String, TensorProblem)], total: usize) -> String {
    let mut text: String =
        problems.iter().map(|(tensor, problem)| format!("\n  `{tensor}` {problem}")).collect();
    let more = total.saturating_sub(problems.len());
    if more > 0 {
        text += &format!("\n  and {more} more");
    }
    text
}

impl Error {
    /// Returns the kind of this error and its details.
    pub fn kind(&self) -> &ErrorKind {
        &self.inner.kind
    }

    /// Returns the kind's stable name, such as `too_long`; see [`ErrorKind::code`].
    pub fn code(&self) -> &'static str {
        self.kind().code()
    }

    /// Appends the messages of the libraries below to `message`, each after a colon, and leaves out those
    /// that add nothing to it.
    ///
    /// `Display` leaves those messages to `source()`. Programs that print one line want them all, without
    /// repetition.
    ///
    /// ```
    /// use mobilebert::ModelConfig;
    ///
    /// let error = ModelConfig::from_json("{").unwrap_err();
    /// assert_eq!(error.with_causes(error.to_string()), error.to_string()); // it says all there is to say
    /// ```
    pub fn with_causes(&self, mut message: String) -> String {
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        message
    }

    /// Returns the places that the error passed through, outermost first.
    pub fn context(&self) -> impl Iterator<Item = &str> {
        self.inner.context.iter().rev().map(String::as_str)
    }

    /// Makes an [`ErrorKind::Io`].
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        ErrorKind::Io { path: path.as_ref().to_owned(), source }.into()
    }

    /// Makes an [`ErrorKind::Tensor`].
    pub fn tensor(file: &str, tensor: &str, problem: TensorProblem) -> Self {
        ErrorKind::Tensor { file: file.to_owned(), tensor: tensor.to_owned(), problem }.into()
    }

    /// Makes an [`ErrorKind::Option`].
    pub fn option(option: &'static str, expected: impl Into<String>, found: impl fmt::Display) -> Self {
        ErrorKind::Option { option, expected: expected.into(), found: found.to_string() }.into()
    }
}

/// Adds the place an error passes through.
pub trait Context<T> {
    /// Wraps the error, if there is one, with a place such as `window 3`.
    fn context(self, place: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for Result<T, E> {
    fn context(self, place: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| {
            let mut error = e.into();
            error.inner.context.push(place());
            error
        })
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self { inner: Box::new(Inner { kind, context: Vec::new() }) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in self.context() {
            write!(f, "{place}: ")?;
        }
        self.inner.kind.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("context", &self.inner.context).field("kind", &self.inner.kind).finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&self.inner.kind)
    }
}
