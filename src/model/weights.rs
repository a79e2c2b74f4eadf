//! Finds the weights of a graph in a checkpoint and checks them: every parameter is present, with the right
//! shape and type, and no tensor is unknown.

use std::borrow::Cow;

use super::names;
use crate::config::{Head, ModelConfig, QuantizationConfig};
use crate::error::{Error, ErrorKind, Result, TensorProblem};
use crate::format::{Checkpoint, ElementType, Tensor, WeightSource};
use crate::graph::{Graph, Parameter, ParameterId};
use crate::quant::{self, MAX_MULTIPLIER};

/// A checkpoint bound to a graph.
#[derive(Debug)]
pub struct Weights {
    checkpoint: Checkpoint,
    /// The bound tensors, one for each parameter.
    bound: Vec<Bound>,
    extra: Vec<String>,
}

/// The tensor of a checkpoint that a parameter is bound to.
#[derive(Debug)]
struct Bound {
    name: String,
    stored: Stored,
}

/// The form in which a checkpoint stores a parameter, with the names of the tensors that belong to it.
#[derive(Debug)]
enum Stored {
    Float,
    /// The parameter is not stored, and the original fills it with zeros.
    Zeros {
        length: usize,
    },
    Int8 {
        scales: String,
    },
    Int4 {
        scales: String,
        multipliers: String,
        columns: usize,
    },
}

impl Bound {
    fn names(&self) -> impl Iterator<Item = &str> {
        let (scales, multipliers) = match &self.stored {
            Stored::Float | Stored::Zeros { .. } => (None, None),
            Stored::Int8 { scales } => (Some(scales), None),
            Stored::Int4 { scales, multipliers, .. } => (Some(scales), Some(multipliers)),
        };
        [Some(&self.name), scales, multipliers].into_iter().flatten().map(String::as_str)
    }
}

impl Weights {
    /// Opens a checkpoint: returns the graph of a configuration with a head, and the weights of the graph.
    ///
    /// A checkpoint may store a masked-LM decoder that differs from the word embeddings although its
    /// configuration ties the two. `transformers` then uses the stored one, and so does the graph that this
    /// function returns. [`ModelConfig::own_decoder`] is then set. [`crate::model::build`] and
    /// [`Weights::bind`] follow the configuration alone.
    ///
    /// # Errors
    /// The errors of [`Weights::bind`].
    pub fn open(checkpoint: Checkpoint, config: &mut ModelConfig, head: Head) -> Result<(Graph, Self)> {
        let may_be_tied = head == Head::MaskedLm && config.tie_word_embeddings;
        config.own_decoder = may_be_tied && stores_own_decoder(&checkpoint, config)?;
        let graph = super::build(config, head);
        let weights = Self::bind(checkpoint, config, &graph)?;
        Ok((graph, weights))
    }

    /// Finds and checks the tensors of `graph`.
    ///
    /// # Errors
    /// [`ErrorKind::Tensor`] for a tensor that is missing, misshapen, of a type that cannot be read, or
    /// unknown to the architecture; [`ErrorKind::Tensors`] if there are several.
    pub fn bind(checkpoint: Checkpoint, config: &ModelConfig, graph: &Graph) -> Result<Self> {
        let mut bound = Vec::with_capacity(graph.parameters.len());
        let mut problems = Problems::default();
        let suffix = config.quantization.as_ref().map_or("", |q| &q.scale_suffix);
        let group_suffix = if is_int4(config) { QuantizationConfig::GROUP_SUFFIX } else { "" };
        // A tensor that cannot be bound still has a place, so it is not reported as unknown too.
        let mut wrong = Vec::new();
        for parameter in &graph.parameters {
            match bind(&checkpoint, config, parameter, problems.wants_details()) {
                Ok(names) => bound.push(names),
                Err(error) => {
                    problems.add(error);
                    for name in names::candidates(config, &parameter.name) {
                        wrong.push(format!("{name}{suffix}"));
                        wrong.push(format!("{name}{group_suffix}"));
                        wrong.push(name);
                    }
                }
            }
        }
        let mut claimed: Vec<&str> =
            bound.iter().flat_map(Bound::names).chain(wrong.iter().map(String::as_str)).collect();
        claimed.sort_unstable();
        let mut extra = Vec::new();
        for (name, _) in checkpoint.entries() {
            if claimed.binary_search(&name).is_ok() {
                continue;
            }
            let base = name.strip_suffix(suffix).unwrap_or(name);
            if !names::is_known_extra(config, base.strip_suffix(group_suffix).unwrap_or(base)) {
                problems.add(Error::tensor(checkpoint.file_of(name), name, TensorProblem::Unknown));
                continue;
            }
            extra.push(name.to_owned());
        }
        problems.finish()?;
        Ok(Self { checkpoint, bound, extra })
    }

    /// Returns the checkpoint that the weights are read from.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Returns the tensors of the checkpoint that the architecture knows but this graph does not read, such
    /// as other heads and buffers.
    pub fn extra(&self) -> &[String] {
        &self.extra
    }

    /// Returns the name that a parameter has in the checkpoint.
    pub fn name(&self, parameter: ParameterId) -> &str {
        &self.bound[parameter.0].name
    }

    fn scales(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let scales = self.checkpoint.f32(name)?;
        match scales.iter().position(|&s| s <= 0.0) {
            Some(index) => self.invalid(name, TensorProblem::Scale { index, value: scales[index] }),
            None => Ok(scales),
        }
    }

    fn int8(&self, name: &str) -> Result<&[i8]> {
        let values = self.checkpoint.i8(name)?;
        // `contains` is fast for bytes, also where the crate is compiled to be small and no loop is
        // vectorised.
        if values.contains(&i8::MIN) {
            let index = values.iter().take_while(|&&v| v != i8::MIN).count();
            return self.invalid(name, TensorProblem::Asymmetric { index });
        }
        Ok(values)
    }

    /// Expands a tensor of 4 bits to int8, which is the form that it is computed in.
    fn int4(&self, name: &str, multipliers: &str, columns: usize) -> Result<Vec<i8>> {
        let nibbles = self.checkpoint.u8(name)?;
        if let Some(index) = first(nibbles, |byte| byte & 0x0f == 0x08 || byte & 0xf0 == 0x80) {
            return self.invalid(name, TensorProblem::AsymmetricInt4 { index });
        }
        let groups = self.checkpoint.u8(multipliers)?;
        if let Some(index) = first(groups, |m| m == 0 || m > MAX_MULTIPLIER) {
            return self.invalid(multipliers, TensorProblem::Multiplier { index, value: groups[index] });
        }
        Ok(quant::expand_int4(nibbles, groups, columns))
    }

    fn invalid<T>(&self, tensor: &str, problem: TensorProblem) -> Result<T> {
        Err(Error::tensor(self.checkpoint.file_of(tensor), tensor, problem))
    }
}

/// Returns the index of the first element that is bad.
fn first<T: Copy>(values: &[T], is_bad: impl Fn(T) -> bool) -> Option<usize> {
    // A chunk is not left early, so that the loop can be vectorised. It then takes a third of the time.
    let bad = |chunk: &[T]| chunk.iter().fold(false, |bad, &v| bad | is_bad(v));
    values.chunks(4096).any(bad).then(|| values.iter().take_while(|&&v| !is_bad(v)).count())
}

impl WeightSource for Weights {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        let Bound { name, stored } = &self.bound[parameter.0];
        Ok(match stored {
            Stored::Float => Tensor::F32(self.checkpoint.f32(name)?),
            Stored::Zeros { length } => Tensor::F32(vec![0.0; *length].into()),
            Stored::Int8 { scales } => {
                Tensor::Int8 { scales: self.scales(scales)?, values: Cow::Borrowed(self.int8(name)?) }
            }
            Stored::Int4 { scales, multipliers, columns } => Tensor::Int8 {
                scales: self.scales(scales)?,
                values: Cow::Owned(self.int4(name, multipliers, *columns)?),
            },
        })
    }

    fn release(&self, parameter: ParameterId) {
        self.bound[parameter.0].names().for_each(|name| self.checkpoint.release(name));
    }
}

/// The problems with the tensors of one checkpoint: the first few of them, and their number.
#[derive(Default)]
struct Problems {
    first: Vec<Error>,
    total: usize,
}

impl Problems {
    /// The number of problems that are shown: enough to see a pattern, and few enough to read.
    const MOST: usize = 10;

    /// Returns true if the next problem will be shown. A checkpoint can have very many problems, so details
    /// are looked for only while they will be shown.
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
) -> Result<Bound> {
    let candidates = names::candidates(config, &parameter.name);
    let Some(name) = candidates.iter().find(|name| checkpoint.entry(name).is_some()) else {
        if parameter.name == names::DECODER_BIAS && checkpoint.entry(names::BIAS).is_some() {
            // In this case `transformers` leaves a decoder that is not tied without a bias, and does not read
            // the other one.
            let stored = Stored::Zeros { length: parameter.shape.iter().product() };
            return Ok(Bound { name: candidates[0].clone(), stored });
        }
        let problem = TensorProblem::Missing {
            expected: parameter.shape.clone(),
            nearest: look_for_nearest.then(|| nearest(checkpoint, &candidates[0])).flatten(),
        };
        return Err(Error::tensor(checkpoint.file_of(&candidates[0]), &candidates[0], problem));
    };
    let bound = |stored| Ok(Bound { name: name.clone(), stored });
    let dtype = checkpoint.entry(name).and_then(|entry| entry.dtype.as_ref().ok());
    match (dtype, &config.quantization, &parameter.shape[..]) {
        (Some(ElementType::U8), Some(quantization), &[rows, columns]) if quantization.bits == 4 => {
            check_shape(checkpoint, name, &[rows, columns.div_ceil(2)])?;
            let scales = bind_scales(checkpoint, name, quantization, rows)?;
            let multipliers = format!("{name}{}", QuantizationConfig::GROUP_SUFFIX);
            check_part(checkpoint, name, &multipliers, &[rows, columns.div_ceil(quant::GROUP)])?;
            checkpoint.u8(&multipliers)?;
            bound(Stored::Int4 { scales, multipliers, columns })
        }
        (Some(ElementType::I8), Some(quantization), shape) => {
            check_shape(checkpoint, name, shape)?;
            bound(Stored::Int8 { scales: bind_scales(checkpoint, name, quantization, shape[0])? })
        }
        (Some(ElementType::I8), None, shape) => {
            check_shape(checkpoint, name, shape)?;
            let expected = "F32, F16, BF16 or F64 (int8 needs `quantization_config` in config.json)";
            let problem = TensorProblem::Dtype { expected, found: ElementType::I8.name().to_owned() };
            Err(Error::tensor(checkpoint.file_of(name), name, problem))
        }
        (_, _, shape) => {
            checkpoint.check_float(name)?;
            check_shape(checkpoint, name, shape)?;
            bound(Stored::Float)
        }
    }
}

/// Returns true if a checkpoint has a masked-LM decoder and a word embedding table that differ.
fn stores_own_decoder(checkpoint: &Checkpoint, config: &ModelConfig) -> Result<bool> {
    let find = |parameter| {
        names::candidates(config, parameter).into_iter().find(|name| checkpoint.entry(name).is_some())
    };
    let (Some(decoder), Some(words)) = (find(names::DECODER), find(names::WORD_EMBEDDINGS)) else {
        return Ok(false);
    };
    let (Some(a), Some(b)) = (checkpoint.entry(&decoder), checkpoint.entry(&words)) else {
        return Ok(false);
    };
    if a.dtype != b.dtype && checkpoint.check_float(&decoder).and(checkpoint.check_float(&words)).is_ok() {
        return Ok(checkpoint.f32(&decoder)? != checkpoint.f32(&words)?);
    }
    let parts = |name: &str| -> Vec<Option<&[u8]>> {
        let suffix = config.quantization.as_ref().map(|quantization| quantization.scale_suffix.as_str());
        let suffixes = [Some(""), suffix, suffix.map(|_| QuantizationConfig::GROUP_SUFFIX)];
        suffixes.into_iter().flatten().map(|suffix| checkpoint.bytes(&format!("{name}{suffix}"))).collect()
    };
    Ok(a.dtype != b.dtype || a.shape != b.shape || parts(&decoder) != parts(&words))
}

/// Checks the scales of a tensor and returns their name.
fn bind_scales(
    checkpoint: &Checkpoint,
    name: &str,
    quantization: &QuantizationConfig,
    rows: usize,
) -> Result<String> {
    let scales = format!("{name}{}", quantization.scale_suffix);
    check_part(checkpoint, name, &scales, &[rows])?;
    checkpoint.check_float(&scales)?;
    Ok(scales)
}

/// Checks that the tensor `part`, which belongs to the tensor `name`, is present and has the expected shape.
fn check_part(checkpoint: &Checkpoint, name: &str, part: &str, expected: &[usize]) -> Result<()> {
    if checkpoint.entry(part).is_none() {
        let problem = TensorProblem::Missing { expected: expected.to_vec(), nearest: None };
        return Err(Error::tensor(checkpoint.file_of(name), part, problem));
    }
    check_shape(checkpoint, part, expected)
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

/// Returns the tensor whose name ends most like the missing one, if the last two parts agree. A prefix or a
/// renamed module leaves such a name.
fn nearest(checkpoint: &Checkpoint, missing: &str) -> Option<String> {
    let common =
        |name: &str| name.bytes().rev().zip(missing.bytes().rev()).take_while(|(a, b)| a == b).count();
    let (name, _) = checkpoint.entries().max_by_key(|(name, _)| common(name))?;
    let tail: usize = missing.rsplit('.').take(2).map(|part| part.len() + 1).sum();
    (common(name) + 1 >= tail).then(|| name.to_owned())
}

fn is_int4(config: &ModelConfig) -> bool {
    config.quantization.as_ref().is_some_and(|quantization| quantization.bits == 4)
}
