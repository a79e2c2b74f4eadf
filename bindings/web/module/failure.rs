//! Failures as JSON: `{code, message, place, index?, position?}`.

use std::sync::Mutex;

use mobilebert_bindings::{Failure, from_utf16};
use serde_json::json;
use wasm_bindgen::prelude::*;

/// What a function of the module throws.
pub(crate) type Result<T> = std::result::Result<T, JsValue>;

/// The message of the panic that has ended this instance.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Prepares the module. It runs when the module is instantiated.
#[wasm_bindgen(start)]
pub fn start() {
    // A panic is a trap here, which says nothing of its own.
    std::panic::set_hook(Box::new(|panic| {
        if let Ok(mut last) = LAST_PANIC.lock() {
            *last = Some(panic.to_string());
        }
    }));
}

/// Returns the message of the panic that has ended this instance, if that was a panic.
#[wasm_bindgen]
pub fn last_panic() -> Option<String> {
    LAST_PANIC.lock().ok().and_then(|mut last| last.take())
}

/// Makes a failure into what JavaScript catches.
pub(crate) fn thrown(failure: Failure) -> JsValue {
    JsValue::from_str(&json(&failure))
}

fn json(failure: &Failure) -> String {
    let mut all = json!({ "code": failure.code(), "message": failure.message(), "place": failure.place() });
    if let Some(index) = failure.index() {
        all["index"] = index.into();
    }
    if let Some(position) = failure.position() {
        all["position"] = json!({ "byte": position.byte, "char": position.char, "utf16": position.utf16 });
    }
    all.to_string()
}

/// Returns the failure of a text that holds half of a surrogate pair, or `None` if it does not. Strings lose
/// such halves on their way into the module, so these units come as numbers.
///
/// `unit` and `index` say which input of a list it is, as in "text 3".
#[wasm_bindgen]
pub fn lone_surrogate(what: &str, units: &[u16], unit: Option<String>, index: usize) -> Option<String> {
    let failure = from_utf16(what, units).err()?;
    Some(json(&match unit {
        Some(unit) => failure.of(&unit, index),
        None => failure,
    }))
}
