//! Errors as every language shows them: a stable code, a message, and where it happened.

use std::fmt;

use mobilebert::{Error, ErrorKind};

/// The result of every fallible function in this crate.
pub type Result<T> = std::result::Result<T, Failure>;

/// The codes that a [`Failure`] may have: those of the engine ([`ErrorKind::CODES`]), and those of bindings.
pub const CODES: [&[&str]; 2] = [ErrorKind::CODES, &[INVALID_TEXT, UNKNOWN_OPTION]];

/// The code of input that is not Unicode text.
pub(crate) const INVALID_TEXT: &str = "invalid_text";
/// The code of an option that the task does not have.
pub(crate) const UNKNOWN_OPTION: &str = "unknown_option";

/// An error, with all that a binding needs to raise its own language's exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    code: &'static str,
    message: String,
    place: Option<String>,
    index: Option<usize>,
    position: Option<Position>,
}

/// The position of a fault in a text, in the units of all languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The number of bytes before it, as UTF-8 would write them.
    pub byte: usize,
    /// The number of code points before it.
    pub char: usize,
    /// The number of UTF-16 units before it.
    pub utf16: usize,
}

impl Position {
    /// Returns the position behind a text.
    pub(crate) fn behind(text: &str) -> Self {
        Self { byte: text.len(), char: text.chars().count(), utf16: text.encode_utf16().count() }
    }
}

impl Failure {
    /// Makes a failure that only one binding meets. Its code is one of [`CODES`] or one of the binding's own.
    pub fn new(code: &'static str, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), place: Some(place.into()), index: None, position: None }
    }

    /// Makes the failure of an option's value. The code is `option`.
    pub fn option(option: &str, expected: impl fmt::Display, found: impl fmt::Display) -> Self {
        Self::new("option", option, format!("`{option}` is {found}; expected {expected}"))
    }

    /// Makes the failure of an input that cannot be used. The code is `input`.
    pub fn input(place: impl Into<String>, problem: impl fmt::Display) -> Self {
        let place = place.into();
        let message = format!("{place}: {problem}");
        Self::new("input", place, message)
    }

    /// Makes the failure of a range of an open file that cannot be used as a model's file `name`: its
    /// descriptor is not open or not that of a file, or the file ends before the range does. The code is `io`,
    /// as for a file that cannot be read.
    pub fn range(
        name: impl Into<String>,
        descriptor: i32,
        offset: impl fmt::Display,
        size: impl fmt::Display,
        problem: impl fmt::Display,
    ) -> Self {
        let name = name.into();
        let message = format!("{name}: descriptor {descriptor}, offset {offset}, size {size}: {problem}");
        Self::new("io", name, message)
    }

    /// Makes the failure of a text that holds half of a surrogate pair, such as `0xD83D`, which no Unicode
    /// text can. `what` is the role of the text, as in "question".
    pub fn lone_surrogate(what: &str, surrogate: u32, position: Position) -> Self {
        let message = format!(
            "the {what} is not Unicode text: code point {} is U+{surrogate:04X}, half of a surrogate pair; \
             remove it, or repair the program that cut the pair",
            position.char
        );
        Self { position: Some(position), ..Self::new(INVALID_TEXT, what, message) }
    }

    /// Makes the failure of a call that was cancelled before it began. The code is `cancelled`.
    pub fn cancelled() -> Self {
        Error::from(ErrorKind::Cancelled { done: 0 }).into()
    }

    /// Makes the failure of a text that is not UTF-8. `before` is the text in front of the first `byte` that
    /// cannot stand there. `what` is the role of the text, as in "question".
    pub(crate) fn not_utf8(what: &str, byte: u8, before: &str) -> Self {
        let position = Position::behind(before);
        let message = format!(
            "the {what} is not UTF-8: byte {} is 0x{byte:02X}; convert the text to UTF-8, or repair the program \
             that cut it",
            position.byte
        );
        Self { position: Some(position), ..Self::new(INVALID_TEXT, what, message) }
    }

    /// Says which input of a list failed: `index` counts from 0, the message from 1. `unit` is what the list
    /// holds, as in "text".
    #[must_use]
    pub fn of(mut self, unit: &str, index: usize) -> Self {
        let place = format!("{unit} {}", index + 1);
        self.message = format!("{place}: {}", self.message);
        self.place = Some(self.place.map_or_else(|| place.clone(), |inner| format!("{place}: {inner}")));
        self.index = Some(index);
        self
    }

    /// Returns the stable name of the kind of error, one of [`CODES`].
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the message, which says what happened, where, what was expected and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns where it happened, such as an option's name, a file, or "text 3: question".
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Returns the index in the list of inputs, from 0, if one of them is at fault.
    pub fn index(&self) -> Option<usize> {
        self.index
    }

    /// Returns the position in the text, if one character is at fault.
    pub fn position(&self) -> Option<Position> {
        self.position
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut places: Vec<String> = error.context().map(str::to_owned).collect();
        places.extend(place_of(error.kind()));
        Self {
            code: error.code(),
            message: error.with_causes(error.to_string()),
            place: (!places.is_empty()).then(|| places.join(": ")),
            index: None,
            position: None,
        }
    }
}

/// Returns the place that an error itself names.
fn place_of(kind: &ErrorKind) -> Option<String> {
    Some(match kind {
        ErrorKind::Io { path, .. } => path.display().to_string(),
        ErrorKind::MissingFile { folder, .. } => folder.display().to_string(),
        ErrorKind::UnknownModel { source_name, .. } => source_name.clone(),
        ErrorKind::Json { file, .. }
        | ErrorKind::Tokenizer { file, .. }
        | ErrorKind::Tensors { file, .. } => file.clone(),
        ErrorKind::Config { field, .. } => format!("config.json: {field}"),
        ErrorKind::Tensor { file, tensor, .. } => format!("{file}: {tensor}"),
        ErrorKind::Format { file, offset, .. } => format!("{file}, byte {offset}"),
        ErrorKind::EmptyText { what } | ErrorKind::TooLong { what, .. } => (*what).to_owned(),
        ErrorKind::Option { option, .. } => (*option).to_owned(),
        ErrorKind::Input { place, .. } | ErrorKind::Verification { place, .. } => place.clone(),
        ErrorKind::Conversion { file, place, .. } => format!("{file}, {place}"),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_errors_keep_code_message_and_place() {
        let failure = Failure::from(Error::from(ErrorKind::EmptyText { what: "question" })).of("pair", 2);
        assert_eq!(failure.code(), "empty_text");
        assert_eq!(failure.message(), "pair 3: the question is empty; pass a text with at least one word");
        assert_eq!((failure.place(), failure.index()), (Some("pair 3: question"), Some(2)));
    }

    #[test]
    fn a_range_that_cannot_be_used_is_a_failure_of_input_and_output() {
        let failure = Failure::range("vocab.txt", -1, 4, 2, "it is not open");
        assert_eq!((failure.code(), failure.place()), ("io", Some("vocab.txt")));
        assert_eq!(failure.message(), "vocab.txt: descriptor -1, offset 4, size 2: it is not open");
        assert!(CODES.concat().contains(&failure.code()));
    }

    #[test]
    fn codes_are_distinct() {
        let mut codes = CODES.concat();
        let count = codes.len();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), count);
    }
}
