//! Models that are mixed from two: one model with some modules of another.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::ItemComparison;
use crate::task::{Dataset, Evaluator};
use mobilebert::backend::Precision;
use mobilebert::format::{Tensor, WeightSource};
use mobilebert::graph::{Graph, Node, ParameterId};
use mobilebert::model::Weights;
use mobilebert::{Engine, EngineOptions, Head, ModelConfig, ModelFiles, Result};

/// A model's weights, and the precision that it is run in.
struct Side {
    config: ModelConfig,
    weights: Weights,
    precision: Precision,
}

/// Two models of the same architecture.
pub(crate) struct Pair {
    graph: Graph,
    a: Side,
    b: Side,
}

impl Pair {
    /// Opens both models as they are run with this head. Returns `None` if their architectures or labels
    /// differ, because then nothing can be exchanged. A precision that is not given is that of the stored
    /// weights.
    pub(crate) fn open(
        head: Head,
        a: (&ModelFiles, Option<Precision>),
        b: (&ModelFiles, Option<Precision>),
    ) -> Result<Option<Self>> {
        let side = |(files, precision): (&ModelFiles, Option<Precision>)| -> Result<(Graph, Side)> {
            let mut config = ModelConfig::from_json(&files.config_json()?)?;
            let (graph, weights) = Weights::open(files.checkpoint()?, &mut config, head)?;
            let precision = precision.unwrap_or_else(|| config.stored_precision());
            Ok((graph, Side { config, weights, precision }))
        };
        let ((graph, a), (other, b)) = (side(a)?, side(b)?);
        let alike = graph == other && a.config.labels == b.config.labels;
        Ok(alike.then_some(Self { graph, a, b }))
    }

    /// The modules, in the order of the graph.
    pub(crate) fn modules(&self) -> Vec<String> {
        let mut modules: Vec<String> = Vec::new();
        for node in &self.graph.nodes {
            if !modules.iter().any(|module| module == node.module()) {
                modules.push(node.module().to_owned());
            }
        }
        modules
    }

    /// Whether the second model has a tensor of this module in int8.
    pub(crate) fn is_quantized(&self, module: &str) -> bool {
        let nodes = self.graph.nodes.iter().filter(|node| node.module() == module);
        let mut parameters = nodes.flat_map(|node| node.op.parameters());
        parameters.any(|parameter| matches!(self.b.weights.tensor(parameter), Ok(Tensor::Int8 { .. })))
    }

    /// The first module that reads a parameter.
    fn reader(&self, parameter: ParameterId) -> Option<&str> {
        let reads = |node: &&Node| node.op.parameters().contains(&parameter);
        self.graph.nodes.iter().find(reads).map(|node| node.module())
    }

    /// An engine for the first model with the modules `of_b` of the second, their weights and their
    /// precision.
    pub(crate) fn engine(&self, of_b: &[String], options: &EngineOptions) -> Result<Engine> {
        let mut keep_f32 = Vec::new();
        for module in self.modules() {
            let side = if of_b.contains(&module) { &self.b } else { &self.a };
            let kept = side.config.quantization.iter().flat_map(|q| &q.keep_f32);
            match side.precision {
                Precision::F32 => keep_f32.push(module),
                // A prefix in `keep_f32` may be narrower than the module, or wider.
                _ => keep_f32.extend(kept.filter_map(|path| {
                    let all = module.starts_with(path.as_str());
                    (all || path.starts_with(&module))
                        .then(|| if all { module.clone() } else { path.clone() })
                })),
            }
        }
        // An engine has only one precision besides f32. No caller pairs int8 with bf16.
        let mut narrow = [&self.a, &self.b].into_iter().map(|side| side.precision);
        let precision = narrow.find(|&p| p != Precision::F32).unwrap_or(Precision::F32);
        let mut config = self.a.config.clone();
        config.quantization = None;
        let is_b = |id: &ParameterId| self.reader(*id).is_some_and(|m| of_b.iter().any(|of_b| of_b == m));
        let from_b = (0..self.graph.parameters.len()).map(ParameterId).filter(is_b);
        let mixed = MixedWeights::new(&self.graph, &self.a.weights, &self.b.weights).exchange(from_b);
        let options = options.clone().precision(precision).keep_f32(keep_f32);
        Engine::from_weights(config, self.graph.clone(), &mixed, options)
    }
}

/// The weights of one model, some of them replaced by those of another model with the same graph.
#[must_use]
pub struct MixedWeights<'w> {
    graph: &'w Graph,
    own: &'w dyn WeightSource,
    other: &'w dyn WeightSource,
    exchanged: BTreeSet<ParameterId>,
    rows: Option<(ParameterId, Range<usize>)>,
}

impl<'w> MixedWeights<'w> {
    /// Starts with all weights from `own`. Exchanged ones come from `other`.
    pub fn new(graph: &'w Graph, own: &'w dyn WeightSource, other: &'w dyn WeightSource) -> Self {
        Self { graph, own, other, exchanged: BTreeSet::new(), rows: None }
    }

    /// Takes these parameters, too, from the other model, as they are stored there.
    pub fn exchange(mut self, parameters: impl IntoIterator<Item = ParameterId>) -> Self {
        self.exchanged.extend(parameters);
        self
    }

    /// Takes some rows (output channels) of one parameter from the other model. That parameter is read as
    /// f32.
    pub fn exchange_rows(mut self, parameter: ParameterId, rows: Range<usize>) -> Self {
        self.rows = Some((parameter, rows));
        self
    }
}

impl WeightSource for MixedWeights<'_> {
    fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
        if self.exchanged.contains(&parameter) {
            return self.other.tensor(parameter);
        }
        let own = self.own.tensor(parameter)?;
        let Some((_, rows)) = self.rows.as_ref().filter(|(of, _)| *of == parameter) else { return Ok(own) };
        let columns: usize = self.graph.parameter(parameter).shape.iter().skip(1).product();
        let mut values = own.into_f32().into_owned();
        let other = self.other.tensor(parameter)?.into_f32();
        let range = rows.start * columns..rows.end * columns;
        match (values.get_mut(range.clone()), other.get(range)) {
            (Some(to), Some(from)) => to.copy_from_slice(from),
            _ => {
                let (all, last) = (values.len() / columns.max(1), rows.end);
                return Err(mobilebert::Error::option(
                    "rows",
                    format!("rows below {all}"),
                    format!("..{last}"),
                ));
            }
        }
        Ok(Tensor::F32(Cow::Owned(values)))
    }
}

/// How many differing examples [`first_to_flip`] examines at most: it runs each one once for each module.
const MOST: usize = 200;

/// Finds the module that flips each differing example. The modules of `a` are replaced by those of `b` one
/// after another, from the embeddings on; the first one that changes the answer is recorded in
/// [`ItemComparison::differing`]. Only the first 200 examples are examined, and none if the two models differ
/// in architecture. `evaluator` is that of `a`; its engine is replaced.
///
/// # Errors
/// Those of opening the models and running the mixtures.
pub fn first_to_flip(
    (a, b): (&ModelFiles, &ModelFiles),
    evaluator: &mut Evaluator,
    options: &EngineOptions,
    precision: Option<Precision>,
    data: &Dataset,
    found: &mut ItemComparison,
) -> Result<()> {
    let Some(pair) = Pair::open(evaluator.head(), (a, precision), (b, precision))? else { return Ok(()) };
    let modules = pair.modules();
    for (last, module) in modules.iter().enumerate() {
        let open = |difference: &&mut super::Difference| difference.flipped_by.is_none();
        let mut left = found.differing.iter_mut().take(MOST).filter(open).peekable();
        if left.peek().is_none() {
            break;
        }
        evaluator.set_engine(pair.engine(&modules[..=last], options)?)?;
        for difference in left {
            let range = difference.index..difference.index + 1;
            for prediction in evaluator.predictions(data, range) {
                if prediction?.text(data) != difference.a {
                    difference.flipped_by = Some(module.clone());
                }
            }
        }
    }
    Ok(())
}
