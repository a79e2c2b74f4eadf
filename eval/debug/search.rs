//! Replaces parts of a model by the reference's until it gives the reference's answer.
//!
//! A swapped operation has the reference's weights and runs in f32. The search first swaps whole layers, one
//! at a time from the embeddings on. If no layer is enough by itself, it swaps more and more layers from the
//! front. Then it does the same with the operations of the layer and the tensors of the operation. Last, it
//! halves the rows (output channels) of the tensor as long as one half is enough.
//!
//! If two answers have nearly the same logits, any small change can flip them. Therefore, if several swaps
//! flip the answer, the search names the one that brings the logits closest to the reference's, or the first
//! of equals.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use mobilebert::format::WeightSource;
use mobilebert::graph::{Graph, ParameterId};
use mobilebert::{Batch, Engine, EngineOptions, ModelConfig, Output, Precision, Result};
use mobilebert_tools::compare::MixedWeights;
use serde::Serialize;

use crate::inputs::Input;
use crate::layers;

/// Longest answer in tokens: 30, as in the pipeline.
const LONGEST_ANSWER: usize = 30;

/// First and last position of an answer in its sequence.
pub(super) type Place = (usize, usize);

/// Rows of a parameter: output channels.
type Rows = (ParameterId, Range<usize>);

/// Two sources of weights for one graph.
pub(super) struct Models<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) graph: &'a Graph,
    pub(super) suspect: &'a dyn WeightSource,
    pub(super) reference: &'a dyn WeightSource,
    pub(super) engine: EngineOptions,
    /// The precision of the suspect.
    pub(super) precision: Precision,
}

/// The parts of an engine that are the reference's.
#[derive(Debug, Clone, Default)]
pub(super) struct Swap {
    /// Operations with all their weights, in f32.
    nodes: BTreeSet<usize>,
    /// An operation in f32 with its own weights, except for these rows of one of them.
    partly: Option<(usize, Option<Rows>)>,
}

/// The part that flips the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Found {
    /// `embeddings`, `encoder.layer.7` or `head`.
    pub(super) layer: String,
    /// The operation, by its module path.
    pub(super) operation: String,
    /// Its tensor, by its name in the checkpoint. `None` if f32 arithmetic alone is enough, or no tensor
    /// alone is.
    pub(super) tensor: Option<String>,
    /// First and last output channel (row of the tensor) that are needed together.
    pub(super) channels: Option<[usize; 2]>,
    /// Whether f32 arithmetic with the operation's own weights is enough. Then the rounding of inputs is the
    /// cause, not a weight.
    pub(super) arithmetic: bool,
    /// Layers, and operations of the layer, that had to be swapped too because none flips the answer by
    /// itself.
    pub(super) besides: Vec<String>,
    /// Other layers that flip it by themselves, but leave the logits further from the reference's.
    pub(super) also: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "layer      {}\noperation  {}", self.layer, self.operation)?;
        match (&self.tensor, self.channels) {
            (Some(tensor), Some([first, last])) if first == last => {
                write!(f, "tensor     {tensor}\nchannel    {first}")
            }
            (Some(tensor), Some([first, last])) => {
                write!(f, "tensor     {tensor}\nchannels   {first} to {last} together")
            }
            _ if self.arithmetic => write!(f, "cause      its int8 arithmetic; its weights may stay"),
            _ => write!(f, "cause      several of its tensors together"),
        }?;
        for (what, names) in [("not alone  with", &self.besides), ("flipped by", &self.also)] {
            if !names.is_empty() {
                write!(f, "\n{what} {}", names.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Models<'_> {
    fn open(&self, swap: &Swap, precision: Precision) -> Result<Engine> {
        let node = |&index: &usize| &self.graph.nodes[index];
        let partly = swap.partly.as_ref().map(|(index, _)| index);
        let names = swap.nodes.iter().chain(partly).map(|index| node(index).name.clone());
        let mut mixed = MixedWeights::new(self.graph, self.suspect, self.reference)
            .exchange(swap.nodes.iter().flat_map(|index| node(index).op.parameters()));
        if let Some((parameter, rows)) = swap.partly.as_ref().and_then(|(_, rows)| rows.clone()) {
            mixed = mixed.exchange_rows(parameter, rows);
        }
        let options = self.engine.clone().precision(precision).keep_f32(names);
        Engine::from_weights(self.config.clone(), self.graph.clone(), &mixed, options)
    }
}

/// Both models, loaded.
pub(super) struct Replay<'a> {
    models: Models<'a>,
    suspect: Engine,
    reference: Engine,
}

impl<'a> Replay<'a> {
    pub(super) fn new(models: Models<'a>) -> Result<Self> {
        let everything = Swap { nodes: (0..models.graph.nodes.len()).collect(), partly: None };
        let suspect = models.open(&Swap::default(), models.precision)?;
        let reference = models.open(&everything, Precision::F32)?;
        Ok(Self { models, suspect, reference })
    }

    pub(super) fn suspect(&self) -> &Engine {
        &self.suspect
    }

    pub(super) fn reference(&self) -> &Engine {
        &self.reference
    }

    /// The answers of the suspect and of the reference. `positions` are those of the context in the sequence.
    pub(super) fn answers(&self, input: &Input, positions: Range<usize>) -> Result<(Place, Place)> {
        Ok((answer(&self.suspect, input, positions.clone())?, answer(&self.reference, input, positions)?))
    }

    /// Finds the part to swap. The two answers have to differ.
    pub(super) fn search(&self, input: &Input, positions: Range<usize>) -> Result<Found> {
        let right = run(&self.reference, input)?;
        let wanted = place(&right, positions.clone());
        let flips = |swap: &Swap| -> Result<Option<f64>> {
            let output = run(&self.models.open(swap, self.models.precision)?, input)?;
            let same = place(&output, positions.clone()) == wanted;
            let squares = output.values().iter().zip(right.values()).map(|(a, b)| f64::from(a - b).powi(2));
            Ok(same.then(|| squares.sum()))
        };
        let graph = self.models.graph;
        let parts = layers::parts(graph);
        let groups: Vec<Vec<usize>> = parts.iter().map(|(_, nodes)| nodes.clone()).collect();
        let part = choose(&BTreeSet::new(), &groups, &flips)?;
        let mut base: BTreeSet<usize> = groups[..part.before].iter().flatten().copied().collect();
        let mut besides: Vec<String> = parts[..part.before].iter().map(|(name, _)| name.clone()).collect();

        let nodes: Vec<Vec<usize>> = groups[part.chosen].iter().map(|&node| vec![node]).collect();
        let operation = choose(&base, &nodes, &flips)?;
        base.extend(nodes[..operation.before].iter().flatten());
        besides
            .extend(nodes[..operation.before].iter().flatten().map(|&node| graph.nodes[node].name.clone()));
        let node = nodes[operation.chosen][0];

        let with = |rows: Option<Rows>| flips(&Swap { nodes: base.clone(), partly: Some((node, rows)) });
        let arithmetic = with(None)?;
        let mut found = Found {
            layer: parts[part.chosen].0.clone(),
            operation: graph.nodes[node].name.clone(),
            tensor: None,
            channels: None,
            arithmetic: arithmetic.is_some(),
            besides,
            also: part.also.iter().map(|&i| parts[i].0.clone()).collect(),
        };
        // A tensor has to do better than f32 arithmetic alone: if both models have the same weights, swapping
        // it changes only the arithmetic.
        let mut least = arithmetic.map_or(f64::INFINITY, |distance| BETTER * distance);
        let mut tensor = None;
        for parameter in graph.nodes[node].op.parameters() {
            let rows = 0..graph.parameter(parameter).shape[0];
            if let Some(distance) =
                with(Some((parameter, rows.clone())))?.filter(|&distance| distance < least)
            {
                least = distance;
                tensor = Some((parameter, rows));
            }
        }
        let Some((parameter, mut rows)) = tensor else { return Ok(found) };
        while rows.len() > 1 {
            let middle = rows.start + rows.len() / 2;
            let mut enough = None;
            for half in [rows.start..middle, middle..rows.end] {
                let distance = with(Some((parameter, half.clone())))?;
                if let Some(distance) = distance
                    && enough.as_ref().is_none_or(|(_, least)| distance < *least)
                {
                    enough = Some((half, distance));
                }
            }
            match enough {
                Some((half, _)) => rows = half,
                None => break,
            }
        }
        found.arithmetic = false;
        found.tensor = Some(graph.parameter(parameter).name.clone());
        found.channels = Some([rows.start, rows.end - 1]);
        Ok(found)
    }
}

/// A tensor is the cause if swapping it leaves less than this share of the error that f32 arithmetic alone
/// leaves.
const BETTER: f64 = 0.9;

/// The group, of several, that flips the answer.
struct Choice {
    chosen: usize,
    /// How many of the groups before it have to be swapped with it.
    before: usize,
    /// Others that flip it by themselves.
    also: Vec<usize>,
}

/// Finds the group that flips the answer by itself and leaves the logits closest. If there is none, finds the
/// first group that flips it together with all groups before it.
fn choose(
    base: &BTreeSet<usize>,
    groups: &[Vec<usize>],
    flips: &impl Fn(&Swap) -> Result<Option<f64>>,
) -> Result<Choice> {
    let swap = |chosen: &[Vec<usize>]| Swap {
        nodes: base.iter().chain(chosen.iter().flatten()).copied().collect(),
        partly: None,
    };
    let mut alone = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        alone.extend(flips(&swap(std::slice::from_ref(group)))?.map(|distance| (i, distance)));
    }
    if let Some(&(chosen, _)) = alone.iter().min_by(|a, b| a.1.total_cmp(&b.1)) {
        let also = alone.into_iter().map(|(i, _)| i).filter(|&i| i != chosen).collect();
        return Ok(Choice { chosen, before: 0, also });
    }
    let last = groups.len() - 1;
    for i in 1..last {
        if flips(&swap(&groups[..=i]))?.is_some() {
            return Ok(Choice { chosen: i, before: i, also: Vec::new() });
        }
    }
    Ok(Choice { chosen: last, before: last, also: Vec::new() })
}

fn run(engine: &Engine, input: &Input) -> Result<Output> {
    engine.forward(&Batch::single(&input.ids, &input.type_ids)?)
}

fn answer(engine: &Engine, input: &Input, positions: Range<usize>) -> Result<Place> {
    Ok(place(&run(engine, input)?, positions))
}

/// The best start and end among the positions.
fn place(output: &Output, positions: Range<usize>) -> Place {
    let mut best = (f32::NEG_INFINITY, (positions.start, positions.start));
    for start in positions.clone() {
        for end in start..positions.end.min(start + LONGEST_ANSWER) {
            let logit = output.row(start)[0] + output.row(end)[1];
            if logit > best.0 {
                best = (logit, (start, end));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use mobilebert::format::Tensor;
    use mobilebert::model::{self, synthetic::Synthetic};
    use mobilebert_tools::metrics::interval::Random;

    const LAYERS: usize = 24;
    const TOKENS: usize = 24;

    fn config() -> ModelConfig {
        let json = format!(
            r#"{{"model_type": "mobilebert", "architectures": ["MobileBertForQuestionAnswering"],
                "num_hidden_layers": {LAYERS}, "vocab_size": 200, "hidden_size": 64, "embedding_size": 32,
                "intra_bottleneck_size": 32, "intermediate_size": 64, "num_attention_heads": 2,
                "max_position_embeddings": 64}}"#
        );
        ModelConfig::from_json(&json).unwrap()
    }

    /// Weights with a fault in one channel of one tensor.
    struct Faulty<'a> {
        healthy: &'a Synthetic,
        graph: &'a Graph,
        parameter: ParameterId,
        channel: usize,
        size: f32,
    }

    impl WeightSource for Faulty<'_> {
        fn tensor(&self, parameter: ParameterId) -> Result<Tensor<'_>> {
            let tensor = self.healthy.tensor(parameter)?;
            if parameter != self.parameter {
                return Ok(tensor);
            }
            let columns: usize = self.graph.parameter(parameter).shape[1..].iter().product();
            let mut values = tensor.into_f32().into_owned();
            for (i, value) in values[self.channel * columns..][..columns].iter_mut().enumerate() {
                *value += if i % 2 == 0 { self.size } else { -0.5 * self.size };
            }
            Ok(Tensor::F32(Cow::Owned(values)))
        }
    }

    fn input() -> Input {
        let mut random = Random::new(11);
        Input { ids: (0..TOKENS).map(|_| 1 + random.below(199) as u32).collect(), type_ids: vec![0; TOKENS] }
    }

    /// Puts a fault in each layer, every time in another tensor and channel and as large as it takes to
    /// change the answer.
    fn find_all(precision: Precision) -> Vec<(String, String, usize, Found)> {
        let config = config();
        let graph = model::build(&config, config.head);
        let healthy = Synthetic::new(&graph);
        let input = input();
        let mut random = Random::new(5);
        let mut results = Vec::new();
        for layer in 0..LAYERS {
            let prefix = format!("encoder.layer.{layer}.");
            let matrices: Vec<usize> = (0..graph.parameters.len())
                .filter(|&p| {
                    graph.parameters[p].name.starts_with(&prefix) && graph.parameters[p].shape.len() == 2
                })
                .collect();
            let mut result = None;
            for attempt in 0..200 {
                let parameter = ParameterId(matrices[random.below(matrices.len())]);
                let channel = random.below(graph.parameter(parameter).shape[0]);
                let size = 2.0 * 1.2f32.powi(attempt / 10);
                let faulty = Faulty { healthy: &healthy, graph: &graph, parameter, channel, size };
                let models = Models {
                    config: &config,
                    graph: &graph,
                    suspect: &faulty,
                    reference: &healthy,
                    engine: EngineOptions::new().threads(1),
                    precision,
                };
                let replay = Replay::new(models).unwrap();
                let (suspect, reference) = replay.answers(&input, 1..TOKENS).unwrap();
                if suspect != reference {
                    let found = replay.search(&input, 1..TOKENS).unwrap();
                    let name = graph.parameter(parameter).name.clone();
                    result = Some((format!("encoder.layer.{layer}"), name, channel, found));
                    break;
                }
            }
            results.push(result.expect("a fault that changes the answer"));
        }
        results
    }

    #[test]
    fn a_fault_in_each_of_24_layers_is_named_in_f32() {
        for (layer, tensor, channel, found) in find_all(Precision::F32) {
            assert_eq!(found.layer, layer, "{found:?}");
            assert_eq!(found.tensor.as_deref(), Some(tensor.as_str()), "{found:?}");
            assert_eq!(found.channels, Some([channel, channel]), "{tensor}: {found:?}");
            assert!(found.besides.is_empty() && !found.arithmetic, "{found:?}");
        }
    }

    #[test]
    fn a_fault_in_each_of_24_layers_is_named_in_int8() {
        for (layer, tensor, _, found) in find_all(Precision::Int8) {
            assert_eq!(found.layer, layer, "{tensor}: {found:?}");
        }
    }
}
