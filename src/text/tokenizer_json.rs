//! Checks of a `tokenizer.json` before the `tokenizers` crate sees it.

use serde_json::{Value, json};

use super::files::{NamedBytes, parse};
use super::vocabulary::{SpecialIds, problem};
use crate::error::Result;

/// The normalisers and pre-tokenizers that depend on the text alone and that no file can make fail.
const NORMALIZERS: [&str; 10] = [
    "BertNormalizer",
    "Sequence",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "StripAccents",
    "Strip",
    "Replace",
];
const PRE_TOKENIZERS: [&str; 6] =
    ["BertPreTokenizer", "Sequence", "Whitespace", "WhitespaceSplit", "Punctuation", "Digits"];
/// The most characters of a word. Longer words cannot be in a vocabulary, and the time that a word takes
/// grows with the square of its length.
const MAX_WORD: u64 = 1000;
/// The largest id. Larger ones cannot belong to an embedding table, and the crate counts on from the largest.
const MAX_ID: u64 = i32::MAX as u64;

/// Reads a `tokenizer.json` and refuses everything but a WordPiece tokenizer of known parts. Its truncation,
/// padding and decoder are dropped, and so are its added tokens if the settings beside it replace them. Its
/// `post_processor` is returned apart, for [`check_layout`].
pub(crate) fn read(file: &NamedBytes<'_>, drop_added: bool) -> Result<(Value, Option<Value>)> {
    let mut json: Value = parse(file)?;
    let Some(object) = json.as_object_mut() else {
        return Err(problem(&file.name, "is not a JSON object; expected a file that `tokenizers` wrote"));
    };
    // This engine decides about lengths itself, and a cut here would be silent.
    object.remove("truncation");
    object.remove("padding");
    object.remove("decoder");
    if drop_added {
        object.remove("added_tokens");
    }
    let layout = object.remove("post_processor").filter(|layout| !layout.is_null());
    let Some(model) = object.get_mut("model").and_then(Value::as_object_mut) else {
        return Err(problem(&file.name, "has no `model`; expected a WordPiece tokenizer"));
    };
    // Old files do not name the type.
    if !model.contains_key("type") && model.contains_key("continuing_subword_prefix") {
        model.insert("type".to_owned(), "WordPiece".into());
    }
    match model.get("type").and_then(Value::as_str) {
        Some("WordPiece") => {}
        found => {
            let found = found.unwrap_or("of no type");
            return Err(problem(&file.name, format!("`model` is {found}; expected WordPiece")));
        }
    }
    let longest = model.get("max_input_chars_per_word").filter(|longest| !longest.is_null());
    if let Some(longest) = longest.filter(|longest| longest.as_u64().is_none_or(|longest| longest > MAX_WORD))
    {
        let expected = format!("expected 0 to {MAX_WORD} (BERT has 100): the time grows with its square");
        return Err(problem(
            &file.name,
            format!("`model.max_input_chars_per_word` is {longest}; {expected}"),
        ));
    }
    let Some(vocab) = model.get("vocab").and_then(Value::as_object).filter(|vocab| !vocab.is_empty()) else {
        return Err(problem(&file.name, "`model.vocab` is empty; expected tokens and their ids"));
    };
    if let Some((token, id)) = vocab.iter().find(|(_, id)| id.as_u64().is_none_or(|id| id > MAX_ID)) {
        return Err(problem(
            &file.name,
            format!("`model.vocab` gives {token:?} the id {id}; expected 0 to {MAX_ID}"),
        ));
    }
    check_types(file, object.get("normalizer"), "normalizer", "normalizers", &NORMALIZERS)?;
    check_growth(file, object.get("normalizer"))?;
    check_types(file, object.get("pre_tokenizer"), "pre_tokenizer", "pretokenizers", &PRE_TOKENIZERS)?;
    Ok((json, layout))
}

fn check_types(
    file: &NamedBytes<'_>,
    part: Option<&Value>,
    name: &str,
    list: &str,
    known: &[&str],
) -> Result<()> {
    let Some(part) = part.filter(|part| !part.is_null()) else { return Ok(()) };
    let found = part.get("type").and_then(Value::as_str).unwrap_or("of no type");
    if !known.contains(&found) {
        return Err(problem(
            &file.name,
            format!("`{name}` is {found}; expected one of {}", known.join(", ")),
        ));
    }
    if found == "Replace" {
        check_replacement(file, part)?;
    }
    let parts = part.get(list).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    parts.iter().try_for_each(|part| check_types(file, Some(part), name, list, known))
}

/// Checks that the normaliser `Replace` exchanges one fixed string for another. A regular expression could
/// take any time, and a long replacement any memory.
fn check_replacement(file: &NamedBytes<'_>, part: &Value) -> Result<()> {
    const LONGEST: usize = 64;
    let short = |text: &str| text.len() <= LONGEST;
    let pattern = part["pattern"]["String"].as_str().is_some_and(|text| short(text) && !text.is_empty());
    if pattern && part["content"].as_str().is_some_and(short) {
        return Ok(());
    }
    let found: String =
        format!("pattern {} and content {}", part["pattern"], part["content"]).chars().take(200).collect();
    let expected = format!("expected a `String` of 1 to {LONGEST} bytes and content of at most {LONGEST}");
    Err(problem(&file.name, format!("the normalizer Replace has {found}; {expected}")))
}

/// Checks that the normalisers named `Replace` together make a text at most 64 times as long. Each works on
/// what the one before it made, so a few of them could make gigabytes from one letter.
fn check_growth(file: &NamedBytes<'_>, normalizer: Option<&Value>) -> Result<()> {
    const MAX_GROWTH: usize = 64;
    fn growth(part: &Value) -> usize {
        let length = |text: &Value| text.as_str().map_or(0, str::len);
        let of_this = match part["type"].as_str() {
            Some("Replace") => length(&part["content"]).div_ceil(length(&part["pattern"]["String"]).max(1)),
            _ => 1,
        };
        let parts = part["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
        parts.iter().map(growth).fold(of_this.max(1), usize::saturating_mul)
    }
    match normalizer.map_or(1, growth) {
        times if times > MAX_GROWTH => Err(problem(
            &file.name,
            format!(
                "the normalizers Replace can make a text {times} times as long; expected at most \
                 {MAX_GROWTH} times"
            ),
        )),
        _ => Ok(()),
    }
}

/// Refuses a `post_processor` that asks for another layout than BERT's. [`Encoding`](super::Encoding) lays
/// sequences out itself, so that windows can share a text.
pub(crate) fn check_layout(file: &str, processor: &Value, special: &SpecialIds) -> Result<()> {
    let (cls, sep) = (special.cls, special.sep);
    let berts = match processor["type"].as_str() {
        Some("BertProcessing") => processor["cls"][1] == cls && processor["sep"][1] == sep,
        Some("TemplateProcessing") => {
            let (cls, sep) = (json!([cls]), json!([sep]));
            template(processor, "single") == json!([[cls, 0], ["A", 0], [sep, 0]])
                && template(processor, "pair") == json!([[cls, 0], ["A", 0], [sep, 0], ["B", 1], [sep, 1]])
        }
        found => {
            let found = found.unwrap_or("of no type");
            let expected = "expected TemplateProcessing or BertProcessing";
            return Err(problem(file, format!("`post_processor` is {found}; {expected}")));
        }
    };
    if !berts {
        let expected =
            "expected `[CLS] a [SEP]` with segment 0 and `[CLS] a [SEP] b [SEP]` with segments 0 and 1";
        return Err(problem(file, format!("`post_processor` differs from BERT's; {expected}")));
    }
    Ok(())
}

/// Reads a template as a list. Each entry has a text's letter or special ids, and the segment.
fn template(processor: &Value, name: &str) -> Value {
    let piece = |piece: &Value| match piece.get("Sequence") {
        Some(text) => json!([text["id"], text["type_id"]]),
        None => {
            let token = &piece["SpecialToken"];
            let ids = token["id"].as_str().map(|id| &processor["special_tokens"][id]["ids"]);
            json!([ids, token["type_id"]])
        }
    };
    processor[name].as_array().map_or(Value::Null, |pieces| pieces.iter().map(piece).collect())
}
