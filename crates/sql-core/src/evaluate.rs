//! Runs a call on batches of rows.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow_array::ArrayRef;
use mobilebert::{Embedding, ErrorKind, Job, RunControl};

use crate::array;
use crate::call::{Call, Function, OnError};
use crate::counts::{Counters, Counts};
use crate::error::{Error, Result};
use crate::memo::{Key, Limits, Memo};
use crate::models::{Loaded, Models};
use crate::texts::{Argument, Texts};
use crate::value::Value;

/// Stops calls. Clones stop the same calls, and any thread may do it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<Mutex<Flag>>);

/// What the calls of one statement look at. Once it is set, it stays so.
pub(crate) type Flag = Arc<AtomicBool>;

impl Stop {
    /// Lets calls run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops all calls before their next pass through the model.
    pub fn stop(&self) {
        self.flag().store(true, Ordering::Relaxed);
    }

    /// Lets the calls run that begin from now on. Those that were stopped before stay stopped, even if they
    /// have not noticed it yet.
    pub fn renew(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Flag::default();
    }

    /// True if calls that begin now would stop.
    pub fn is_set(&self) -> bool {
        self.flag().load(Ordering::Relaxed)
    }

    fn flag(&self) -> Flag {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A call that runs. It is shared by all threads of a query, and each batch runs on the thread that brings
/// it: the engine has no threads of its own here.
#[derive(Debug)]
pub struct Evaluator {
    models: Models,
    call: Call,
    memo: Memo,
    counters: Counters,
    stop: Stop,
}

/// The batches that a memo holds for each thread.
const BATCHES: usize = 4;
/// The memory for batches. The last one of each thread is kept even if it is larger, because the SQL engine
/// has it in memory, too.
const BATCH_BYTES: usize = 64 << 20;
/// The memory for texts and their values, about. A filter that keeps one row of a hundred fills its next
/// batch of 1,024 rows only after it has read 102,400. When that batch is computed, the values of its texts
/// have to be known still.
const TEXT_BYTES: usize = 64 << 20;
/// The texts that are counted before the flag is looked at. Forward passes look at it more often.
const CHUNK: usize = 256;

impl Evaluator {
    /// Makes an evaluator.
    pub fn new(models: Models, call: Call) -> Self {
        let memo = Memo::new(limits(TEXT_BYTES));
        Self { models, call, memo, counters: Counters::new(), stop: Stop::new() }
    }

    /// Lets this stop the call.
    #[must_use]
    pub fn with_stop(mut self, stop: Stop) -> Self {
        self.stop = stop;
        self
    }

    /// Counts with these counters.
    #[must_use]
    pub fn with_counters(mut self, counters: Counters) -> Self {
        self.counters = counters;
        self
    }

    /// Keeps texts and their values of about this many bytes, beside the last batches.
    #[must_use]
    pub fn with_memory(mut self, bytes: usize) -> Self {
        self.memo = Memo::new(limits(bytes));
        self
    }

    /// Returns the call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Returns what was done so far.
    pub fn counts(&self) -> Counts {
        self.counters.get()
    }

    /// Computes the results for a batch of rows, as an array of the call's [`Call::data_type`]. A row with a
    /// NULL among its texts is NULL. Each distinct text, or pair of texts, is computed once, and has the bits
    /// that a call of the engine has for it alone.
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::NotText`] for arguments that do not fit; [`Error::Row`] for a text that
    /// the model cannot read, with [`OnError::Fail`]; [`Error::Model`] and [`Error::OtherModel`] for the
    /// model; [`Error::Cancelled`] if the call was stopped.
    pub fn evaluate(&self, arguments: &[Argument], rows: usize) -> Result<ArrayRef> {
        let function = self.call.function();
        if arguments.len() != function.texts().len() {
            let expected = format!("the texts {}", function.texts().join(", "));
            return Err(Error::Shape { function, expected, found: format!("{} arguments", arguments.len()) });
        }
        self.counters.called(rows);
        let flag = self.stop.flag();
        if let Some(result) = self.memo.batch(arguments).filter(|result| result.len() == rows) {
            return Ok(result);
        }
        let mut texts = Texts::default();
        let mut columns = Vec::with_capacity(arguments.len());
        for (index, argument) in arguments.iter().enumerate() {
            columns.push(texts.add(argument, rows, (function, index))?);
        }
        let result = match &columns[..] {
            [first, second] if function == Function::Similarity => {
                self.similarities(texts.all(), first, second, &flag)?
            }
            [first, second] => {
                let pair = |(a, b): (&Option<usize>, &Option<usize>)| Some(((*a)?, Some((*b)?)));
                let pairs: Vec<_> = first.iter().zip(second).map(pair).collect();
                let (keys, numbers) = distinct(texts.all(), &pairs);
                self.values(&keys, &numbers, &flag)?
            }
            columns => {
                // The texts of one column are distinct already.
                let keys: Vec<Key<'_>> = texts.all().iter().map(|text| (*text, None)).collect();
                self.values(&keys, columns.first().map_or(&[], Vec::as_slice), &flag)?
            }
        };
        self.memo.keep_batch(arguments, &result);
        Ok(result)
    }

    /// Makes the array of the rows' values. `numbers` says which key each row has.
    fn values(&self, keys: &[Key<'_>], numbers: &[Option<usize>], flag: &Flag) -> Result<ArrayRef> {
        let values = self.known_or_computed(keys, numbers, flag)?;
        let of_row = |number: &Option<usize>| match number.map(|number| &*values[number]) {
            None | Some(Value::Failed) => None,
            Some(value) => Some(value),
        };
        array::of(&self.call.data_type(), &numbers.iter().map(of_row).collect::<Vec<_>>())
    }

    /// Makes the array of the cosines of each row's two vectors. A text of several rows is read once.
    fn similarities(
        &self,
        texts: &[&str],
        first: &[Option<usize>],
        second: &[Option<usize>],
        flag: &Flag,
    ) -> Result<ArrayRef> {
        let pairs: Vec<_> = first.iter().zip(second).map(|(a, b)| Some(((*a)?, (*b)?))).collect();
        let both = pairs.iter().flat_map(|pair| [pair.map(|(a, _)| (a, None)), pair.map(|(_, b)| (b, None))]);
        let (keys, numbers) = distinct(texts, &both.collect::<Vec<_>>());
        let values = self.known_or_computed(&keys, &numbers, flag)?;
        let cosine = |pair: &[Option<usize>]| {
            let vector = |number: Option<usize>| match &*values[number?] {
                Value::Vector(vector) => Some(&vector[..]),
                _ => None,
            };
            Some(cosine(vector(pair[0])?, vector(pair[1])?))
        };
        Ok(array::cosines(numbers.chunks_exact(2).map(cosine)))
    }

    /// Returns the value of each key. `rows` says which key each row has.
    fn known_or_computed(
        &self,
        keys: &[Key<'_>],
        rows: &[Option<usize>],
        flag: &Flag,
    ) -> Result<Vec<Arc<Value>>> {
        let mut values = self.memo.texts(keys);
        let unknown: Vec<usize> = (0..keys.len()).filter(|&key| values[key].is_none()).collect();
        let per_row = if self.call.function() == Function::Similarity { 2 } else { 1 };
        if !unknown.is_empty() {
            let wanted: Vec<Key<'_>> = unknown.iter().map(|&key| keys[key]).collect();
            self.compute(&wanted, flag, |index, result| {
                let key = unknown[index];
                let failed = matches!(&result, Err(error) if is_of_text(error.kind()));
                let value = match result {
                    Ok(value) => value,
                    Err(_) if failed && self.call.options().on_error == OnError::Null => Value::Failed,
                    Err(source) if failed => {
                        let row = rows.iter().position(|row| *row == Some(key)).unwrap_or(0) / per_row;
                        let texts = quoted(keys[key]);
                        return Err(Error::Row { function: self.call.function(), row, texts, source });
                    }
                    Err(source) => return Err(self.failed(source)),
                };
                self.counters.computed(failed);
                let value = Arc::new(value);
                self.memo.keep_text(keys[key], &value);
                values[key] = Some(value);
                Ok(())
            })?;
        }
        // Each unknown one was delivered, or there was an error.
        values.into_iter().map(|value| value.ok_or(Error::Cancelled)).collect()
    }

    /// Sends texts through the model, and hands each result to `deliver` with the text's index.
    fn compute(
        &self,
        keys: &[Key<'_>],
        flag: &Flag,
        deliver: impl FnMut(usize, mobilebert::Result<Value>) -> Result<()>,
    ) -> Result<()> {
        let loaded = self.models.open(self.call.model())?;
        let failed = |source| self.failed(source);
        let second = |key: &Key<'_>| key.1.unwrap_or_default().to_owned();
        match self.call.function() {
            Function::Classify => {
                let task = loaded.classifier().map_err(failed)?;
                let jobs = keys.iter().map(|key| task.prepare_classify(key.0, task.options()));
                self.run(&loaded, flag, jobs, Value::Labels, deliver)
            }
            Function::Scores => {
                let task = loaded.classifier().map_err(failed)?;
                let mut options = task.options().clone();
                options.top_k = usize::MAX;
                let jobs = keys.iter().map(|key| task.prepare_classify(key.0, &options));
                self.run(&loaded, flag, jobs, Value::Labels, deliver)
            }
            Function::ClassifyPair => {
                let task = loaded.classifier().map_err(failed)?;
                let jobs =
                    keys.iter().map(|key| task.prepare_classify_pair(key.0, &second(key), task.options()));
                self.run(&loaded, flag, jobs, Value::Labels, deliver)
            }
            Function::Answer => {
                let task = loaded.answerer(self.call.options()).map_err(failed)?;
                // Rows with the same context often stand together.
                let mut last = None;
                let jobs = keys.iter().map(|key| {
                    let context = match last.take() {
                        Some((text, context)) if Some(text) == key.1 => context,
                        _ => task.prepare(key.1.unwrap_or_default())?,
                    };
                    let job = task.prepare_answer(key.0, &context, task.options());
                    last = key.1.map(|text| (text, context));
                    job
                });
                let best = |found: Vec<mobilebert::Answer>| {
                    Value::Answer(found.into_iter().next().filter(|best| !best.answer.is_empty()))
                };
                self.run(&loaded, flag, jobs, best, deliver)
            }
            Function::Tag => {
                let task = loaded.tagger().map_err(failed)?;
                let jobs = keys.iter().map(|key| task.prepare_tag(key.0, task.options()));
                self.run(&loaded, flag, jobs, Value::Entities, deliver)
            }
            Function::FillMask => {
                let task = loaded.filler().map_err(failed)?;
                let jobs = keys.iter().map(|key| task.prepare_fill(key.0, task.options()));
                self.run(&loaded, flag, jobs, Value::Fills, deliver)
            }
            Function::Embed | Function::Similarity => {
                let task = loaded.embedder().map_err(failed)?;
                let jobs = keys.iter().map(|key| task.prepare_embed(key.0, task.options()));
                let vector = |found: Embedding| Value::Vector(found.embedding);
                self.run_on(task.model(), flag, jobs, vector, deliver)
            }
            Function::Tokens => self.count(&loaded, flag, keys, deliver),
        }
    }

    fn run<J: Job>(
        &self,
        loaded: &Loaded,
        flag: &Flag,
        jobs: impl Iterator<Item = mobilebert::Result<J>>,
        value: impl Fn(J::Output) -> Value,
        deliver: impl FnMut(usize, mobilebert::Result<Value>) -> Result<()>,
    ) -> Result<()> {
        self.run_on(loaded.model(), flag, jobs, value, deliver)
    }

    /// Runs jobs until the first error of `deliver`, or until the call is stopped.
    fn run_on<J: Job>(
        &self,
        model: &mobilebert::Model,
        flag: &Flag,
        jobs: impl Iterator<Item = mobilebert::Result<J>>,
        value: impl Fn(J::Output) -> Value,
        mut deliver: impl FnMut(usize, mobilebert::Result<Value>) -> Result<()>,
    ) -> Result<()> {
        let (problem, has_problem) = (RefCell::new(None), Cell::new(false));
        let mut watch = |_| match has_problem.get() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut control = RunControl::default();
        control.cancel = Some(Arc::clone(flag));
        control.on_pass = Some(&mut watch);
        // Once there is a problem, no further text is prepared.
        let jobs = jobs.take_while(|_| !has_problem.get());
        let ran = model.run_each(jobs, &mut control, |index, result| {
            if !has_problem.get()
                && let Err(error) = deliver(index, result.map(&value))
            {
                *problem.borrow_mut() = Some(error);
                has_problem.set(true);
            }
        });
        if let Some(problem) = problem.into_inner() {
            return Err(problem);
        }
        ran.map_err(|source| self.failed(source))
    }

    fn count(
        &self,
        loaded: &Loaded,
        flag: &Flag,
        keys: &[Key<'_>],
        mut deliver: impl FnMut(usize, mobilebert::Result<Value>) -> Result<()>,
    ) -> Result<()> {
        let tokenizer = loaded.model().tokenizer();
        for (index, key) in keys.iter().enumerate() {
            if index % CHUNK == 0 && flag.load(Ordering::Relaxed) {
                return Err(Error::Cancelled);
            }
            let tokens =
                tokenizer.tokenize(key.0).map(|tokens| i32::try_from(tokens.len()).unwrap_or(i32::MAX));
            deliver(index, tokens.map(Value::Count))?;
        }
        Ok(())
    }

    fn failed(&self, source: mobilebert::Error) -> Error {
        match source.kind() {
            ErrorKind::Cancelled { .. } => Error::Cancelled,
            _ => Error::Model { name: self.call.model().name().to_owned(), source },
        }
    }
}

/// Returns what a memo holds with this memory for texts.
fn limits(text_bytes: usize) -> Limits {
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    Limits { threads, batches: BATCHES * threads, batch_bytes: BATCH_BYTES, text_bytes }
}

/// Returns the beginning of a text, or of both texts, for a message.
fn quoted(key: Key<'_>) -> String {
    const CHARS: usize = 60;
    let beginning = |text: &str| match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    };
    match key {
        (first, None) => format!("the text {}", beginning(first)),
        (first, Some(second)) => format!("the texts {} and {}", beginning(first), beginning(second)),
    }
}

/// True if the text of the row is at fault, and not the model or the machine.
fn is_of_text(kind: &ErrorKind) -> bool {
    matches!(kind, ErrorKind::EmptyText { .. } | ErrorKind::TooLong { .. } | ErrorKind::Input { .. })
}

/// Returns the distinct keys of rows in the order in which they first appear, and the number of each row's
/// key.
fn distinct<'a>(
    texts: &[&'a str],
    rows: &[Option<(usize, Option<usize>)>],
) -> (Vec<Key<'a>>, Vec<Option<usize>>) {
    let (mut keys, mut known) = (Vec::new(), HashMap::new());
    let mut number = |row: (usize, Option<usize>)| {
        *known.entry(row).or_insert_with(|| {
            keys.push((texts[row.0], row.1.map(|second| texts[second])));
            keys.len() - 1
        })
    };
    let numbers = rows.iter().map(|row| row.map(&mut number)).collect();
    (keys, numbers)
}

/// The same sums in the same order as [`Embedding::cosine`].
fn cosine(some: &[f32], others: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let lengths = (dot(some, some) * dot(others, others)).sqrt();
    if lengths > 0.0 { dot(some, others) / lengths } else { 0.0 }
}
