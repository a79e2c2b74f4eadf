//! Results as JSON. Numbers are written so that JavaScript reads the bits of the engine's floats.

use mobilebert_bindings::answer::{Answer, AnswersWithin};
use mobilebert_bindings::classify::Classification;
use mobilebert_bindings::fill::Fill;
use mobilebert_bindings::tag::Entity;
use mobilebert_bindings::{OffsetUnit, Place};
use serde_json::{Value, json};

/// JavaScript has numbers of 64 bits only. The shortest decimal of an `f32` would be read as another one.
fn number(value: f32) -> Value {
    f64::from(value).into()
}

fn place(place: &Place) -> Value {
    let pair = |unit: OffsetUnit| json!([place.in_unit(unit).start, place.in_unit(unit).end]);
    json!({
        "byte": pair(OffsetUnit::Byte), "char": pair(OffsetUnit::Char), "utf16": pair(OffsetUnit::Utf16)
    })
}

/// Writes the results of a list, one after another.
pub(crate) fn list<T>(found: &[T], write: impl Fn(&T) -> Value) -> Value {
    found.iter().map(write).collect()
}

pub(crate) fn answer(found: &Answer) -> Value {
    let other = |(score, at): &(f32, Place)| json!({ "score": number(*score), "place": place(at) });
    json!({
        "answer": found.answer, "score": number(found.score), "place": place(&found.place),
        "others": list(&found.others, other)
    })
}

pub(crate) fn within(found: &AnswersWithin) -> Value {
    json!({
        "answers": list(&found.answers, answer), "windows": found.windows,
        "windows_read": found.windows_read, "unread": list(&found.unread, place)
    })
}

pub(crate) fn classification(found: &Classification) -> Value {
    let labels = list(&found.labels, |label| json!({ "label": label.label, "score": number(label.score) }));
    json!({ "labels": labels, "truncated": found.truncated })
}

pub(crate) fn entity(found: &Entity) -> Value {
    json!({
        "label": found.label, "grouped": found.grouped, "score": number(found.score), "word": found.word,
        "place": place(&found.place)
    })
}

pub(crate) fn fill(found: &Fill) -> Value {
    json!({
        "sequence": found.sequence, "score": number(found.score), "token": found.token,
        "token_str": found.token_str
    })
}
