//! Options by name, as callers in other languages give them.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::failure::{Failure, Result, UNKNOWN_OPTION};

/// Replaces those of the options that `changes` names. The names and values are those of the engine's option
/// structs in JSON. `"top_k": null` means "all".
///
/// # Errors
/// `unknown_option` for a name that the task does not have; `option` for a value of the wrong type. Ranges
/// are checked when the options are used.
pub fn changed<T: Serialize + DeserializeOwned + Clone>(base: &T, changes: &Map<String, Value>) -> Result<T> {
    if changes.is_empty() {
        return Ok(base.clone());
    }
    let mut all = map(base);
    for (name, value) in changes {
        if !all.contains_key(name) {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            let message = format!("there is no option `{name}`; expected some of {}", known.join(", "));
            return Err(Failure::new(UNKNOWN_OPTION, name, message));
        }
        let value = match (name.as_str(), value) {
            ("top_k", Value::Null) => Value::from(usize::MAX),
            _ => value.clone(),
        };
        all.insert(name.clone(), value);
    }
    serde_json::from_value(Value::Object(all)).map_err(|error| {
        culprit(base, changes).unwrap_or_else(|| Failure::option("options", error, "not what the task takes"))
    })
}

/// Finds the first change that does not fit on its own.
fn culprit<T: Serialize + DeserializeOwned>(base: &T, changes: &Map<String, Value>) -> Option<Failure> {
    changes.iter().find_map(|(name, value)| {
        let mut alone = map(base);
        alone.insert(name.clone(), value.clone());
        let error = serde_json::from_value::<T>(Value::Object(alone)).err()?.to_string();
        // serde says "invalid type: string "x", expected usize"; the value is shown in the caller's form.
        let expected = error.rsplit_once("expected ").map_or(error.as_str(), |(_, expected)| expected);
        let expected = match expected {
            "usize" => "a whole number, 0 or more",
            "a boolean" => "true or false",
            "f32" => "a number",
            "a sequence" => "a list of texts",
            other => other,
        };
        Some(Failure::option(name, expected, value))
    })
}

/// Returns all options with their values.
pub fn map<T: Serialize>(options: &T) -> Map<String, Value> {
    match serde_json::to_value(options) {
        Ok(Value::Object(map)) => map,
        // The option structs are objects.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use mobilebert::{AnswerOptions, ClassifyOptions, LongText};
    use serde_json::json;

    use super::*;

    fn changes(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn named_options_are_replaced() {
        let base = ClassifyOptions::default();
        let new = changed(&base, &changes(json!({"top_k": null, "long_text": "refuse"}))).unwrap();
        assert_eq!((new.top_k, new.long_text), (usize::MAX, LongText::Refuse));
        assert_eq!(changed(&new, &Map::new()).unwrap(), new);
        let half = changed(&base, &changes(json!({"threshold": 0.5}))).unwrap();
        assert_eq!(half.threshold, Some(0.5));
    }

    #[test]
    fn wrong_options_are_named() {
        let base = AnswerOptions::default();
        for (given, code, message) in [
            (json!({"topk": 1}), "unknown_option", "there is no option `topk`; expected some of top_k, "),
            (json!({"top_k": "x"}), "option", "`top_k` is \"x\"; expected a whole number, 0 or more"),
            (json!({"top_k": -1}), "option", "`top_k` is -1; expected a whole number, 0 or more"),
            (json!({"merge_equal_texts": 2}), "option", "`merge_equal_texts` is 2; expected true or false"),
        ] {
            let failure = changed(&base, &changes(given)).unwrap_err();
            assert_eq!(failure.code(), code);
            assert!(failure.message().starts_with(message), "{failure}");
        }
    }
}
