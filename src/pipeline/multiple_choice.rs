//! Multiple choice, which finds the continuation that fits a prompt.

use super::model::check_head;
use crate::config::Head;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::text::{Batch, Tokenizer};

/// Scores each choice as a continuation of the prompt and returns one logit per choice, in order. The largest
/// is the model's choice, and their softmax gives probabilities. Each choice is a sequence of its own,
/// `[CLS] prompt [SEP] choice [SEP]`, and all of them run in one pass. Without choices there are no logits.
///
/// # Errors
/// [`crate::ErrorKind::WrongTask`] if the engine's model has no multiple-choice head, and
/// [`crate::ErrorKind::Option`] if it was opened without it; [`crate::ErrorKind::Batch`] if a prompt and a
/// choice together are longer than the model allows; the errors of the tokenizer and of the engine.
///
/// ```no_run
/// use mobilebert::pipeline::score_choices;
/// use mobilebert::{Engine, EngineOptions, ModelFiles};
///
/// let files = ModelFiles::resolve("my-swag-model")?;
/// let engine = Engine::from_files(&files, None, EngineOptions::new())?;
/// let choices = ["He cuts it with a knife.", "He sings to it."];
/// let logits = score_choices(&files.tokenizer()?, &engine, "A man sits down to a pizza.", &choices)?;
/// assert_eq!(logits.len(), 2);
/// # Ok::<(), mobilebert::Error>(())
/// ```
pub fn score_choices(
    tokenizer: &Tokenizer,
    engine: &Engine,
    prompt: &str,
    choices: &[&str],
) -> Result<Vec<f32>> {
    check_head(engine.config(), Head::MultipleChoice, "multiple choice")?;
    let graph = engine.backend().graph();
    let out = engine.config().family.choice.out;
    if graph.nodes.last().is_none_or(|node| node.name != out || node.width != 1) {
        return Err(Error::option(
            "engine",
            "one that was opened with its multiple-choice head",
            "another head",
        ));
    }
    let prompt = tokenizer.tokenize(prompt)?;
    let mut batch = Batch::new();
    for choice in choices {
        let encoding = prompt.encode_pair(&tokenizer.tokenize(choice)?);
        batch.push(encoding.ids(), encoding.type_ids())?;
    }
    Ok(engine.forward(&batch)?.values().to_vec())
}
