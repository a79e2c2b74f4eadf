//! A loaded model with its task.

use mobilebert_bindings::answer::{Contexts, answers, answers_from, answers_within_from};
use mobilebert_bindings::classify::labels;
use mobilebert_bindings::embed::{self, Matrix};
use mobilebert_bindings::fill::fills;
use mobilebert_bindings::options::{changed, map};
use mobilebert_bindings::tag::entities;
use mobilebert_bindings::{
    Embedder, Failure, FillMask, Model, Opening, QuestionAnswering, Source, Task, TextClassification, Texts,
    TokenClassification, Watch,
};
use serde_json::{Map, Value, json};
use wasm_bindgen::prelude::*;

use crate::failure::{Result, thrown};
use crate::files::Files;
use crate::results;

/// A model that is ready for calls.
#[wasm_bindgen]
pub struct Pipeline {
    task: Ready,
}

enum Ready {
    Answers(QuestionAnswering),
    Labels(TextClassification),
    Entities(TokenClassification),
    Fills(FillMask),
    Vectors(Embedder),
}

/// Opens a pipeline for a task of `transformers`. The files are freed once the weights are packed.
///
/// # Errors
/// The errors of the engine, and `option` for an unknown task or precision.
#[wasm_bindgen]
pub fn open(
    task: &str,
    files: Files,
    precision: Option<String>,
    special_tokens_in_text: Option<bool>,
) -> Result<Pipeline> {
    let opened = || {
        let source = Source::Memory(files.into_files());
        // There is one thread, which is the caller's.
        let opening = Opening { threads: Some(1), precision, special_tokens_in_text, ..Opening::default() };
        let none = Map::new();
        Ok(match Task::named(task)? {
            Task::QuestionAnswering => Ready::Answers(opening.answers(source, &none)?),
            Task::TextClassification => Ready::Labels(opening.labels(source, &none)?),
            Task::TokenClassification => Ready::Entities(opening.entities(source, &none)?),
            Task::FillMask => Ready::Fills(opening.fills(source, &none)?),
            Task::FeatureExtraction => Ready::Vectors(opening.vectors(source, &none)?),
        })
    };
    opened().map(|task| Pipeline { task }).map_err(thrown)
}

#[wasm_bindgen]
impl Pipeline {
    /// Describes the model: `{task, precision, kernel, max_length, labels, dimensions?, options}`.
    pub fn about(&self) -> String {
        let (model, task, options) = match &self.task {
            Ready::Answers(task) => (task.model(), Task::QuestionAnswering, map(task.options())),
            Ready::Labels(task) => (task.model(), Task::TextClassification, map(task.options())),
            Ready::Entities(task) => (task.model(), Task::TokenClassification, map(task.options())),
            Ready::Fills(task) => (task.model(), Task::FillMask, map(task.options())),
            Ready::Vectors(task) => (task.model(), Task::FeatureExtraction, map(task.options())),
        };
        let mut about = described(model, task, &options);
        if let Ready::Vectors(task) = &self.task {
            about["dimensions"] = task.dimensions().into();
        }
        about.to_string()
    }

    /// Runs a list of texts and returns a list of results as JSON. It is for all tasks but feature
    /// extraction.
    ///
    /// `second` are the contexts of questions, one for each or one for all (`shared`), or the second texts of
    /// pairs. `is_list` is false for a call with a single input, and `first` is the place of the first text
    /// in the caller's list; both are for messages.
    ///
    /// # Errors
    /// The failure of the first input that fails.
    pub fn run(
        &self,
        texts: Vec<String>,
        second: Option<Vec<String>>,
        shared: bool,
        is_list: bool,
        first: usize,
        options: &str,
    ) -> Result<String> {
        let texts = Part { texts, first };
        let found = || {
            let (options, watch) = (parsed(options)?, &mut Watch::default());
            Ok(match &self.task {
                Ready::Answers(task) => {
                    let options = changed(task.options(), &options)?;
                    let second = second.unwrap_or_default();
                    let found = if shared {
                        answers_from(task, &texts, second.text(0), is_list, &options, watch)?
                    } else {
                        answers(task, &texts, Contexts::Each(&second), is_list, &options, watch)?
                    };
                    results::list(&found, |answers| results::list(answers, results::answer))
                }
                Ready::Labels(task) => {
                    let options = changed(task.options(), &options)?;
                    let second = second.as_ref().map(|second| second as &dyn Texts);
                    let found = labels(task, &texts, second, is_list, &options, watch)?;
                    results::list(&found, results::classification)
                }
                Ready::Entities(task) => {
                    let options = changed(task.options(), &options)?;
                    let found = entities(task, &texts, is_list, &options, watch)?;
                    results::list(&found, |entities| results::list(entities, results::entity))
                }
                Ready::Fills(task) => {
                    let options = changed(task.options(), &options)?;
                    let found = fills(task, &texts, is_list, &options, watch)?;
                    results::list(&found, |masks| {
                        results::list(masks, |fills| results::list(fills, results::fill))
                    })
                }
                Ready::Vectors(_) => {
                    return Err(Failure::input("task", "feature extraction has `vectors` and `states`"));
                }
            })
        };
        found().map(|found| found.to_string()).map_err(thrown)
    }

    /// Answers a question without reading the whole context, and returns the result as JSON. `milliseconds` is
    /// the time that is left for it.
    ///
    /// # Errors
    /// As for `run`.
    pub fn answers_within(
        &self,
        question: &str,
        context: &str,
        most_windows: Option<usize>,
        milliseconds: Option<f64>,
        options: &str,
    ) -> Result<String> {
        let end = milliseconds.map(|left| now() + left);
        let is_late = || end.is_some_and(|end| now() >= end);
        let found = || {
            let Ready::Answers(task) = &self.task else {
                return Err(Failure::input("task", "`answers_within` is of question answering"));
            };
            let options = changed(task.options(), &parsed(options)?)?;
            let watch = &mut Watch { is_late: Some(&is_late), ..Watch::default() };
            answers_within_from(task, question, context, most_windows, &options, watch)
        };
        found().map(|found| results::within(&found).to_string()).map_err(thrown)
    }

    /// Computes the vector of each text, or with `states` the hidden states of its tokens.
    ///
    /// # Errors
    /// As for `run`.
    pub fn vectors(
        &self,
        texts: Vec<String>,
        states: bool,
        is_list: bool,
        first: usize,
        options: &str,
    ) -> Result<Vectors> {
        let texts = Part { texts, first };
        let found = || {
            let Ready::Vectors(task) = &self.task else {
                return Err(Failure::input("task", "vectors are of feature extraction"));
            };
            let (options, watch) = (changed(task.options(), &parsed(options)?)?, &mut Watch::default());
            if !states {
                let embed::Vectors { matrix, truncated } =
                    embed::vectors(task, &texts, is_list, &options, watch)?;
                let rows = vec![1; truncated.len()];
                return Ok(Vectors::new(matrix, rows, &truncated));
            }
            let mut all = Vectors::new(Matrix::default(), Vec::new(), &[]);
            for found in embed::states(task, &texts, is_list, &options, watch)? {
                all.matrix.columns = found.matrix.columns;
                all.matrix.values.extend_from_slice(&found.matrix.values);
                all.rows.push(found.matrix.rows as u32);
                all.truncated.push(found.truncated.into());
            }
            Ok(all)
        };
        found().map_err(thrown)
    }
}

#[wasm_bindgen]
extern "C" {
    /// The milliseconds since some moment, which never go back. The module itself has no clock.
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

/// The vectors of a list of texts, one after another.
#[wasm_bindgen]
pub struct Vectors {
    matrix: Matrix,
    rows: Vec<u32>,
    truncated: Vec<u8>,
}

impl Vectors {
    fn new(matrix: Matrix, rows: Vec<u32>, truncated: &[bool]) -> Self {
        Self { matrix, rows, truncated: truncated.iter().map(|&flag| flag.into()).collect() }
    }
}

#[wasm_bindgen]
impl Vectors {
    /// Returns the numbers and frees them here.
    pub fn take_values(&mut self) -> Vec<f32> {
        std::mem::take(&mut self.matrix.values)
    }

    /// Returns the number of columns.
    pub fn columns(&self) -> usize {
        self.matrix.columns
    }

    /// Returns the number of rows of each text.
    pub fn rows(&self) -> Vec<u32> {
        self.rows.clone()
    }

    /// Returns for each text 1 if its end was not read, else 0.
    pub fn truncated(&self) -> Vec<u8> {
        self.truncated.clone()
    }
}

/// A part of a caller's list.
struct Part {
    texts: Vec<String>,
    first: usize,
}

impl Texts for Part {
    fn count(&self) -> usize {
        self.texts.len()
    }

    fn text(&self, index: usize) -> &str {
        self.texts.text(index)
    }

    fn row(&self, index: usize) -> usize {
        self.first + index
    }
}

fn described(model: &Model, task: Task, options: &Map<String, Value>) -> Value {
    json!({
        "task": task.name(),
        "precision": model.engine().backend().precision().to_string(),
        "kernel": model.engine().backend().kernel(),
        "max_length": model.max_len(),
        "labels": model.config().labels,
        "options": options,
    })
}

fn parsed(options: &str) -> std::result::Result<Map<String, Value>, Failure> {
    serde_json::from_str(options)
        .map_err(|problem| Failure::option("options", "an object of names and values", problem))
}
