//! Examples of a task as token sequences, with a target for each.

use super::loss::Targets;
use super::tags;
use crate::dataset::{Example, Gold, Labelled, Question, Squad};
use crate::task::{Dataset, classes_of};
use mobilebert::text::{Batch, Encoding, Span, TextIndex, TokenizedText, Tokenizer, WindowOptions};
use mobilebert::{Error, ErrorKind, ModelConfig, Result};

/// The training data: token sequences and their targets.
pub(super) struct Examples {
    pub(super) sequences: Vec<Encoding>,
    /// How many sequences, one after another, belong to one target: two of a pair of texts, otherwise one.
    pub(super) each: usize,
    pub(super) targets: Targets,
    /// Sequences that were cut to the longest length.
    pub(super) cut: usize,
}

impl Examples {
    /// Encodes a dataset. Texts are cut at `max_seq_len` tokens, and contexts are split into windows.
    pub(super) fn new(
        data: &Dataset,
        config: &ModelConfig,
        tokenizer: &Tokenizer,
        max_seq_len: usize,
    ) -> Result<Self> {
        match data {
            Dataset::Labelled(data) => labelled(data, config, tokenizer, max_seq_len),
            Dataset::Squad(data) => squad(data, tokenizer, max_seq_len),
            Dataset::Tagged(data) => tags::examples(data, config, tokenizer, max_seq_len),
        }
    }

    /// The number of targets.
    pub(super) fn len(&self) -> usize {
        self.sequences.len() / self.each
    }

    /// A batch of the sequences of the given examples, and their targets.
    pub(super) fn batch(&self, examples: &[usize]) -> Result<(Batch, Targets)> {
        let mut batch = Batch::new();
        for &example in examples {
            for sequence in &self.sequences[example * self.each..(example + 1) * self.each] {
                batch.push(sequence.ids(), sequence.type_ids())?;
            }
        }
        Ok((batch, self.targets.of(examples)))
    }
}

fn labelled(
    data: &Labelled,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    max_seq_len: usize,
) -> Result<Examples> {
    let (mut sequences, mut cut) = (Vec::with_capacity(data.examples.len()), 0);
    for example in &data.examples {
        let at = |e: Error| data.error(example, e.to_string());
        let tokens = |text: &str, what| {
            let tokens = tokenizer.tokenize(text)?;
            if tokens.is_empty() { Err(Error::from(ErrorKind::EmptyText { what })) } else { Ok(tokens) }
        };
        let text = tokens(&example.text, "text").map_err(at)?;
        let pair = example.pair.as_deref().map(|pair| tokens(pair, "second text")).transpose().map_err(at)?;
        let (encoding, is_cut) = text.encode_truncated(pair.as_ref(), max_seq_len)?;
        sequences.push(encoding);
        cut += usize::from(is_cut);
    }
    Ok(Examples { sequences, each: 1, targets: labels(data, config)?, cut })
}

fn labels(data: &Labelled, config: &ModelConfig) -> Result<Targets> {
    let unlabelled = |example: &Example| data.error(example, "has no label to learn from");
    if data.classes.is_empty() {
        if config.labels.len() != 1 {
            let expected = "one with a single output, for regression";
            return Err(Error::option("model", expected, config.labels.len()));
        }
        let value = |example: &Example| match example.gold {
            Some(Gold::Value(value)) => Ok(value as f32),
            _ => Err(unlabelled(example)),
        };
        return Ok(Targets::Values(data.examples.iter().map(value).collect::<Result<_>>()?));
    }
    let classes = classes_of(&config.labels, data)?;
    let label = |example: &Example| {
        let Some(Gold::Class(class)) = example.gold else { return Err(unlabelled(example)) };
        let label = classes.iter().position(|&means| means == Some(class));
        label.map(|label| label as u32).ok_or_else(|| unlabelled(example))
    };
    Ok(Targets::Labels(data.examples.iter().map(label).collect::<Result<_>>()?))
}

/// Splits contexts into windows as the pipeline does. The target of a window without the answer is `[CLS]`,
/// as in `run_squad.py`.
fn squad(data: &Squad, tokenizer: &Tokenizer, max_seq_len: usize) -> Result<Examples> {
    let options = WindowOptions::new(max_seq_len);
    let (mut sequences, mut spans) = (Vec::new(), Vec::new());
    let mut current: Option<(usize, TokenizedText)> = None;
    for question in &data.questions {
        let at = |problem: String| {
            Error::from(ErrorKind::Input {
                place: format!("{}, question `{}`", data.file, question.id),
                problem,
            })
        };
        let context = match current.take().filter(|(index, _)| *index == question.context) {
            Some((_, context)) => context,
            None => tokenizer.tokenize(data.context(question)).map_err(|e| at(e.to_string()))?,
        };
        let asked = tokenizer.tokenize(&question.question).map_err(|e| at(e.to_string()))?;
        let answer = answer(data, question, &context).map_err(at)?;
        for window in context.windows_with_question(&asked, &options).map_err(|e| at(e.to_string()))? {
            let tokens = window.tokens();
            let span = answer.filter(|[first, last]| tokens.contains(first) && tokens.contains(last));
            let place = |token: usize| (window.positions().start + token - tokens.start) as u32;
            spans.push(span.map_or([0, 0], |ends| ends.map(place)));
            sequences.push(window.into_encoding());
        }
        current = Some((question.context, context));
    }
    Ok(Examples { sequences, each: 1, targets: Targets::Spans(spans), cut: 0 })
}

/// First and last token of the first reference answer in the context; `None` if there is no answer.
fn answer(data: &Squad, question: &Question, context: &TokenizedText) -> Result<Option<[usize; 2]>, String> {
    let Some(answer) = question.answers.first() else { return Ok(None) };
    let start = TextIndex::new(data.context(question)).byte_of_char(answer.answer_start).unwrap_or_default();
    let answer_span = Span::new(start, start + answer.text.len());
    let first = context.spans().iter().position(|span| span.end > answer_span.start);
    let last = context.spans().iter().rposition(|span| span.start < answer_span.end);
    match (first, last) {
        (Some(first), Some(last)) if first <= last => Ok(Some([first, last])),
        _ => Err(format!("the answer `{}` holds no token", answer.text)),
    }
}
