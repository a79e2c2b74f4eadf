//! The file of `--config`.

use std::io::Read as _;
use std::path::Path;

use toml::{Table, Value};

use super::ConfigError;
use super::table::{Origin, SETTINGS, Setting, Values};

/// A configuration is a page of text; a larger file is something else.
const MOST_BYTES: u64 = 1 << 20;

/// Reads the file and sets what no flag and no variable has set.
pub(super) fn read(path: &Path, values: &mut Values) -> Result<(), ConfigError> {
    let place = path.display().to_string();
    let problem = |problem: String| ConfigError::Setting(format!("{place}: {problem}"));
    let file = std::fs::File::open(path).map_err(|error| problem(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| problem(error.to_string()))?;
    if text.len() as u64 > MOST_BYTES {
        return Err(problem(format!("it has more than {MOST_BYTES} bytes; expected a page of settings")));
    }
    let table: Table = text.parse().map_err(|error: toml::de::Error| problem(error.to_string()))?;
    for (key, value) in &table {
        let known = SETTINGS.iter().find(|setting| setting.name == key && setting.may_stand_in_file());
        let Some(setting) = known else {
            let names: Vec<&str> =
                SETTINGS.iter().filter(|setting| setting.may_stand_in_file()).map(|s| s.name).collect();
            return Err(problem(format!(
                "there is no setting `{key}`; expected some of {}",
                names.join(", ")
            )));
        };
        let texts = texts(setting, value).ok_or_else(|| {
            let expected = if setting.takes_many() {
                "a text, or a list of texts"
            } else {
                "a text, a number or a switch"
            };
            problem(format!("`{key}` is a value of type {}; expected {expected}", value.type_str()))
        })?;
        values.set(setting.name, texts, Origin::File(place.clone()));
    }
    Ok(())
}

fn texts(setting: &Setting, value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(list) if setting.takes_many() => list.iter().map(scalar).collect(),
        _ => Some(vec![scalar(value)?]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Boolean(switch) => Some(switch.to_string()),
        _ => None,
    }
}
