//! Tensors of texts or of token ids -> jobs, and their results -> tensors, whatever the wire is.

use std::sync::Arc;

use mobilebert::{AnswerOptions, ClassifyOptions, EmbedOptions, FillOptions, LongText, TagOptions};

use super::ids::token_ids;
use super::tensor::{Elements, Output, Tensor, Values};
use crate::call::{Call, Render, Run, at, check_answers};
use crate::dialect::shape::{self, Item, Texts};
use crate::error::{Refusal, Result, short};
use crate::models::{Served, Task};
use crate::work::{AnyJob, Found, work};

/// The tensors of an answer.
pub(super) struct Made {
    pub(super) outputs: Vec<Output>,
    /// The number of texts whose end was not read.
    pub(super) truncated: usize,
}

impl Made {
    /// Makes an answer of texts that were read to their ends.
    pub(super) fn whole(outputs: Vec<Output>) -> Self {
        Self { outputs, truncated: 0 }
    }

    /// Finds an output by its name.
    pub(super) fn output(&self, name: &str) -> Result<&Output> {
        self.outputs.iter().find(|output| output.name == name).ok_or_else(shape::mixed_up)
    }
}

/// Makes the jobs of a request, and the tensors of their results. `wanted` names the outputs that are asked
/// for; without any, all of them are.
pub(super) fn compute(
    call: &Call,
    model: &Arc<Served>,
    tensors: &[Tensor],
    wanted: &[&str],
) -> Result<Run<Made>> {
    let has_ids = tensors.iter().any(|tensor| tensor.name == "input_ids");
    check_outputs(wanted, has_ids, model.task)?;
    match (has_ids, model.task) {
        (true, _) => token_ids(model, tensors),
        (false, Task::Answer) => answer(call, model, tensors),
        (false, _) => texts(call, model, tensors),
    }
}

/// Checks the outputs that are asked for before anything is computed: each is one that there is, and is asked
/// for once.
fn check_outputs(wanted: &[&str], token_ids: bool, task: Task) -> Result<()> {
    let known: &[&str] = match (token_ids, task) {
        (true, _) => &["logits"],
        (false, Task::Answer) => &["answer", "score", "start", "end"],
        (false, Task::Classify) => &["label", "scores"],
        (false, Task::Tag) => &["entities"],
        (false, Task::FillMask) => &["fills"],
        (false, Task::Embed) => &["embedding"],
    };
    for (i, name) in wanted.iter().enumerate() {
        if !known.contains(name) {
            let name = short(name);
            let message = format!("there is no output {name:?}; expected some of {}", known.join(", "));
            return Err(Refusal::invalid("outputs", message));
        }
        // There are few known names, so this ends soon.
        if wanted[..i].contains(name) {
            let message = format!("output {name:?} is asked for twice; expected each once");
            return Err(Refusal::invalid("outputs", message));
        }
    }
    Ok(())
}

pub(super) fn run(model: &Arc<Served>, jobs: Vec<AnyJob>, render: Render<Made>) -> Run<Made> {
    let lane = Arc::clone(&model.lane);
    Run { model: Arc::clone(model), lane, inputs: jobs.len(), jobs, deadline: None, render }
}

/// Checks that each tensor is one that is read, and is there once.
pub(super) fn check_names(tensors: &[Tensor], known: &[&str]) -> Result<()> {
    for (i, Tensor { name, .. }) in tensors.iter().enumerate() {
        let name = name.as_str();
        let problem = match known.contains(&name) {
            false => format!("is not read here; expected some of {}", known.join(", ")),
            // There are few known names, so this ends soon.
            true if tensors[..i].iter().any(|other| other.name == name) => {
                "is there twice; expected each once".to_owned()
            }
            true => continue,
        };
        return Err(Refusal::invalid("inputs", format!("tensor {:?} {problem}", short(name))));
    }
    Ok(())
}

/// Takes the texts of a tensor by its name.
fn named<'t>(tensors: &'t [Tensor], name: &'static str) -> Result<&'t [String]> {
    match tensors.iter().find(|tensor| tensor.name == name).map(|tensor| &tensor.elements) {
        Some(Elements::Texts(texts)) => Ok(texts),
        Some(_) => Err(Refusal::invalid("inputs", format!("tensor {name:?} holds numbers; expected BYTES"))),
        None => {
            let found: Vec<&str> = tensors.iter().take(8).map(|tensor| short(&tensor.name)).collect();
            let message =
                format!("there is no tensor {name:?} among {found:?}; GET /v2/models/... lists the inputs");
            Err(Refusal::invalid("inputs", message))
        }
    }
}

fn answer(call: &Call, model: &Arc<Served>, tensors: &[Tensor]) -> Result<Run<Made>> {
    let (questions, contexts) = (named(tensors, "question")?, named(tensors, "context")?);
    check_names(tensors, &["question", "context"])?;
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
        Ok(Made::whole(vec![
            output("answer", Values::Texts(texts)),
            output("score", Values::Floats(scores)),
            output("start", Values::Integers(starts)),
            output("end", Values::Integers(ends)),
        ]))
    };
    Ok(run(model, jobs, Box::new(render)))
}

fn texts(call: &Call, model: &Arc<Served>, tensors: &[Tensor]) -> Result<Run<Made>> {
    let texts = Texts { all: named(tensors, "text")?.to_vec(), is_list: true };
    check_names(tensors, &["text"])?;
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
            let render = move |found| Ok(classified(&served, &shape::labels(found)?));
            Ok(run(model, jobs, Box::new(render)))
        }
        Task::Tag => {
            let jobs = shape::tag_jobs(model.tagger()?, &texts, &TagOptions::default())?;
            Ok(run(model, jobs, Box::new(|found| in_json("entities", found))))
        }
        Task::FillMask => {
            let pipeline = model.filler()?;
            let jobs = shape::fill_jobs(pipeline, &texts, "row", &FillOptions::default())?;
            Ok(run(model, jobs, Box::new(|found| in_json("fills", found))))
        }
        _ => {
            let width = model.embedder().dimensions();
            let options = EmbedOptions::default();
            shape::embed(call, model, "inputs", &texts, (&options, strict), move |vectors, _| {
                let truncated = shape::count_truncated(vectors.iter().map(|vector| &vector.truncated));
                let shape = vec![vectors.len(), width];
                let numbers = vectors.into_iter().flat_map(|vector| vector.embedding).collect();
                let output = Output { name: "embedding", shape, values: Values::Floats(numbers) };
                Ok(Made { outputs: vec![output], truncated })
            })
        }
    }
}

/// Makes tensors of the labels and of the scores of all labels, in the model's order.
fn classified(model: &Served, found: &[mobilebert::Classification]) -> Made {
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
    let outputs = vec![
        Output { name: "label", shape: vec![rows], values: Values::Texts(labels) },
        Output { name: "scores", shape: vec![rows, known.len()], values: Values::Floats(scores) },
    ];
    Made { outputs, truncated }
}

/// Writes each result as one text of JSON.
fn in_json(name: &'static str, found: Vec<Found>) -> Result<Made> {
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
    Ok(Made::whole(vec![Output { name, shape: vec![rows], values: Values::Texts(texts) }]))
}
