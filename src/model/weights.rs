//! The weights of a graph, found in a checkpoint and checked: every parameter present, of the right shape and type, and
//! no tensor without a place.

use std::borrow::Cow;

use super::names;
use crate::config::{ModelConfig, QuantizationConfig};
use crate::error::{Error, ErrorKind, Result, TensorProblem};
use crate::format::{Checkpoint, ElementType, Tensor, WeightSource};
use crate::graph::{Graph, Parameter, ParameterId};

/// A checkpoint bound to a graph.
#[derive(Debug)]
pub struct Weights {
    checkpoint: Checkpoint,
    /// Name in the checkpoint and, for int8 tensors, the name of its scales: one per parameter.
    bound: Vec<(String, Option<String>)>,
    extra: Vec<String>,
}

impl Weights {
    /// Finds and checks the tensors of `graph`.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] for a tensor that is missing, misshapen, of a type that cannot be read, or unknown to the
    /// architecture; [`ErrorKind::Tensors`] if there are several.
    pub fn bind(checkpoint: Checkpoint, config: &ModelConfig, graph: &Graph) -> Result<Self> {
        let mut bound = Vec::with_capacity(graph.parameters.len());
        let mut problems = Problems::default();
        let suffix = config.quantization.as_ref().map_or("", |q| &q.scale_suffix);
        // A tensor that cannot be bound has its place nevertheless: it is not unknown on top.
        let mut wrong = Vec::new();
        for parameter in &graph.parameters {
            match bind(&checkpoint, config, parameter, problems.wants_details()) {
                Ok(names) => bound.push(names),
                Err(error) => {
                    problems.add(error);
                    for name in names::candidates(config, &parameter.name) {
                        wrong.push(format!("{name}{suffix}"));
                        wrong.push(name);
                    }
                }
            }
        }
        let mut claimed: Vec<&str> = bound
            .iter()
            .flat_map(|(name, scale)| [Some(name), scale.as_ref()])
            .flatten()
            .chain(&wrong)
            .map(String::as_str)
            .collect();
        claimed.sort_unstable();
        let mut extra = Vec::new();
        for (name, _) in checkpoint.entries() {
            if claimed.binary_search(&name).is_ok() {
                continue;
            }
            if !names::is_known_extra(config, name.strip_suffix(suffix).unwrap_or(name)) {
                problems.add(Error::tensor(checkpoint.file_of(name), name, TensorProblem::Unknown));
                continue;
            }
            extra.push(name.to_owned());
        }
        problems.finish()?;
        Ok(Self { checkpoint, bound, extra })
    }

    /// The checkpoint behind it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Tensors of the checkpoint that the architecture knows but this graph does not read (other heads, buffers).
    pub fn extra(&self) -> &[String] {
        &self.extra
    }

    /// The name a parameter has in the checkpoint.
    pub fn name(&self, parameter: ParameterId) -> &str {
        &self.bound[parameter.0].0
    }
}

impl WeightSource for Weights {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        let (name, scale) = &self.bound[parameter.0];
        let Some(scale) = scale else { return Ok(Tensor::F32(self.checkpoint.f32(name)?)) };
        let scales = self.checkpoint.f32(scale)?;
        let values = self.checkpoint.i8(name)?;
        let invalid =
            |tensor: &str, problem| Err(Error::tensor(self.checkpoint.file_of(tensor), tensor, problem));
        // Without leaving a chunk early it runs on vectors: a third of the time.
        let bad = |chunk: &[i8]| chunk.iter().fold(false, |bad, &v| bad | (v == i8::MIN));
        if values.chunks(4096).any(bad) {
            let index = values.iter().take_while(|&&v| v != i8::MIN).count();
            return invalid(name, TensorProblem::Asymmetric { index });
        }
        if let Some(index) = scales.iter().position(|&s| s <= 0.0) {
            return invalid(scale, TensorProblem::Scale { index, value: scales[index] });
        }
        Ok(Tensor::Int8 { values: Cow::Borrowed(values), scales })
    }
}

/// What is wrong with the tensors of one checkpoint: the first few, and how many there are.
#[derive(Default)]
struct Problems {
    first: Vec<Error>,
    total: usize,
}

impl Problems {
    /// Enough to see a pattern, few enough to read.
    const MOST: usize = 10;

    /// Whether the next problem will be shown. A checkpoint can have very many, so their details are not looked for.
    fn wants_details(&self) -> bool {
        self.first.len() < Self::MOST
    }

    fn add(&mut self, error: Error) {
        if self.wants_details() {
            self.first.push(error);
        }
        self.total += 1;
    }

    fn finish(mut self) -> Result<()> {
        if self.total < 2 {
            return self.first.pop().map_or(Ok(()), Err);
        }
        let mut files = Vec::new();
        let mut problems = Vec::new();
        for error in self.first {
            match error.kind() {
                ErrorKind::Tensor { file, tensor, problem } => {
                    files.push(file.clone());
                    problems.push((tensor.clone(), problem.clone()));
                }
                _ => return Err(error),
            }
        }
        files.dedup();
        Err(ErrorKind::Tensors { file: files.join(", "), problems, total: self.total }.into())
    }
}

fn bind(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    parameter: &Parameter,
    look_for_nearest: bool,
) -> Result<(String, Option<String>)> {
    let candidates = names::candidates(config, &parameter.name);
    let Some(name) = candidates.iter().find(|name| checkpoint.entry(name).is_some()) else {
        let problem = TensorProblem::Missing {
            expected: parameter.shape.clone(),
            nearest: look_for_nearest.then(|| nearest(checkpoint, &candidates[0])).flatten(),
        };
        return Err(Error::tensor(checkpoint.file_of(&candidates[0]), &candidates[0], problem));
    };
    check_shape(checkpoint, name, &parameter.shape)?;
    let int8 = checkpoint.entry(name).is_some_and(|e| e.dtype == Ok(ElementType::I8));
    match &config.quantization {
        Some(QuantizationConfig { scale_suffix, .. }) if int8 => {
            let scale = format!("{name}{scale_suffix}");
            if checkpoint.entry(&scale).is_none() {
                let problem = TensorProblem::Missing { expected: vec![parameter.shape[0]], nearest: None };
                return Err(Error::tensor(checkpoint.file_of(name), &scale, problem));
            }
            check_shape(checkpoint, &scale, &parameter.shape[..1])?;
            checkpoint.check_float(&scale)?;
            Ok((name.clone(), Some(scale)))
        }
        _ if int8 => {
            let expected = "F32, F16, BF16 or F64 (int8 needs `quantization_config` in config.json)";
            let problem = TensorProblem::Dtype { expected, found: ElementType::I8.name().to_owned() };
            Err(Error::tensor(checkpoint.file_of(name), name, problem))
        }
        _ => {
            checkpoint.check_float(name)?;
            Ok((name.clone(), None))
        }
    }
}

fn check_shape(checkpoint: &Checkpoint, name: &str, expected: &[usize]) -> Result<()> {
    match checkpoint.entry(name) {
        Some(entry) if entry.shape != expected => {
            let problem = TensorProblem::Shape { expected: expected.to_vec(), found: entry.shape.clone() };
            Err(Error::tensor(checkpoint.file_of(name), name, problem))
        }
        _ => Ok(()),
    }
}

/// The tensor whose name ends most like the one that is missing, if the last two parts agree: what a prefix or a
/// renamed module leaves.
fn nearest(checkpoint: &Checkpoint, missing: &str) -> Option<String> {
    let common =
        |name: &str| name.bytes().rev().zip(missing.bytes().rev()).take_while(|(a, b)| a == b).count();
    let (name, _) = checkpoint.entries().max_by_key(|(name, _)| common(name))?;
    let tail: usize = missing.rsplit('.').take(2).map(|part| part.len() + 1).sum();
    (common(name) + 1 >= tail).then(|| name.to_owned())
}
