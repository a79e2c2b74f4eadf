//! `POST /v2/models/{model}/infer`: tensors of texts or of token ids in, tensors of results out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mobilebert::backend::Request as EngineRequest;
use mobilebert::{AnswerOptions, Batch, ClassifyOptions, EmbedOptions, FillOptions, LongText, TagOptions};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::tensor::{Elements, Given, Output, Tensor, Values, Written};
use super::{VERSION, versioned};
use crate::call::{Call, JSON, Render, Reply, Run, Step, at, check_answers, json};
use crate::dialect::shape::{self, Item, Texts};
use crate::error::{Refusal, Result};
use crate::models::{Served, Task};
use crate::schedule::Lane;
use crate::work::{AnyJob, Found, RawJob, Unit, work};

/// How long the JSON part of a body or of an answer is.
const HEADER: &str = "inference-header-content-length";

/// The most numbers of an answer in tensor mode: 64 MiB of them.
const MOST_NUMBERS: usize = 16 << 20;

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    parameters: Option<Map<String, Value>>,
    inputs: Vec<Given>,
    outputs: Option<Vec<Wanted>>,
}

/// An output that the client asks for.
#[derive(Deserialize)]
struct Wanted {
    name: String,
    parameters: Option<Map<String, Value>>,
}

/// The form of the answer.
struct Form {
    model: String,
    id: Option<String>,
    /// The outputs that are asked for, and whether each is binary. Without any, all of them.
    wanted: Vec<(String, bool)>,
    binary: bool,
}

fn is_true(parameters: Option<&Map<String, Value>>, name: &str) -> Option<bool> {
    parameters?.get(name)?.as_bool()
}

/// `POST /v2/models/{model}/infer`
pub(crate) fn infer(call: &Call) -> Result<Step> {
    let (head, mut binary) = split(call)?;
    let request: InferRequest = json(&head)?;
    let model = versioned(call)?;
    let tensors =
        request.inputs.into_iter().map(|given| given.read(&mut binary)).collect::<Result<Vec<_>>>()?;
    if !binary.is_empty() {
        return Err(Refusal::malformed(format!(
            "{} bytes behind the last tensor belong to none",
            binary.len()
        )));
    }
    let all_binary = is_true(request.parameters.as_ref(), "binary_data_output").unwrap_or(false);
    let wanted = request.outputs.unwrap_or_default().into_iter().map(|wanted| {
        let binary = is_true(wanted.parameters.as_ref(), "binary_data").unwrap_or(all_binary);
        (wanted.name, binary)
    });
    let form =
        Form { model: model.name.clone(), id: request.id, wanted: wanted.collect(), binary: all_binary };
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    check_outputs(&form.wanted, names.contains(&"input_ids"), model.task)?;
    let mut run = match (names.contains(&"input_ids"), model.task) {
        (true, _) => token_ids(model, tensors, form)?,
        (false, Task::Answer) => answer(call, model, &tensors, form)?,
        (false, _) => texts(call, model, &tensors, form)?,
    };
    run.deadline = timeout(request.parameters.as_ref())?;
    Ok(Step::Run(run))
}

/// Checks the outputs that are asked for before anything is computed: each is one that there is, and is asked
/// for once.
fn check_outputs(wanted: &[(String, bool)], token_ids: bool, task: Task) -> Result<()> {
    let known: &[&str] = match (token_ids, task) {
        (true, _) => &["logits"],
        (false, Task::Answer) => &["answer", "score", "start", "end"],
        (false, Task::Classify) => &["label", "scores"],
        (false, Task::Tag) => &["entities"],
        (false, Task::FillMask) => &["fills"],
        (false, Task::Embed) => &["embedding"],
    };
    for (i, (name, _)) in wanted.iter().enumerate() {
        if !known.contains(&name.as_str()) {
            let name: String = name.chars().take(64).collect();
            let message = format!("there is no output {name:?}; expected some of {}", known.join(", "));
            return Err(Refusal::invalid("outputs", message));
        }
        // There are few known names, so this ends soon.
        if wanted[..i].iter().any(|(other, _)| other == name) {
            let message = format!("output {name:?} is asked for twice; expected each once");
            return Err(Refusal::invalid("outputs", message));
        }
    }
    Ok(())
}

/// Splits a body into its JSON and its binary part.
fn split(call: &Call) -> Result<(Bytes, Bytes)> {
    let Some(value) = call.headers.get(HEADER) else { return Ok((call.body.clone(), Bytes::new())) };
    let length = value.to_str().ok().and_then(|value| value.parse::<usize>().ok());
    let Some(length) = length.filter(|&length| length <= call.body.len()) else {
        let message =
            format!("{HEADER} is {value:?}; expected at most the {} bytes of the body", call.body.len());
        return Err(Refusal::malformed(message));
    };
    let mut head = call.body.clone();
    let binary = head.split_off(length);
    Ok((head, binary))
}

/// Reads the parameter `timeout`, in microseconds. 0 is none.
fn timeout(parameters: Option<&Map<String, Value>>) -> Result<Option<Duration>> {
    let Some(value) = parameters.and_then(|parameters| parameters.get("timeout")) else { return Ok(None) };
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    match number {
        Some(0) => Ok(None),
        Some(micros) => Ok(Some(Duration::from_micros(micros))),
        None => Err(Refusal::invalid("parameters", format!("`timeout` is {value}; expected microseconds"))),
    }
}

fn run(model: &Arc<Served>, lane: &Arc<Lane>, jobs: Vec<AnyJob>, render: Render) -> Run {
    Run { model: Arc::clone(model), lane: Arc::clone(lane), inputs: jobs.len(), jobs, deadline: None, render }
}

/// Takes the texts of a tensor by its name.
fn named<'t>(tensors: &'t [Tensor], name: &'static str) -> Result<&'t [String]> {
    let found: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    match tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.elements) {
        Some(Elements::Texts(texts)) => Ok(texts),
        Some(_) => Err(Refusal::invalid("inputs", format!("tensor {name:?} holds numbers; expected BYTES"))),
        None => {
            let message =
                format!("there is no tensor {name:?} among {found:?}; GET /v2/models/... lists the inputs");
            Err(Refusal::invalid("inputs", message))
        }
    }
}

fn answer(call: &Call, model: &Arc<Served>, tensors: &[Tensor], form: Form) -> Result<Run> {
    let (questions, contexts) = (named(tensors, "question")?, named(tensors, "context")?);
    call.check_texts(
        "inputs",
        questions.iter().chain(contexts).map(String::as_str).collect::<Vec<_>>().into_iter(),
    )?;
    if questions.len() != contexts.len() {
        let message = format!("there are {} questions and {} contexts", questions.len(), contexts.len());
        return Err(Refusal::invalid("inputs", message));
    }
    let pipeline = model.answerer()?;
    let options = AnswerOptions::default();
    check_answers(model, &options, contexts.iter().map(|context| (context.as_str(), 1)))?;
    let job = |(i, (question, context)): (usize, (&String, &String))| {
        let prepared = pipeline.prepare(context.as_str());
        let job = prepared.and_then(|context| pipeline.prepare_answer(question, &context, &options));
        job.map(|job| work(job, Found::Answers)).map_err(at("row", true, i))
    };
    let jobs = questions.iter().zip(contexts).enumerate().map(job).collect::<Result<Vec<_>>>()?;
    let render = move |found: Vec<Found>| {
        let rows = found.len();
        let (mut texts, mut scores) = (Vec::new(), Vec::new());
        let (mut starts, mut ends) = (Vec::new(), Vec::new());
        for found in found {
            let Found::Answers(answers) = found else { return Err(shape::mixed_up()) };
            let Some(best) = answers.into_iter().next() else { return Err(shape::mixed_up()) };
            scores.push(best.score);
            starts.push(best.start as i64);
            ends.push(best.end as i64);
            texts.push(best.answer);
        }
        let output = |name, values| Output { name, shape: vec![rows], values };
        form.write(&[
            output("answer", Values::Texts(texts)),
            output("score", Values::Floats(scores)),
            output("start", Values::Integers(starts)),
            output("end", Values::Integers(ends)),
        ])
    };
    Ok(run(model, &model.lane, jobs, Box::new(render)))
}

fn texts(call: &Call, model: &Arc<Served>, tensors: &[Tensor], form: Form) -> Result<Run> {
    let texts = Texts { all: named(tensors, "text")?.to_vec(), is_list: true };
    call.check_texts("inputs", texts.iter())?;
    let strict = call.config.strict;
    match model.task {
        Task::Classify => {
            let options = ClassifyOptions::with(|o| {
                o.top_k = usize::MAX;
                o.long_text = if strict { LongText::Refuse } else { LongText::Truncate };
            });
            let item = |text: &str| Item { first: text.to_owned(), second: None };
            let items: Vec<Item> = texts.iter().map(item).collect();
            let jobs = shape::classify_jobs(model.classifier()?, &items, true, &options)?;
            let served = Arc::clone(model);
            let render = move |found| classified(&served, shape::labels(found)?, &form);
            Ok(run(model, &model.lane, jobs, Box::new(render)))
        }
        Task::Tag => {
            let jobs = shape::tag_jobs(model.tagger()?, &texts, &TagOptions::default())?;
            Ok(run(model, &model.lane, jobs, Box::new(move |found| in_json("entities", found, &form))))
        }
        Task::FillMask => {
            let pipeline = model.filler()?;
            let jobs = shape::fill_jobs(pipeline, &texts, "row", &FillOptions::default())?;
            Ok(run(model, &model.lane, jobs, Box::new(move |found| in_json("fills", found, &form))))
        }
        _ => {
            let width = model.embedder().dimensions();
            let step = shape::embed(
                call,
                model,
                "inputs",
                &texts,
                (&EmbedOptions::default(), strict),
                move |vectors, _| {
                    let truncated = shape::count_truncated(vectors.iter().map(|vector| &vector.truncated));
                    let rows = vectors.len();
                    let numbers = vectors.into_iter().flat_map(|vector| vector.embedding).collect();
                    let output = Output {
                        name: "embedding",
                        shape: vec![rows, width],
                        values: Values::Floats(numbers),
                    };
                    Ok(form.write(&[output])?.truncated(truncated))
                },
            )?;
            match step {
                Step::Run(run) => Ok(run),
                Step::Reply(_) => Err(shape::mixed_up()),
            }
        }
    }
}

/// Writes labels and the scores of all labels, in the model's order.
fn classified(model: &Served, found: Vec<mobilebert::Classification>, form: &Form) -> Result<Reply> {
    let known = &model.config().labels;
    let truncated = shape::count_truncated(found.iter().map(|found| &found.truncated));
    let (mut labels, mut scores) = (Vec::new(), vec![0.0; found.len() * known.len()]);
    for (found, scores) in found.iter().zip(scores.chunks_mut(known.len().max(1))) {
        labels.push(found.best().map(|best| best.label.clone()).unwrap_or_default());
        for one in &found.labels {
            if let Some(i) = known.iter().position(|label| *label == one.label) {
                scores[i] = one.score;
            }
        }
    }
    let rows = found.len();
    let reply = form.write(&[
        Output { name: "label", shape: vec![rows], values: Values::Texts(labels) },
        Output { name: "scores", shape: vec![rows, known.len()], values: Values::Floats(scores) },
    ])?;
    Ok(reply.truncated(truncated))
}

/// Writes each result as one text of JSON.
fn in_json(name: &'static str, found: Vec<Found>, form: &Form) -> Result<Reply> {
    let rows = found.len();
    let text = |found| {
        let text = match found {
            Found::Entities(entities) => serde_json::to_string(&entities),
            Found::Fills(fills) => serde_json::to_string(&fills),
            _ => return Err(shape::mixed_up()),
        };
        text.map_err(|error| Refusal::internal(error.to_string()))
    };
    let texts = found.into_iter().map(text).collect::<Result<Vec<_>>>()?;
    form.write(&[Output { name, shape: vec![rows], values: Values::Texts(texts) }])
}

/// Takes the numbers of a tensor that has a row for each sequence.
fn matrix<'t>(tensors: &'t [Tensor], name: &'static str, shape: &[usize]) -> Result<Option<&'t [i64]>> {
    let Some(tensor) = tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
    match &tensor.elements {
        Elements::Integers(numbers) if tensor.shape == shape && shape.len() == 2 => Ok(Some(numbers)),
        Elements::Integers(_) => {
            let message = format!(
                "tensor {name:?} has shape {:?}; expected [rows, tokens], as input_ids",
                tensor.shape
            );
            Err(Refusal::invalid("inputs", message))
        }
        Elements::Texts(_) => {
            Err(Refusal::invalid("inputs", format!("tensor {name:?} holds texts; expected INT64 or INT32")))
        }
    }
}

fn unsigned(name: &'static str, numbers: &[i64]) -> Result<Vec<u32>> {
    let number = |(i, &number): (usize, &i64)| {
        u32::try_from(number).map_err(|_| {
            let message = format!("element {i} of tensor {name:?} is {number}; expected 0 or more");
            Refusal::invalid("inputs", message)
        })
    };
    numbers.iter().enumerate().map(number).collect()
}

/// Tensor mode: token ids in, logits out.
fn token_ids(model: &Arc<Served>, tensors: Vec<Tensor>, form: Form) -> Result<Run> {
    const NAMES: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];
    if let Some(other) = tensors.iter().find(|tensor| !NAMES.contains(&tensor.name.as_str())) {
        let message = format!(
            "tensor {:?} does not go with input_ids; expected some of {}",
            other.name,
            NAMES.join(", ")
        );
        return Err(Refusal::invalid("inputs", message));
    }
    let shape = tensors.iter().find(|tensor| tensor.name == NAMES[0]).map(|tensor| tensor.shape.clone());
    let shape = shape.unwrap_or_default();
    let [ids, mask, types] = NAMES.map(|name| matrix(&tensors, name, &shape).map(|numbers| (name, numbers)));
    let read = |(name, numbers): (&'static str, Option<&[i64]>), missing: u32, count: usize| match numbers {
        Some(numbers) => unsigned(name, numbers),
        None => Ok(vec![missing; count]),
    };
    let ids = read(ids?, 0, 0)?;
    let (mask, types) = (read(mask?, 1, ids.len())?, read(types?, 0, ids.len())?);
    let (rows, width) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
    let numbers = model.row_width();
    let per_row = if model.is_one_row() { numbers } else { width.saturating_mul(numbers) };
    if rows.checked_mul(per_row).is_none_or(|all| all > MOST_NUMBERS) {
        let message = format!("the logits would have more than {MOST_NUMBERS} numbers; send fewer rows");
        return Err(Refusal::too_large(message));
    }
    if rows == 0 {
        return Err(Refusal::invalid("inputs", "tensor \"input_ids\" has no rows"));
    }
    let batch = Batch::from_padded(&ids, &types, &mask, width)?;
    mobilebert::check_request(model.config(), &EngineRequest::new(&batch))?;
    let job = |sequence: usize| -> AnyJob {
        let range = batch.range(sequence);
        let unit = Unit {
            ids: batch.ids()[range.clone()].to_vec(),
            types: batch.type_ids()[range.clone()].to_vec(),
            // A masked-LM head gives a row for each token that is asked for.
            requested: if model.task == Task::FillMask { (0..range.len()).collect() } else { Vec::new() },
        };
        let rows = match model.is_one_row() {
            true => 1,
            false => range.len(),
        };
        Box::new(RawJob::new(unit, numbers).of_rows(rows))
    };
    let jobs = (0..batch.sequences()).map(job).collect();
    let shape = if model.is_one_row() { vec![rows, numbers] } else { vec![rows, width, numbers] };
    let render = move |found: Vec<Found>| {
        let mut all = Vec::with_capacity(rows * per_row);
        for (row, found) in found.into_iter().enumerate() {
            let Found::Rows(logits, _) = found else { return Err(shape::mixed_up()) };
            all.extend(logits);
            // What was padding has no logits.
            all.resize((row + 1) * per_row, 0.0);
        }
        form.write(&[Output { name: "logits", shape, values: Values::Floats(all) }])
    };
    Ok(run(model, &model.lane, jobs, Box::new(render)))
}

impl Form {
    /// Writes the outputs that are asked for.
    fn write(&self, outputs: &[Output]) -> Result<Reply> {
        #[derive(Serialize)]
        struct Body<'a> {
            model_name: &'a str,
            model_version: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            outputs: Vec<Written<'a>>,
        }
        let mut binary = Vec::new();
        let mut written = Vec::new();
        if self.wanted.is_empty() {
            written.extend(outputs.iter().map(|output| output.write(self.binary.then_some(&mut binary))));
        }
        for (name, in_binary) in &self.wanted {
            let Some(output) = outputs.iter().find(|output| output.name == name) else {
                let known: Vec<&str> = outputs.iter().map(|output| output.name).collect();
                let message = format!("there is no output {name:?}; expected some of {}", known.join(", "));
                return Err(Refusal::invalid("outputs", message));
            };
            written.push(output.write(in_binary.then_some(&mut binary)));
        }
        let (model_name, id) = (self.model.as_str(), self.id.as_deref());
        let body = Body { model_name, model_version: VERSION, id, outputs: written };
        let mut bytes = serde_json::to_vec(&body).map_err(|error| Refusal::internal(error.to_string()))?;
        if binary.is_empty() {
            return Ok(Reply::new(200, JSON, bytes));
        }
        let length = bytes.len();
        bytes.append(&mut binary);
        let mut reply = Reply::new(200, "application/octet-stream", bytes);
        reply.headers.push((HEADER, length.to_string()));
        Ok(reply)
    }
}
