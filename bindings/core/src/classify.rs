//! Labels for texts and pairs of texts.

use mobilebert::{ClassifyOptions, TextClassification};

pub use mobilebert::{Classification, LabelScore};

use crate::failure::{Failure, Result};
use crate::list::{self, Inputs, Watch};
use crate::texts::Texts;

/// Labels each text, or each pair if there are second texts. `is_list` is false for a call with a single
/// text.
///
/// # Errors
/// The errors of [`TextClassification::classify_with`], for the first text that fails; `input` if there are
/// not as many second texts as first ones; `cancelled` and `deadline_exceeded` as `watch` says.
pub fn labels(
    pipeline: &TextClassification,
    texts: &dyn Texts,
    second: Option<&dyn Texts>,
    is_list: bool,
    options: &ClassifyOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<Classification>> {
    let count = texts.count();
    if let Some(found) = second.map(Texts::count).filter(|&found| found != count) {
        let problem = format!("there are {found} second texts for {count} texts; pass one for each");
        return Err(Failure::input("text_pair", problem));
    }
    let prepare = |index: usize| match second {
        Some(second) => pipeline.prepare_classify_pair(texts.text(index), second.text(index), options),
        None => pipeline.prepare_classify(texts.text(index), options),
    };
    let unit = if second.is_some() { "pair" } else { "text" };
    let mut results = Vec::new();
    list::run(pipeline.model(), Inputs::new(texts, is_list, unit), watch, prepare, |_, found| {
        results.push(found);
        Ok(())
    })?;
    Ok(results)
}
