//! Tensor mode: token ids in, logits out.

use std::sync::Arc;

use mobilebert::Batch;
use mobilebert::backend::Request as EngineRequest;

use super::compute::{Made, check_names, run};
use super::tensor::{Elements, Output, Tensor, Values};
use crate::call::{Run, check_numbers};
use crate::dialect::shape;
use crate::error::{Refusal, Result};
use crate::models::{Served, Task};
use crate::work::{AnyJob, Found, RawJob, Unit};

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

/// Makes a job for each row of token ids, and the tensor of their logits.
pub(super) fn token_ids(model: &Arc<Served>, tensors: &[Tensor]) -> Result<Run<Made>> {
    const NAMES: [&str; 3] = ["input_ids", "attention_mask", "token_type_ids"];
    check_names(tensors, &NAMES)?;
    let shape = tensors.iter().find(|tensor| tensor.name == NAMES[0]).map(|tensor| tensor.shape.clone());
    let shape = shape.unwrap_or_default();
    let [ids, mask, types] = NAMES.map(|name| matrix(tensors, name, &shape).map(|numbers| (name, numbers)));
    let read = |(name, numbers): (&'static str, Option<&[i64]>), missing: u32, count: usize| match numbers {
        Some(numbers) => unsigned(name, numbers),
        None => Ok(vec![missing; count]),
    };
    let ids = read(ids?, 0, 0)?;
    let (mask, types) = (read(mask?, 1, ids.len())?, read(types?, 0, ids.len())?);
    let (rows, width) = (shape.first().copied().unwrap_or(0), shape.get(1).copied().unwrap_or(0));
    let numbers = model.row_width();
    let per_row = if model.is_one_row() { numbers } else { width.saturating_mul(numbers) };
    check_numbers("the logits", rows, per_row)?;
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
        Ok(Made::whole(vec![Output { name: "logits", shape, values: Values::Floats(all) }]))
    };
    Ok(run(model, jobs, Box::new(render)))
}
