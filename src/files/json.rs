//! Reading of JSON, in which an object may have each key only once.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{ErrorKind, Result};

/// Reads a JSON file as [`from_slice`] does. `file` is its name in errors.
///
/// # Errors
/// [`ErrorKind::Json`] with line and column.
///
/// ```
/// use mobilebert::files::json;
///
/// let numbers: Vec<u32> = json::parse("numbers.json", b"[1, 2]")?;
/// assert_eq!(numbers, [1, 2]);
/// let error = json::parse::<serde_json::Value>("c.json", br#"{"a": 1, "a": 2}"#).unwrap_err();
/// assert!(error.to_string().starts_with("c.json: the key \"a\" is there twice"));
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn parse<T: DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T> {
    from_slice(bytes).map_err(|source| ErrorKind::Json { file: file.to_owned(), source }.into())
}

/// Reads a JSON value. A leading byte order mark is skipped, and an object that has a key twice is an error:
/// JSON leaves open which of the two values counts, and readers differ.
///
/// # Errors
/// The error of the reader, with line and column.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let value = serde_json::from_slice(bytes)?;
    UniqueKeys.deserialize(&mut serde_json::Deserializer::from_slice(bytes))?;
    Ok(value)
}

/// Returns what is wrong with a line of JSON, and in which column. The reader's own number of the line is left out,
/// because it is always 1 where each line of a file is read alone.
///
/// ```
/// use mobilebert::files::json;
///
/// let error = json::from_slice::<Vec<u32>>(b"[1, x]").unwrap_err();
/// assert_eq!(json::problem_in_line(&error), "expected value at column 5");
/// ```
pub fn problem_in_line(error: &serde_json::Error) -> String {
    let (message, column) = (error.to_string(), error.column());
    match message.strip_suffix(&format!(" at line {} column {column}", error.line())) {
        Some(problem) if column > 0 => format!("{problem} at column {column}"),
        Some(problem) => problem.to_owned(),
        None => message,
    }
}

/// A value of any kind, read only to check its keys: nothing of it is kept.
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> std::result::Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            map.next_value_seed(UniqueKeys)?;
            if let Some(key) = keys.replace(key) {
                let shown: String = key.chars().take(100).collect();
                return Err(de::Error::custom(format_args!(
                    "the key {shown:?} is there twice; remove one of the two"
                )));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while list.next_element_seed(UniqueKeys)?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> std::result::Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> std::result::Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_key_that_is_there_twice_is_an_error_at_any_depth() {
        let error = |text: &str| parse::<Value>("f.json", text.as_bytes()).map_err(|e| e.to_string());
        assert!(error(r#"{"a": {"b": 1}, "b": [{"a": null}, {"a": true, "c": -1.5}]}"#).is_ok());
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": "", "\u0061": 2}}]"#] {
            let message = error(text).unwrap_err();
            assert!(
                message.starts_with("f.json: ") && message.contains("the key \"a\" is there twice"),
                "{message}"
            );
            assert!(message.contains("line 1 column"), "{message}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(parse::<Value>("f", b"\xef\xbb\xbf3").unwrap(), 3);
    }
}
