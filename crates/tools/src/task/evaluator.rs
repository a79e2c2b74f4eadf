//! A pipeline that predicts the examples of a dataset.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::{Candidate, Dataset, Prediction, Task, TaskOptions, similarity};
use crate::dataset::{Example, GlueTask, Gold, Labelled, Sentence, Squad, Tagged};
use mobilebert::pipeline::{
    AggregationStrategy, AnswerOptions, Classification, ClassifyOptions, EmbedOptions, Embedder,
    FunctionToApply, PreparedContext, QuestionAnswering, Ranking, TagOptions, TextClassification,
    TokenClassification,
};
use mobilebert::text::{Encoding, Tokenizer};
use mobilebert::{Engine, Error, ErrorKind, Head, Result, Source, TagScheme};

/// How many examples are predicted together: enough to fill forward passes, and few enough that a stopped run
/// loses little.
const CHUNK: usize = 32;

/// A model that is ready for a task.
#[derive(Debug)]
pub struct Evaluator {
    task: Task,
    pipeline: Pipeline,
}

#[derive(Debug)]
enum Pipeline {
    Answers(QuestionAnswering),
    Labels(TextClassification),
    Tags(TokenClassification),
    Vectors(Embedder),
}

impl TaskOptions {
    /// Opens a model.
    ///
    /// # Errors
    /// Those of the task's pipeline, such as [`ErrorKind::WrongTask`]; [`ErrorKind::Option`] for a value out
    /// of range.
    pub fn open(self, source: impl Into<Source>) -> Result<Evaluator> {
        let (task, engine) = (self.task, self.engine);
        let pipeline = match task {
            Task::Squad => {
                let options = AnswerOptions::with(|o| {
                    o.top_k = self.n_best;
                    (o.max_seq_len, o.doc_stride) = (self.max_seq_len, self.doc_stride);
                    o.max_question_len = self.max_question_len.unwrap_or(o.max_question_len);
                    o.max_answer_len = self.max_answer_len.unwrap_or(o.max_answer_len);
                });
                Pipeline::Answers(QuestionAnswering::open_with(source, engine, options)?)
            }
            Task::Glue(_) | Task::Labels => {
                let function =
                    if is_regression(task) { FunctionToApply::None } else { FunctionToApply::Softmax };
                let options = ClassifyOptions::with(|o| {
                    (o.top_k, o.function_to_apply) = (usize::MAX, function);
                    o.max_seq_len = self.max_seq_len;
                });
                Pipeline::Labels(TextClassification::open_with(source, engine, options)?)
            }
            Task::Entities => {
                let options = TagOptions::with(|o| {
                    o.aggregation_strategy = AggregationStrategy::None;
                    o.ignore_labels.clear();
                    (o.max_seq_len, o.doc_stride) = (self.max_seq_len, self.doc_stride);
                });
                Pipeline::Tags(TokenClassification::open_with(source, engine, options)?)
            }
            Task::Embeddings => {
                let options = EmbedOptions::with(|o| o.max_seq_len = self.max_seq_len);
                Pipeline::Vectors(Embedder::open_with(source, engine, options)?)
            }
        };
        Ok(Evaluator { task, pipeline })
    }
}

fn is_regression(task: Task) -> bool {
    task == Task::Glue(GlueTask::StsB)
}

impl Evaluator {
    /// The task that it was opened for.
    pub fn task(&self) -> Task {
        self.task
    }

    /// The head that the model is run with: its own, or none for [`Task::Embeddings`].
    pub(crate) fn head(&self) -> Head {
        match &self.pipeline {
            Pipeline::Answers(pipeline) => pipeline.model().head(),
            Pipeline::Labels(pipeline) => pipeline.model().head(),
            Pipeline::Tags(pipeline) => pipeline.model().head(),
            Pipeline::Vectors(pipeline) => pipeline.model().head(),
        }
    }

    /// The pipeline's engine.
    pub fn engine(&self) -> &Engine {
        match &self.pipeline {
            Pipeline::Answers(pipeline) => pipeline.engine(),
            Pipeline::Labels(pipeline) => pipeline.engine(),
            Pipeline::Tags(pipeline) => pipeline.engine(),
            Pipeline::Vectors(pipeline) => pipeline.engine(),
        }
    }

    /// The pipeline's tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        match &self.pipeline {
            Pipeline::Answers(pipeline) => pipeline.tokenizer(),
            Pipeline::Labels(pipeline) => pipeline.tokenizer(),
            Pipeline::Tags(pipeline) => pipeline.tokenizer(),
            Pipeline::Vectors(pipeline) => pipeline.tokenizer(),
        }
    }

    /// Replaces the engine by one that runs another model of the same kind. Tokenizer and options stay.
    ///
    /// # Errors
    /// [`ErrorKind::Tokenizer`] and [`ErrorKind::Option`] if the tokenizer or the options do not go with that
    /// model.
    pub fn set_engine(&mut self, engine: Engine) -> Result<()> {
        match &mut self.pipeline {
            Pipeline::Answers(p) => {
                *p = QuestionAnswering::from_parts(p.model().with_engine(engine)?, p.options().clone())?;
            }
            Pipeline::Labels(p) => {
                *p = TextClassification::from_parts(p.model().with_engine(engine)?, p.options().clone())?;
            }
            Pipeline::Tags(p) => {
                *p = TokenClassification::from_parts(p.model().with_engine(engine)?, p.options().clone())?;
            }
            Pipeline::Vectors(p) => {
                *p = Embedder::from_parts(p.model().with_engine(engine)?, p.options().clone())?;
            }
        }
        Ok(())
    }

    /// The token sequences of the first `most` examples, one for each, cut at 384 tokens or the model's
    /// limit. Where each text of a pair has a vector of its own, that is the sequence of the first one.
    ///
    /// # Errors
    /// Those of the tokenizer.
    pub fn sequences(&self, data: &Dataset, most: usize) -> Result<Vec<Encoding>> {
        const LONGEST: usize = 384;
        let tokenizer = self.tokenizer();
        let limit = tokenizer.sequence_limit(self.engine().config().max_position_embeddings).min(LONGEST);
        let encode = |text: &str, pair: Option<&str>| {
            let pair = pair.map(|pair| tokenizer.tokenize(pair)).transpose()?;
            Ok(tokenizer.tokenize(text)?.encode_truncated(pair.as_ref(), limit)?.0)
        };
        match data {
            Dataset::Squad(data) => {
                data.questions.iter().take(most).map(|q| encode(&q.question, Some(data.context(q)))).collect()
            }
            Dataset::Labelled(data) => {
                let pair = |e: &'_ Example| e.pair.clone().filter(|_| self.task != Task::Embeddings);
                data.examples.iter().take(most).map(|e| encode(&e.text, pair(e).as_deref())).collect()
            }
            Dataset::Tagged(data) => {
                data.sentences.iter().take(most).map(|s| encode(&s.words.join(" "), None)).collect()
            }
        }
    }

    /// Predicts the examples of a range, in order. To continue a stopped run, ask for the range that it left.
    /// Some examples are computed together, but no prediction depends on others.
    ///
    /// The iterator ends with the first error: [`ErrorKind::Input`] if this model cannot read an example
    /// (file and line say which), or an error of the pipeline.
    pub fn predictions<'a>(&'a self, data: &'a Dataset, range: Range<usize>) -> Predictions<'a> {
        let range = range.start.min(data.len())..range.end.min(data.len());
        Predictions { evaluator: self, data, range, classes: None, ready: VecDeque::new(), failed: None }
    }

    fn chunk(
        &self,
        data: &Dataset,
        range: Range<usize>,
        classes: &[Option<usize>],
    ) -> Result<Chunk<Prediction>> {
        match (&self.pipeline, data) {
            (Pipeline::Answers(pipeline), Dataset::Squad(data)) => answers(pipeline, data, range),
            (Pipeline::Labels(pipeline), Dataset::Labelled(data)) => {
                let read = |batch: &[Example]| classify(pipeline, batch);
                let (results, error) =
                    in_place(&data.examples[range], read, |example, e| data.error(example, e.to_string()));
                let prediction = |result| prediction(&result, pipeline, data, classes);
                Ok((results.into_iter().map(prediction).collect(), error))
            }
            (Pipeline::Tags(pipeline), Dataset::Tagged(data)) => {
                let at = |sentence: &Sentence, e: Error| {
                    let place = format!("{}, line {}", data.file, sentence.line);
                    ErrorKind::Input { place, problem: e.to_string() }.into()
                };
                Ok(in_place(&data.sentences[range], |batch| tags(pipeline, batch), at))
            }
            (Pipeline::Vectors(pipeline), Dataset::Labelled(data)) => {
                let read = |batch: &[Example]| similarity::values(pipeline, data, batch);
                let at = |example: &Example, e: Error| data.error(example, e.to_string());
                Ok(in_place(&data.examples[range], read, at))
            }
            _ => Err(wrong_data(self.task, data)),
        }
    }

    /// For each label of the model, the class of the data that it means; `None` if the data has no such
    /// class.
    fn classes(&self, data: &Dataset) -> Result<Vec<Option<usize>>> {
        match (&self.pipeline, data) {
            (Pipeline::Labels(_), Dataset::Labelled(data)) => {
                let labels = &self.engine().config().labels;
                match is_regression(self.task) {
                    true if labels.len() == 1 => Ok(Vec::new()),
                    true => {
                        Err(Error::option("model", "one with a single output, for regression", labels.len()))
                    }
                    false => classes_of(labels, data),
                }
            }
            (Pipeline::Tags(pipeline), Dataset::Tagged(data)) => {
                check_types(&self.engine().config().labels, pipeline.scheme(), data)?;
                Ok(Vec::new())
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Refuses data of whose entities the model knows none: each score would be 0, whatever the model found.
fn check_types(labels: &[String], scheme: TagScheme, data: &Tagged) -> Result<()> {
    let known: BTreeSet<&str> =
        labels.iter().map(|label| scheme.split(label).1).filter(|kind| *kind != "O").collect();
    let tags = data.sentences.iter().flat_map(|sentence| &sentence.tags);
    let wanted: BTreeSet<&str> = tags.map(|tag| Tagged::kind(tag)).filter(|kind| *kind != "O").collect();
    if wanted.is_empty() || !known.is_disjoint(&wanted) {
        return Ok(());
    }
    let list = |types: BTreeSet<&str>| types.into_iter().collect::<Vec<_>>().join(", ");
    let problem =
        format!("none of its entity types ({}) is one of the model's ({})", list(wanted), list(known));
    Err(ErrorKind::Input { place: data.file.clone(), problem }.into())
}

/// Predictions for a range of examples; see [`Evaluator::predictions`].
#[derive(Debug)]
pub struct Predictions<'a> {
    evaluator: &'a Evaluator,
    data: &'a Dataset,
    range: Range<usize>,
    classes: Option<Vec<Option<usize>>>,
    ready: VecDeque<Prediction>,
    /// The error that follows the ready predictions.
    failed: Option<Error>,
}

impl Predictions<'_> {
    fn fill(&mut self) -> Result<()> {
        if self.ready.is_empty() && !self.range.is_empty() {
            let classes = match self.classes.take() {
                Some(classes) => classes,
                None => self.evaluator.classes(self.data)?,
            };
            let end = self.data.chunk_end(self.range.start + CHUNK).min(self.range.end);
            let chunk = self.range.start..end;
            let (results, error) = self.evaluator.chunk(self.data, chunk, &classes)?;
            self.ready.extend(results);
            self.failed = error;
            self.range.start = if self.failed.is_some() { self.range.end } else { end };
            self.classes = Some(classes);
        }
        Ok(())
    }
}

impl Iterator for Predictions<'_> {
    type Item = Result<Prediction>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Err(error) = self.fill() {
            self.range.start = self.range.end;
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok).or_else(|| self.failed.take().map(Err))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.ready.len() + self.range.len()))
    }
}

/// Results, and the error that ended them.
type Chunk<T> = (Vec<T>, Option<Error>);

/// Runs examples together. If that fails, runs them one by one up to the one that fails.
fn in_place<E, T>(
    examples: &[E],
    run: impl Fn(&[E]) -> Result<Vec<T>>,
    at: impl Fn(&E, Error) -> Error,
) -> Chunk<T> {
    if let Ok(results) = run(examples) {
        return (results, None);
    }
    let mut results = Vec::with_capacity(examples.len());
    for example in examples {
        match run(std::slice::from_ref(example)) {
            Ok(one) => results.extend(one),
            Err(error) => return (results, Some(at(example, error))),
        }
    }
    (results, None)
}

fn answers(qa: &QuestionAnswering, data: &Squad, range: Range<usize>) -> Result<Chunk<Prediction>> {
    let questions = &data.questions[range];
    let at = |id: &str, e: Error| -> Error {
        ErrorKind::Input { place: format!("{}, question `{id}`", data.file), problem: e.to_string() }.into()
    };
    let mut contexts: Vec<(usize, PreparedContext)> = Vec::new();
    for question in questions {
        if contexts.last().is_none_or(|(index, _)| *index != question.context) {
            let context = qa.prepare(data.context(question)).map_err(|e| at(&question.id, e))?;
            contexts.push((question.context, context));
        }
    }
    let mut current = 0;
    let pairs: Vec<(&str, &str, &PreparedContext)> = questions
        .iter()
        .map(|question| {
            current += usize::from(contexts[current].0 != question.context);
            (question.id.as_str(), question.question.as_str(), &contexts[current].1)
        })
        .collect();
    let rank = |batch: &[(&str, &str, &PreparedContext)]| {
        qa.rank(&batch.iter().map(|&(_, question, context)| (question, context)).collect::<Vec<_>>())
    };
    let (rankings, error) = in_place(&pairs, rank, |&(id, ..), e| at(id, e));
    Ok((rankings.into_iter().map(Prediction::from).collect(), error))
}

impl From<Ranking> for Prediction {
    fn from(ranking: Ranking) -> Self {
        let null_odds = ranking.null_odds();
        let candidate = |ranked: mobilebert::pipeline::RankedAnswer| Candidate {
            text: ranked.answer.answer,
            start: ranked.answer.start,
            end: ranked.answer.end,
            score: ranked.answer.score,
            start_logit: ranked.start_logit,
            end_logit: ranked.end_logit,
        };
        Prediction::Answers { answers: ranking.answers.into_iter().map(candidate).collect(), null_odds }
    }
}

fn classify(pipeline: &TextClassification, examples: &[Example]) -> Result<Vec<Classification>> {
    let pairs: Option<Vec<(&str, &str)>> =
        examples.iter().map(|e| e.pair.as_deref().map(|pair| (e.text.as_str(), pair))).collect();
    match pairs {
        Some(pairs) => pipeline.classify_pair_batch(&pairs),
        None => pipeline.classify_batch(&examples.iter().map(|e| e.text.as_str()).collect::<Vec<_>>()),
    }
}

fn prediction(
    result: &Classification,
    pipeline: &TextClassification,
    data: &Labelled,
    classes: &[Option<usize>],
) -> Prediction {
    let Some(best) = result.best() else { return Prediction::Value { value: f32::NAN } };
    if data.classes.is_empty() {
        return Prediction::Value { value: best.score };
    }
    let labels = &pipeline.engine().config().labels;
    let class_of = |label: &String| labels.iter().position(|l| l == label).and_then(|i| classes[i]);
    let mut probabilities = vec![0.0; data.classes.len()];
    for scored in &result.labels {
        if let Some(class) = class_of(&scored.label) {
            probabilities[class] += scored.score;
        }
    }
    Prediction::Class { class: class_of(&best.label).unwrap_or(data.classes.len()), probabilities }
}

/// Matches the model's labels with the classes of the data, by name (ignoring case) or by number.
pub(crate) fn classes_of(labels: &[String], data: &Labelled) -> Result<Vec<Option<usize>>> {
    let named = |label: &String| {
        data.classes.iter().position(|names| names.iter().any(|name| name.eq_ignore_ascii_case(label)))
    };
    let mut classes: Vec<Option<usize>> = labels.iter().map(named).collect();
    // Labels that are only numbers index the classes of the data in their usual order.
    let number = |label: &String| {
        let digits = label.strip_prefix("LABEL_").unwrap_or(label);
        digits.parse().ok().filter(|&i: &usize| i < data.classes.len())
    };
    if classes.iter().all(Option::is_none) {
        classes = labels.iter().map(number).collect();
    }
    let known = |gold: &Option<Gold>| match gold {
        Some(Gold::Class(class)) => classes.contains(&Some(*class)),
        _ => true,
    };
    match data.examples.iter().find(|example| !known(&example.gold)) {
        Some(example) => {
            let name = match example.gold {
                Some(Gold::Class(class)) => data.classes[class].join(" or "),
                _ => String::new(),
            };
            Err(data.error(example, format!("label `{name}` is none of the model's: {}", labels.join(", "))))
        }
        None => Ok(classes),
    }
}

/// A word has the label of its first token, and `O` if it has no token.
fn tags(pipeline: &TokenClassification, sentences: &[Sentence]) -> Result<Vec<Prediction>> {
    let texts: Vec<String> = sentences.iter().map(|sentence| sentence.words.join(" ")).collect();
    let (tokens, scheme) = (pipeline.tag_batch(&texts)?, pipeline.scheme());
    let predictions = sentences.iter().zip(tokens).map(|(sentence, tokens)| {
        let mut tokens = tokens.into_iter().peekable();
        let mut start = 0;
        let tag = |word: &String| {
            let end = start + word.len();
            while tokens.next_if(|token| token.start < start).is_some() {}
            start = end + 1;
            tokens.next_if(|token| token.start < end).map_or_else(|| "O".to_owned(), |token| token.label)
        };
        Prediction::Tags { tags: sentence.words.iter().map(tag).collect(), scheme }
    });
    Ok(predictions.collect())
}

fn wrong_data(task: Task, data: &Dataset) -> Error {
    let problem = format!("was read for another task than {task}");
    ErrorKind::Input { place: data.file().to_owned(), problem }.into()
}
