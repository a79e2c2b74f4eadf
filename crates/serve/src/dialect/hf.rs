//! The task API of Hugging Face, as `InferenceClient` calls it. The path names the model and, where a model
//! can do several, the task. Offsets are code points.

use std::sync::Arc;

use mobilebert::{
    AggregationStrategy, AnswerOptions, ClassifyOptions, EmbedOptions, FillOptions, FunctionToApply,
    LabelScore, LongText, OffsetUnit, TagOptions,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::native::{OneOrAll, place};
use super::shape::{self, Item, Items, Object, Texts, count_truncated};
use super::tei::similarities;
use crate::call::{Call, Render, Reply, Run, Step, check_answers};
use crate::error::{Kind, Refusal, Result, short};
use crate::models::{Served, Task};
use crate::work::{AnyJob, Found, work};

/// Writes a refusal.
pub(crate) fn refuse(refusal: &Refusal) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    Reply::error(refusal.kind.status(), &Body { error: &refusal.message })
}

/// The parts that all tasks have. The options of feature extraction stand beside `inputs`.
#[derive(Deserialize)]
struct Body {
    inputs: Box<RawValue>,
    parameters: Option<Box<RawValue>>,
    normalize: Option<bool>,
    truncate: Option<bool>,
    prompt_name: Option<String>,
}

impl Body {
    fn inputs<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        field("inputs", self.inputs.get())
    }

    /// Reads the parameters. Those that are `null` are not there.
    fn parameters<T: for<'de> Deserialize<'de> + Default>(&self) -> Result<T> {
        match &self.parameters {
            Some(parameters) if parameters.get() != "null" => {
                field::<Object<T>>("parameters", parameters.get()).map(|Object(parameters)| parameters)
            }
            _ => Ok(T::default()),
        }
    }
}

fn field<T: for<'de> Deserialize<'de>>(name: &'static str, json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|error| Refusal::malformed(format!("`{name}` cannot be read: {error}")).of(name))
}

/// `POST /models/{model}`, `POST /models/{model}/pipeline/{task}`
pub(crate) fn task(call: &Call) -> Result<Step> {
    let body: Body = call.json()?;
    let model = call.model()?;
    let own = match model.task {
        Task::Answer => "question-answering",
        Task::Classify => "text-classification",
        Task::Tag => "token-classification",
        Task::FillMask => "fill-mask",
        Task::Embed if body.inputs.get().trim_start().starts_with('{') => "sentence-similarity",
        Task::Embed => "feature-extraction",
    };
    match call.param("task").unwrap_or(own) {
        "question-answering" => answer(call, model, &body),
        "text-classification" | "sentiment-analysis" => classify(call, model, &body),
        "token-classification" | "ner" => tag(call, model, &body),
        "fill-mask" => fill_mask(call, model, &body),
        "feature-extraction" => embed(call, model, &body),
        "sentence-similarity" => similarities(call, model, body.inputs::<Object<_>>()?.0, call.config.strict),
        _ => {
            let expected = "question-answering, text-classification, token-classification, fill-mask, \
                            feature-extraction or sentence-similarity";
            Err(Refusal::new(
                Kind::NotFound,
                "not_found",
                format!("there is no such task; expected {expected}"),
            ))
        }
    }
}

fn step(model: &Arc<Served>, jobs: Vec<AnyJob>, render: Render) -> Step {
    Step::Run(Run {
        model: Arc::clone(model),
        lane: Arc::clone(&model.lane),
        inputs: jobs.len(),
        jobs,
        deadline: None,
        render,
    })
}

#[derive(Deserialize)]
struct AnswerInputs {
    question: String,
    context: String,
}

#[derive(Deserialize, Default)]
struct AnswerParameters {
    top_k: Option<usize>,
    doc_stride: Option<usize>,
    max_answer_len: Option<usize>,
    max_seq_len: Option<usize>,
    max_question_len: Option<usize>,
    handle_impossible_answer: Option<bool>,
}

fn answer(call: &Call, model: &Arc<Served>, body: &Body) -> Result<Step> {
    let Object(AnswerInputs { question, context }) = body.inputs()?;
    let parameters: AnswerParameters = body.parameters()?;
    call.check_texts("inputs", [question.as_str(), &context].into_iter())?;
    let pipeline = model.answerer()?;
    // Scores and defaults are those of `transformers`.
    let options = AnswerOptions::with(|o| {
        o.top_k = parameters.top_k.unwrap_or(1);
        o.max_answer_len = parameters.max_answer_len.unwrap_or(15);
        (o.doc_stride, o.max_seq_len) = (parameters.doc_stride, parameters.max_seq_len);
        o.max_question_len = parameters.max_question_len.unwrap_or(o.max_question_len);
        o.handle_impossible_answer = parameters.handle_impossible_answer.unwrap_or(false);
        (o.merge_equal_texts, o.null_competes) = (false, true);
    });
    check_answers(model, &options, std::iter::once((context.as_str(), 1)))?;
    let job = pipeline.prepare_answer(&question, &pipeline.prepare(context.as_str())?, &options)?;
    let several = options.top_k > 1;
    let render = move |found: Vec<Found>| {
        #[derive(Serialize)]
        struct Line {
            answer: String,
            score: f32,
            start: usize,
            end: usize,
        }
        let Some(Found::Answers(mut answers)) = found.into_iter().next() else {
            return Err(shape::mixed_up());
        };
        place(OffsetUnit::Char, &context, &mut answers)?;
        let line = |answer: mobilebert::Answer| Line {
            answer: answer.answer,
            score: answer.score,
            start: answer.start,
            end: answer.end,
        };
        Reply::json(&one_unless(several, answers.into_iter().map(line).collect()))
    };
    Ok(step(model, vec![work(job, Found::Answers)], Box::new(render)))
}

/// A single result stands alone unless there may be several.
fn one_unless<T>(several: bool, mut all: Vec<T>) -> OneOrAll<T> {
    match (several, all.pop()) {
        (false, Some(one)) if all.is_empty() => OneOrAll::One(one),
        (_, last) => {
            all.extend(last);
            OneOrAll::All(all)
        }
    }
}

#[derive(Deserialize, Default)]
struct ClassifyParameters {
    top_k: Option<usize>,
    function_to_apply: Option<FunctionToApply>,
}

/// A text, a pair as an object, or a list of texts.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a text, a list of texts, or an object with text and text_pair")]
enum ClassifyInputs {
    Pair { text: String, text_pair: Option<String> },
    Texts(Texts),
}

fn classify(call: &Call, model: &Arc<Served>, body: &Body) -> Result<Step> {
    let items = match body.inputs()? {
        ClassifyInputs::Pair { text, text_pair } => vec![Item { first: text, second: text_pair }],
        ClassifyInputs::Texts(texts) => {
            texts.all.into_iter().map(|first| Item { first, second: None }).collect()
        }
    };
    let parameters: ClassifyParameters = body.parameters()?;
    let items = Items { is_list: items.len() > 1, all: items };
    call.check_texts("inputs", items.texts().into_iter())?;
    let options = ClassifyOptions::with(|o| {
        o.top_k = parameters.top_k.unwrap_or(usize::MAX);
        o.function_to_apply = parameters.function_to_apply.unwrap_or(o.function_to_apply);
        o.long_text = if call.config.strict { LongText::Refuse } else { LongText::Truncate };
    });
    let jobs = shape::classify_jobs(model.classifier()?, &items.all, items.is_list, &options)?;
    let render = |found| {
        let found = shape::labels(found)?;
        let truncated = count_truncated(found.iter().map(|found| &found.truncated));
        // Nested even for one text: that is what clients unpack.
        let labels: Vec<Vec<LabelScore>> = found.into_iter().map(|found| found.labels).collect();
        Ok(Reply::json(&labels)?.truncated(truncated))
    };
    Ok(step(model, jobs, Box::new(render)))
}

#[derive(Deserialize, Default)]
struct TagParameters {
    aggregation_strategy: Option<AggregationStrategy>,
    ignore_labels: Option<Vec<String>>,
    stride: Option<usize>,
}

fn tag(call: &Call, model: &Arc<Served>, body: &Body) -> Result<Step> {
    let texts: Texts = body.inputs()?;
    let parameters: TagParameters = body.parameters()?;
    call.check_texts("inputs", texts.iter())?;
    let options = TagOptions::with(|o| {
        o.aggregation_strategy = parameters.aggregation_strategy.unwrap_or(o.aggregation_strategy);
        o.doc_stride = parameters.stride;
        if let Some(labels) = parameters.ignore_labels {
            o.ignore_labels = labels;
        }
    });
    let jobs = shape::tag_jobs(model.tagger()?, &texts, &options)?;
    let render = move |found: Vec<Found>| {
        let mut lines = Vec::new();
        for (text, found) in texts.iter().zip(found) {
            let Found::Entities(mut entities) = found else { return Err(shape::mixed_up()) };
            let offsets = entities.iter_mut().flat_map(|entity| [&mut entity.start, &mut entity.end]);
            OffsetUnit::Char.convert(text, offsets)?;
            lines.push(entities);
        }
        Reply::json(&one_unless(texts.is_list, lines))
    };
    Ok(step(model, jobs, Box::new(render)))
}

#[derive(Deserialize, Default)]
struct FillParameters {
    top_k: Option<usize>,
    #[serde(default)]
    targets: Option<Vec<String>>,
}

fn fill_mask(call: &Call, model: &Arc<Served>, body: &Body) -> Result<Step> {
    let texts: Texts = body.inputs()?;
    let parameters: FillParameters = body.parameters()?;
    call.check_texts("inputs", texts.iter())?;
    let options = FillOptions::with(|o| {
        o.top_k = parameters.top_k.unwrap_or(o.top_k);
        o.targets = parameters.targets.unwrap_or_default();
    });
    let pipeline = model.filler()?;
    let jobs = shape::fill_jobs(pipeline, &texts, "text", &options)?;
    let is_list = texts.is_list;
    let render = move |found: Vec<Found>| {
        let masks = |found| match found {
            Found::Fills(masks) => Ok(one_unless(false, masks)),
            _ => Err(shape::mixed_up()),
        };
        Reply::json(&one_unless(is_list, found.into_iter().map(masks).collect::<Result<Vec<_>>>()?))
    };
    Ok(step(model, jobs, Box::new(render)))
}

#[derive(Deserialize, Default)]
struct EmbedParameters {
    normalize: Option<bool>,
    truncate: Option<bool>,
}

fn embed(call: &Call, model: &Arc<Served>, body: &Body) -> Result<Step> {
    let texts: Texts = body.inputs()?;
    let parameters: EmbedParameters = body.parameters()?;
    if let Some(name) = &body.prompt_name {
        let name = short(name);
        let message =
            format!("`prompt_name` is {name:?}, and the model has no prompts by name; leave it out");
        return Err(Refusal::invalid("prompt_name", message));
    }
    let options = EmbedOptions::with(|o| o.normalize = body.normalize.or(parameters.normalize));
    let strict = call.config.strict || body.truncate.or(parameters.truncate) == Some(false);
    shape::embed(call, model, "inputs", &texts, (&options, strict), |vectors, _| {
        let truncated = count_truncated(vectors.iter().map(|vector| &vector.truncated));
        let vectors: Vec<Vec<f32>> = vectors.into_iter().map(|vector| vector.embedding).collect();
        Ok(Reply::json(&vectors)?.truncated(truncated))
    })
    .map(Step::Run)
}
