//! Options and lists of texts as C gives them.

use std::ffi::c_char;

use mobilebert_bindings::{Failure, Result};
use serde_json::{Map, Value};

use crate::abi::model::{MOBILEBERT_ALL, MOBILEBERT_DEFAULT, MOBILEBERT_OFF, MOBILEBERT_ON};
use crate::abi::text::MobilebertText;
use crate::memory;

/// The options of a call that differ from the defaults, by name.
pub(crate) struct Changes(Map<String, Value>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(Map::new())
    }

    /// Sets a number that is not 0.
    pub(crate) fn count(&mut self, option: &str, value: usize) {
        if value > 0 {
            self.0.insert(option.to_owned(), value.into());
        }
    }

    /// Sets a number of results that is not 0. The largest number means all of them.
    pub(crate) fn top_k(&mut self, value: usize) {
        match value {
            0 => {}
            MOBILEBERT_ALL => drop(self.0.insert("top_k".to_owned(), Value::Null)),
            value => drop(self.0.insert("top_k".to_owned(), value.into())),
        }
    }

    /// Sets a switch that is on or off.
    pub(crate) fn switch(&mut self, option: &str, value: i32) -> Result<()> {
        if let Some(value) = switch(option, value)? {
            self.0.insert(option.to_owned(), value.into());
        }
        Ok(())
    }

    /// Sets a number that may be anything, if there is one.
    pub(crate) fn number(&mut self, option: &str, value: *const f32) -> Result<()> {
        let Some(value) = memory::number(value) else { return Ok(()) };
        // JSON has no other numbers, and would take them for the default.
        if !value.is_finite() {
            return Err(Failure::option(option, "a finite number", value));
        }
        self.0.insert(option.to_owned(), value.into());
        Ok(())
    }

    /// Sets a name, if there is one.
    pub(crate) fn name(&mut self, option: &str, value: *const c_char) -> Result<()> {
        if let Some(value) = memory::name(value, option)? {
            self.0.insert(option.to_owned(), value.into());
        }
        Ok(())
    }

    /// Sets a list of texts, if there is one. It is not NULL for an empty one.
    pub(crate) fn list(&mut self, option: &str, data: *const MobilebertText, count: usize) -> Result<()> {
        if !data.is_null() || count > 0 {
            let list = texts(data, count, option, option)?;
            self.0.insert(option.to_owned(), list.into());
        }
        Ok(())
    }

    /// Returns the options with those of a JSON object, which win.
    pub(crate) fn with_json(mut self, json: *const c_char) -> Result<Map<String, Value>> {
        if let Some(json) = memory::name(json, "json")? {
            let expected = "a JSON object of options, such as {\"top_k\": 3}";
            let more: Map<String, Value> = serde_json::from_str(json)
                .map_err(|error| Failure::option("json", expected, format!("not one ({error})")))?;
            self.0.extend(more);
        }
        Ok(self.0)
    }
}

/// Reads a switch: `None` is the default.
pub(crate) fn switch(option: &str, value: i32) -> Result<Option<bool>> {
    match value {
        MOBILEBERT_DEFAULT => Ok(None),
        MOBILEBERT_ON => Ok(Some(true)),
        MOBILEBERT_OFF => Ok(Some(false)),
        other => {
            let expected = "MOBILEBERT_DEFAULT, MOBILEBERT_ON or MOBILEBERT_OFF";
            Err(Failure::option(option, expected, other))
        }
    }
}

/// Reads a list of texts. `what` is the role of a text, and `unit` what the list holds.
pub(crate) fn texts<'a>(
    data: *const MobilebertText,
    count: usize,
    what: &str,
    unit: &str,
) -> Result<Vec<&'a str>> {
    let texts = memory::array(data, count, what)?;
    texts
        .iter()
        .enumerate()
        .map(|(index, &text)| memory::text(text, what).map_err(|failure| failure.of(unit, index)))
        .collect()
}
