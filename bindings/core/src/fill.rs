//! Words for masks.

use mobilebert::{FillMask, FillOptions};

pub use mobilebert::Fill;

use crate::failure::Result;
use crate::list::{self, Inputs, Watch};
use crate::texts::Texts;

/// Finds the best words for each mask of each text. `is_list` is false for a call with a single text.
///
/// # Errors
/// The errors of [`FillMask::fill_with`], for the first text that fails; `cancelled` and
/// `deadline_exceeded` as `watch` says.
pub fn fills(
    pipeline: &FillMask,
    texts: &dyn Texts,
    is_list: bool,
    options: &FillOptions,
    watch: &mut Watch<'_>,
) -> Result<Vec<Vec<Vec<Fill>>>> {
    let prepare = |index: usize| pipeline.prepare_fill(texts.text(index), options);
    let inputs = Inputs::new(texts, is_list, "text");
    let mut results = Vec::new();
    list::run(pipeline.model(), inputs, watch, prepare, |_, found| {
        results.push(found);
        Ok(())
    })?;
    Ok(results)
}
