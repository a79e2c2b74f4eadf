//! The stable names of the kinds of errors.

use super::ErrorKind;

/// Gives every kind its code. The match is exhaustive, so a kind without a code does not compile.
macro_rules! codes {
    ($($kind:ident => $code:literal,)*) => {
        impl ErrorKind {
            /// The codes of all kinds, in the order of the enum.
            pub const CODES: &[&str] = &[$($code),*];

            /// Returns a short name of the kind, in snake case, for programs in other languages and for logs.
            ///
            /// A code keeps its meaning from release to release, even if the message changes. New kinds bring
            /// new codes.
            ///
            /// ```
            /// use mobilebert::ModelConfig;
            ///
            /// let error = ModelConfig::from_json(r#"{"model_type": "t5"}"#).unwrap_err();
            /// assert_eq!(error.code(), "config");
            /// assert_eq!(error.code(), error.kind().code());
            /// ```
            pub fn code(&self) -> &'static str {
                match self {
                    $(Self::$kind { .. } => $code,)*
                }
            }
        }
    };
}

codes! {
    Io => "io",
    MissingFile => "missing_file",
    UnknownModel => "unknown_model",
    Json => "json",
    Config => "config",
    Tensor => "tensor",
    Tensors => "tensors",
    Format => "format",
    Tokenizer => "tokenizer",
    EmptyText => "empty_text",
    TooLong => "too_long",
    Option => "option",
    Batch => "batch",
    WrongTask => "wrong_task",
    Input => "input",
    NotFinite => "not_finite",
    Cancelled => "cancelled",
    DeadlineExceeded => "deadline_exceeded",
    Rows => "rows",
    Diverged => "diverged",
    Backend => "backend",
    Conversion => "conversion",
    Verification => "verification",
    Gate => "gate",
    NotBuilt => "not_built",
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::ErrorKind;
    use crate::error::Error;

    /// The codes that programs in other languages compare with. New codes may be added here, but none may be
    /// removed.
    const KNOWN: [&str; 25] = [
        "backend",
        "batch",
        "cancelled",
        "config",
        "conversion",
        "deadline_exceeded",
        "diverged",
        "empty_text",
        "format",
        "gate",
        "input",
        "io",
        "json",
        "missing_file",
        "not_built",
        "not_finite",
        "option",
        "rows",
        "tensor",
        "tensors",
        "tokenizer",
        "too_long",
        "unknown_model",
        "verification",
        "wrong_task",
    ];

    #[test]
    fn codes_are_those_that_were_published() {
        let mut codes = ErrorKind::CODES.to_vec();
        codes.sort_unstable();
        assert_eq!(codes, KNOWN);
    }

    #[test]
    fn codes_are_distinct_and_snake_case() {
        let distinct: HashSet<&str> = ErrorKind::CODES.iter().copied().collect();
        assert_eq!(distinct.len(), ErrorKind::CODES.len());
        for code in ErrorKind::CODES {
            let words: Vec<&str> = code.split('_').collect();
            let plain = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
            assert!(words.iter().all(plain), "{code}");
        }
    }

    /// The code is the name of the variant, so nobody has to look it up. The test tries the kinds that are
    /// made of plain fields.
    #[test]
    fn codes_are_the_names_of_the_kinds() {
        let kinds = [
            ErrorKind::Io { path: "a".into(), source: std::io::ErrorKind::NotFound.into() },
            ErrorKind::EmptyText { what: "question" },
            ErrorKind::TooLong { what: "question", found: 2, limit: 1, hint: "" },
            ErrorKind::Option { option: "top_k", expected: String::new(), found: String::new() },
            ErrorKind::WrongTask { task: "", trained_for: "", expected: vec![], found: String::new() },
            ErrorKind::Input { place: String::new(), problem: String::new() },
            ErrorKind::NotFinite { row: 0, value: f32::NAN },
            ErrorKind::NotBuilt { what: String::new(), feature: "hub" },
        ];
        for kind in kinds {
            let debug = format!("{kind:?}");
            let variant = debug.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
            let mut name = String::new();
            for c in variant.chars() {
                if c.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.extend(c.to_lowercase());
            }
            assert_eq!(Error::from(kind).code(), name);
        }
    }
}
