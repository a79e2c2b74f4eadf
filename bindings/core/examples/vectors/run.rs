//! Runs cases on the engine and writes their results as JSON.

use std::path::Path;

use mobilebert_bindings::answer::{
    Answer, AnswersWithin, Contexts, answers, answers_from, answers_within_from,
};
use mobilebert_bindings::classify::{Classification, labels};
use mobilebert_bindings::embed::{States, Vectors, states, vectors};
use mobilebert_bindings::fill::{Fill, fills};
use mobilebert_bindings::options::changed;
use mobilebert_bindings::tag::{Entity, entities};
use mobilebert_bindings::{Failure, OffsetUnit, Opening, Place, Result, Source, Texts, Watch, from_utf16};
use serde_json::{Map, Value, json};

use crate::cases::{Case, File};

/// Returns the content of a file: its cases with what the engine gives for them.
pub(crate) fn written(file: &File) -> String {
    let cases: Vec<Value> = file.cases.iter().map(|case| written_case(file, case)).collect();
    let content = json!({ "about": file.about, "model": file.model, "cases": cases });
    format!("{}\n", compact(&content, 0))
}

fn written_case(file: &File, case: &Case) -> Value {
    let expect = match run(file.model, case) {
        Ok(found) => found,
        Err(failure) => json!({ "error": error(&failure) }),
    };
    json!({ "op": case.op, "options": case.options, "input": case.input, "expect": expect })
}

fn error(failure: &Failure) -> Value {
    let mut all = json!({ "code": failure.code(), "message": failure.message(), "place": failure.place() });
    if let Some(index) = failure.index() {
        all["index"] = json!(index);
    }
    if let Some(position) = failure.position() {
        all["position"] = json!({ "byte": position.byte, "char": position.char, "utf16": position.utf16 });
    }
    all
}

/// Returns the path of a model that the vectors use.
fn source(model: &str) -> Source {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(model).into()
}

fn run(model: Option<&str>, case: &Case) -> Result<Value> {
    let (opening, options, watch) = (Opening::default(), &case.options, &mut Watch::default());
    let input = &case.input;
    let source = || source(model.unwrap_or_default());
    match case.op {
        "text" => {
            let units: Vec<u16> = list(&input["utf16"], |unit| unit.as_u64().unwrap_or(0) as u16);
            Ok(json!({ "text": from_utf16("text", &units)? }))
        }
        "offsets" => {
            let text = input["text"].as_str().unwrap_or_default();
            let bytes: Vec<usize> = list(&input["byte"], |byte| byte.as_u64().unwrap_or(0) as usize);
            let convert = |unit: OffsetUnit| {
                let mut offsets = bytes.clone();
                unit.convert(text, &mut offsets).map(|()| offsets)
            };
            Ok(json!({ "char": convert(OffsetUnit::Char)?, "utf16": convert(OffsetUnit::Utf16)? }))
        }
        "answers" => {
            let qa = opening.answers(source(), &Map::new())?;
            let options = changed(qa.options(), options)?;
            let (questions, is_list) = texts(input, "question", "questions");
            let (contexts, each) = texts(input, "context", "contexts");
            let found = if is_list && !each {
                answers_from(&qa, &questions, contexts.text(0), is_list, &options, watch)?
            } else {
                answers(&qa, &questions, Contexts::Each(&contexts), is_list, &options, watch)?
            };
            Ok(results(is_list, found, |answers| list_of(&answers, answer)))
        }
        "answers_within" => {
            let qa = opening.answers(source(), &Map::new())?;
            let options = changed(qa.options(), options)?;
            let (question, context) = (text_of(&input["question"]), text_of(&input["context"]));
            let most = input["most_windows"].as_u64().map(|most| most as usize);
            let found = answers_within_from(&qa, &question, &context, most, &options, watch)?;
            Ok(json!({ "result": within(&found) }))
        }
        "classify" => {
            let pipeline = opening.labels(source(), &Map::new())?;
            let options = changed(pipeline.options(), options)?;
            let (first, is_list) = texts(input, "text", "texts");
            let (second, _) = texts(input, "text_pair", "text_pairs");
            let second = (second.count() > 0).then_some(&second as &dyn Texts);
            let found = labels(&pipeline, &first, second, is_list, &options, watch)?;
            Ok(results(is_list, found, |found| classification(&found)))
        }
        "tag" => {
            let pipeline = opening.entities(source(), &Map::new())?;
            let options = changed(pipeline.options(), options)?;
            let (texts, is_list) = texts(input, "text", "texts");
            let found = entities(&pipeline, &texts, is_list, &options, watch)?;
            Ok(results(is_list, found, |entities| list_of(&entities, entity)))
        }
        "fill" => {
            let pipeline = opening.fills(source(), &Map::new())?;
            let options = changed(pipeline.options(), options)?;
            let (texts, is_list) = texts(input, "text", "texts");
            let found = fills(&pipeline, &texts, is_list, &options, watch)?;
            Ok(results(is_list, found, |masks| list_of(&masks, |fills| list_of(fills, fill))))
        }
        "embed" => {
            let pipeline = opening.vectors(source(), &Map::new())?;
            let options = changed(pipeline.options(), options)?;
            let (texts, is_list) = texts(input, "text", "texts");
            let Vectors { matrix, truncated } = vectors(&pipeline, &texts, is_list, &options, watch)?;
            let rows = matrix.values.chunks(matrix.columns.max(1)).zip(truncated).collect();
            Ok(results(
                is_list,
                rows,
                |(row, truncated)| json!({ "embedding": numbers(row), "truncated": truncated }),
            ))
        }
        "states" => {
            let pipeline = opening.vectors(source(), &Map::new())?;
            let options = changed(pipeline.options(), options)?;
            let (texts, is_list) = texts(input, "text", "texts");
            let found = states(&pipeline, &texts, is_list, &options, watch)?;
            Ok(results(is_list, found, |States { matrix, truncated }| {
                let rows: Vec<Value> = matrix.values.chunks(matrix.columns).map(numbers).collect();
                json!({ "states": rows, "truncated": truncated })
            }))
        }
        other => Err(Failure::input(other, "is not an operation of the vectors")),
    }
}

fn list<T>(value: &Value, item: impl Fn(&Value) -> T) -> Vec<T> {
    value.as_array().into_iter().flatten().map(item).collect()
}

fn list_of<T>(items: &[T], item: impl Fn(&T) -> Value) -> Value {
    items.iter().map(item).collect()
}

/// Reads a single text or a list of texts, and says which it was.
fn texts(input: &Value, one: &str, many: &str) -> (Vec<String>, bool) {
    match input.get(one) {
        Some(single) => (vec![text_of(single)], false),
        None => (list(&input[many], text_of), input.get(many).is_some()),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Writes one result for a single input, and a list for a list.
fn results<T>(is_list: bool, found: Vec<T>, write: impl Fn(T) -> Value) -> Value {
    let mut found: Vec<Value> = found.into_iter().map(write).collect();
    if is_list { json!({ "results": found }) } else { json!({ "result": found.pop() }) }
}

/// Writes a number by its bits, and beside them for readers in decimal.
fn number(value: f32) -> Value {
    json!({ "bits": bits(value), "decimal": decimal(value) })
}

fn numbers(values: &[f32]) -> Value {
    json!({
        "bits": values.iter().map(|&value| bits(value)).collect::<Vec<_>>(),
        "decimal": values.iter().map(|&value| decimal(value)).collect::<Vec<_>>(),
    })
}

fn bits(value: f32) -> String {
    format!("{:08x}", value.to_bits())
}

/// Returns the number whose shortest decimal form is that of `value`.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn place(place: &Place) -> Value {
    let pair = |unit: OffsetUnit| json!([place.in_unit(unit).start, place.in_unit(unit).end]);
    json!({
        "byte": pair(OffsetUnit::Byte), "char": pair(OffsetUnit::Char), "utf16": pair(OffsetUnit::Utf16)
    })
}

fn answer(found: &Answer) -> Value {
    let others =
        list_of(&found.others, |(score, other)| json!({ "score": number(*score), "place": place(other) }));
    json!({
        "answer": found.answer, "score": number(found.score), "place": place(&found.place), "others": others
    })
}

fn within(found: &AnswersWithin) -> Value {
    json!({
        "answers": list_of(&found.answers, answer), "windows": found.windows,
        "windows_read": found.windows_read, "unread": list_of(&found.unread, place)
    })
}

fn classification(found: &Classification) -> Value {
    let labels =
        list_of(&found.labels, |label| json!({ "label": label.label, "score": number(label.score) }));
    json!({ "labels": labels, "truncated": found.truncated })
}

fn entity(found: &Entity) -> Value {
    json!({
        "label": found.label, "grouped": found.grouped, "score": number(found.score), "word": found.word,
        "place": place(&found.place)
    })
}

fn fill(found: &Fill) -> Value {
    json!({
        "sequence": found.sequence, "score": number(found.score), "token": found.token,
        "token_str": found.token_str
    })
}

/// Writes JSON with one line for each object or list that fits, so that a difference is seen.
fn compact(value: &Value, indent: usize) -> String {
    const WIDTH: usize = 100;
    let flat = value.to_string();
    if flat.len() + indent <= WIDTH {
        return flat;
    }
    let (inner, outer) = (" ".repeat(indent + 1), " ".repeat(indent));
    let (open, close, lines): (char, char, Vec<String>) = match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                format!("{inner}{}: {}", Value::from(name.as_str()), compact(value, indent + 1))
            };
            ('{', '}', fields.iter().map(field).collect())
        }
        Value::Array(items) if items.iter().all(|item| item.is_number() || item.is_string()) => {
            return flat;
        }
        Value::Array(items) => {
            let item = |item: &Value| format!("{inner}{}", compact(item, indent + 1));
            ('[', ']', items.iter().map(item).collect())
        }
        _ => return flat,
    };
    format!("{open}\n{}\n{outer}{close}", lines.join(",\n"))
}

/// Says where two texts begin to differ.
pub(crate) fn first_difference(old: &str, new: &str) -> String {
    let line = old.lines().zip(new.lines()).take_while(|(old, new)| old == new).count();
    let shown =
        |text: &str| text.lines().nth(line).unwrap_or("nothing").chars().take(200).collect::<String>();
    format!("line {}:\n  file    {}\n  engine  {}", line + 1, shown(old), shown(new))
}
