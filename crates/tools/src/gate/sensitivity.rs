//! The cost of each module: when it alone is quantised, and in the written model, where it also inherits the
//! errors of the modules before it.

use super::{GateProgress, Kept};
use crate::compare::{Answered, Pair, node_by_node};
use crate::task::{Dataset, Evaluator};
use mobilebert::graph::Node;
use mobilebert::quant::Bits;
use mobilebert::text::Batch;
use mobilebert::{EngineOptions, Result};

/// How many examples each module is scored on alone, and over how many sequences errors are computed.
const EXAMPLES: usize = 100;
const SEQUENCES: usize = 16;

/// The cost of quantising one module.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Sensitivity {
    /// Prefix of module paths: `embeddings`, `encoder.layer.7.`, `pooler`.
    pub module: String,
    /// Whether it is in f32 in the written model.
    pub kept_f32: bool,
    /// Whether it is in int8 in a written model of 4 bits.
    pub kept_int8: bool,
    /// Error of its output in the written model, inherited errors included: the norm of the difference to
    /// f32, divided by the norm of f32.
    pub relative_error: f64,
    /// The same error as a ratio of signal to noise, in decibels.
    pub sqnr_db: f64,
    /// Ratio of signal to noise of the logits if only this module is quantised, in decibels.
    pub alone_sqnr_db: f64,
    /// Main score over the first examples if only this module is quantised.
    pub alone_score: f64,
    /// The f32 model's score over these examples minus [`Sensitivity::alone_score`].
    pub alone_drop: f64,
    /// How many of these examples are answered differently.
    pub alone_differing: usize,
}

impl Sensitivity {
    /// How the module is stored in a model of `bits`: `f32`, `int8` or the name of `bits`.
    pub(super) fn stored(&self, bits: Bits) -> &'static str {
        match self {
            Sensitivity { kept_f32: true, .. } => "f32",
            Sensitivity { kept_int8: true, .. } => Bits::Eight.name(),
            _ => bits.name(),
        }
    }
}

/// The modules that are quantised in the first candidate, and the cost of each.
pub(super) struct SensitivityRanking {
    modules: Vec<Sensitivity>,
    pub(super) worst_first: Vec<String>,
    pub(super) examples: usize,
}

/// Runs the model with one module quantised at a time. `reference` runs the source in f32 when it comes in,
/// and again when this returns.
pub(super) fn rank(
    pair: Option<&Pair>,
    reference: &mut Evaluator,
    data: &Dataset,
    f32: &Answered,
    options: &EngineOptions,
    progress: GateProgress<'_>,
) -> Result<SensitivityRanking> {
    let mut some = data.clone();
    some.truncate(EXAMPLES);
    let mut ranking =
        SensitivityRanking { modules: Vec::new(), worst_first: Vec::new(), examples: some.len() };
    let Some(pair) = pair else { return Ok(ranking) };
    let batches = batches(reference, data)?;
    let score = reference.task().score(&some, &f32.predictions[..some.len()])?.main();
    let modules: Vec<String> =
        pair.modules().into_iter().filter(|module| pair.is_quantized(module)).collect();
    let exact = pair.engine(&[], options)?;
    for (done, module) in modules.iter().enumerate() {
        progress("modules", done, modules.len());
        let alone = pair.engine(std::slice::from_ref(module), options)?;
        let nodes = node_by_node(&exact, &alone, &batches)?.nodes;
        reference.set_engine(alone)?;
        let found = Answered::new(reference, &some, &|_| {})?;
        let pairs = f32.predictions.iter().zip(&found.predictions);
        ranking.modules.push(Sensitivity {
            module: module.clone(),
            kept_f32: false,
            kept_int8: false,
            relative_error: 0.0,
            sqnr_db: f64::INFINITY,
            alone_sqnr_db: nodes.last().map_or(f64::INFINITY, |node| node.sqnr_db),
            alone_score: found.scores.main(),
            alone_drop: score - found.scores.main(),
            alone_differing: pairs.filter(|(a, b)| a.text(&some) != b.text(&some)).count(),
        });
    }
    reference.set_engine(exact)?;
    let mut order: Vec<&Sensitivity> = ranking.modules.iter().collect();
    order.sort_by(|a, b| {
        let of_score = b.alone_drop.total_cmp(&a.alone_drop);
        let of_answers = b.alone_differing.cmp(&a.alone_differing);
        of_score.then(of_answers).then(a.alone_sqnr_db.total_cmp(&b.alone_sqnr_db))
    });
    ranking.worst_first = order.into_iter().map(|module| module.module.clone()).collect();
    Ok(ranking)
}

impl SensitivityRanking {
    /// Adds the error of each module in the written model, inherited errors included.
    pub(super) fn finish(
        &self,
        reference: &Evaluator,
        written: &Evaluator,
        kept: &Kept,
        data: &Dataset,
    ) -> Result<Vec<Sensitivity>> {
        let comparison = node_by_node(reference.engine(), written.engine(), &batches(reference, data)?)?;
        let graph = &reference.engine().backend().graph().nodes;
        let of = |module: &Sensitivity| {
            let is_last = |node: &&Node| node.module() == module.module;
            let last = graph.iter().rposition(|node| is_last(&node)).map(|index| &comparison.nodes[index]);
            Sensitivity {
                kept_f32: kept.f32.contains(&module.module),
                kept_int8: kept.int8.contains(&module.module) && !kept.f32.contains(&module.module),
                relative_error: last.map_or(0.0, |node| node.relative_error),
                sqnr_db: last.map_or(f64::INFINITY, |node| node.sqnr_db),
                ..module.clone()
            }
        };
        Ok(self.modules.iter().map(of).collect())
    }
}

fn batches(evaluator: &Evaluator, data: &Dataset) -> Result<Vec<Batch>> {
    let sequences = evaluator.sequences(data, SEQUENCES)?;
    sequences.iter().map(|encoding| Batch::single(encoding.ids(), encoding.type_ids())).collect()
}
