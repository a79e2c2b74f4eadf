//! From a graph to steps: what is merged, what is folded, which buffer holds what, and where the threads have to meet.
//!
//! * Linears that read the same value become one matrix product, if nothing but a bias and a NoNorm follows them.
//! * NoNorm behind a linear folds into its scales, its bias and the factor of its residual.
//! * Steps between two attentions map rows to rows, so they form a *stage*: a thread carries a block of rows through all
//!   of it. Only keys and values are read across blocks, and they are complete when the stage is.

use crate::graph::{Activation, Graph, Node, Norm, NormKind, Op, ParameterId, Rows, ValueId};
use crate::kernels::{Levels, row_bytes};

/// What decides the precision of a node.
pub(super) trait Precision {
    /// Whether the linear or attention of that name runs in int8.
    fn is_int8(&self, node: &Node) -> bool;
}

/// Index into [`Plan::buffers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BufferId(pub(super) usize);

/// Columns of a buffer of f32, from `column` on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) buffer: BufferId,
    pub(super) column: usize,
}

/// What a buffer holds for each row of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Content {
    /// So many f32.
    Float(usize),
    /// So many bytes, and as many ranges.
    Bytes(usize, usize),
}

/// Who owns a buffer, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The block of rows: it is read in a later stage than it is written in.
    Block(usize),
    /// The thread: every block overwrites it, so it stays in the thread's cache.
    Thread(usize),
}

/// What a linear reads, and its weights in the same precision: an index into [`Plan::int8`] or [`Plan::f32`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Product {
    Int8(BufferId, usize),
    F32(Place, usize),
}

/// A matrix product and what is fused behind it.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    /// The nodes that it computes, for names.
    pub(super) nodes: Vec<usize>,
    pub(super) product: Product,
    pub(super) activation: Activation,
    /// The value that is added and what multiplies it (1 if absent).
    pub(super) residual: Option<(Place, Option<ParameterId>)>,
    pub(super) norm: Option<Norm>,
    /// The result in f32, if anybody reads it.
    pub(super) to: Option<BufferId>,
    /// The result quantised, if anybody reads that.
    pub(super) quantized: Option<(BufferId, Levels)>,
}

/// How queries reach the attention.
#[derive(Debug, Clone, Copy)]
pub(super) enum Query {
    Int8(BufferId),
    F32(Place),
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Embed { table: ParameterId, trigram: bool, to: BufferId },
    PositionAndType { input: Place, position: ParameterId, token_type: ParameterId, norm: Norm, to: BufferId },
    Linear(Linear),
    Quantize { from: Place, width: usize, to: BufferId },
    QuantizeHeads { from: Place, heads: Heads, to: BufferId },
    PackKeysValues { key: Place, value: Place, heads: Heads },
    Attention { query: Query, heads: Heads, to: BufferId },
    Gather { from: Place, to: BufferId },
    Emit { from: Place, width: usize },
}

/// Heads of an attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heads {
    /// Which attention, counted from the start.
    pub(super) index: usize,
    pub(super) count: usize,
    pub(super) size: usize,
    pub(super) int8: bool,
}

/// A checkpoint tensor; the weights of a product are the rows of several below each other.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) weight: ParameterId,
    /// Whether the tensor is `[inputs, outputs]`.
    pub(super) transposed: bool,
    pub(super) bias: Option<ParameterId>,
    /// NoNorm that is folded in.
    pub(super) fold: Option<Norm>,
}

/// Steps that a block of rows goes through without waiting for the others.
#[derive(Debug, Default)]
pub(super) struct Stage {
    pub(super) steps: Vec<Step>,
    /// Index of the first step among all steps of the plan.
    pub(super) first_op: usize,
    /// The node that each step belongs to.
    pub(super) nodes: Vec<usize>,
    /// Rows that were selected instead of all tokens, and which.
    pub(super) selected: Option<Rows>,
}

/// Everything that does not depend on the batch.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) stages: Vec<Stage>,
    /// Weights of the int8 products, and of those in f32.
    pub(super) int8: Vec<Vec<Part>>,
    pub(super) f32: Vec<Vec<Part>>,
    /// Where each buffer lives.
    pub(super) buffers: Vec<Home>,
    /// Whether selected rows have blocks of their own, because an observer will read them.
    pub(super) observed: bool,
    /// Content of the buffers that each block owns, and of those that each thread owns.
    pub(super) block: Vec<Content>,
    pub(super) thread: Vec<Content>,
    /// The stage that computes each node.
    pub(super) stage_of: Vec<usize>,
    /// Where each value is found in f32; all of them only if the plan was made for an observer.
    pub(super) places: Vec<Option<Place>>,
}

/// Why a graph cannot be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unplannable {
    #[error("the graph has no nodes")]
    Empty,
    #[error("node `{0}` reads selected rows across tokens, which no stage can")]
    AcrossSelected(String),
    #[error("node `{reader}` reads value {value}, which no node before it computes")]
    Unwritten { reader: String, value: usize },
}

impl Plan {
    /// Plans a graph. For an observer every value is kept, in f32 and in a buffer of its own; the steps are the same.
    pub(super) fn new(graph: &Graph, precision: &dyn Precision, observed: bool) -> Result<Self, Unplannable> {
        if graph.nodes.is_empty() {
            return Err(Unplannable::Empty);
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(ValueId(value)) = node.op.inputs().find(|input| input.0 >= index) {
                return Err(Unplannable::Unwritten { reader: node.name.clone(), value });
            }
        }
        let mut planner = Planner::new(graph, precision, observed);
        for node in 0..graph.nodes.len() {
            planner.node(node)?;
        }
        if let Some(from) = planner.places[graph.output().0] {
            let width = graph.width(graph.output());
            planner.push(Step::Emit { from, width });
        }
        let (mut stages, contents) = (planner.stages, planner.contents);
        let mut first = 0;
        for stage in &mut stages {
            stage.first_op = first;
            first += stage.steps.len();
        }
        let (buffers, block, thread) = assign(&stages, &contents, observed);
        Ok(Self {
            stages,
            int8: planner.int8,
            f32: planner.f32,
            buffers,
            observed,
            block,
            thread,
            stage_of: planner.stage_of,
            places: planner.places,
        })
    }
}

impl Plan {
    /// What profiles call the barrier: the index behind the last step.
    pub(super) fn barrier(&self) -> usize {
        self.stages.iter().map(|stage| stage.steps.len()).sum()
    }
}

/// How a value is read.
#[derive(Debug, Clone, Copy, Default)]
struct Readers {
    float: bool,
    int8: bool,
}

struct Planner<'g> {
    graph: &'g Graph,
    precision: &'g dyn Precision,
    readers: Vec<Readers>,
    stage_of: Vec<usize>,
    stages: Vec<Stage>,
    int8: Vec<Vec<Part>>,
    f32: Vec<Vec<Part>>,
    contents: Vec<Content>,
    places: Vec<Option<Place>>,
    quantized: Vec<Option<BufferId>>,
    attentions: usize,
    /// The node that is being planned.
    current: usize,
}

impl<'g> Planner<'g> {
    fn new(graph: &'g Graph, precision: &'g dyn Precision, observed: bool) -> Self {
        let values = graph.nodes.len();
        let mut readers = vec![Readers { float: observed, int8: false }; values];
        let mut float = |v: ValueId| readers[v.0].float = true;
        for node in &graph.nodes {
            match &node.op {
                Op::WordEmbedding { .. } => {}
                Op::PositionAndType { input, .. }
                | Op::Select { input, .. }
                | Op::Vocabulary { input, .. } => float(*input),
                Op::Linear { input, residual, .. } => {
                    residual.iter().for_each(|&r| float(r));
                    if !precision.is_int8(node) {
                        float(*input);
                    }
                }
                Op::Attention { query, key, value, .. } => {
                    [query, key, value].into_iter().for_each(|&v| float(v))
                }
            }
        }
        float(graph.output());
        for node in &graph.nodes {
            if let Op::Linear { input, .. } = &node.op
                && precision.is_int8(node)
            {
                readers[input.0].int8 = true;
            }
        }
        let mut stage = 0;
        let stage_of = graph.nodes.iter().map(|node| {
            stage += usize::from(matches!(node.op, Op::Attention { .. } | Op::Select { .. }));
            stage
        });
        Self {
            graph,
            precision,
            stage_of: stage_of.collect(),
            readers,
            stages: vec![Stage::default()],
            int8: Vec::new(),
            f32: Vec::new(),
            contents: Vec::new(),
            places: vec![None; values],
            quantized: vec![None; values],
            attentions: 0,
            current: 0,
        }
    }

    fn push(&mut self, step: Step) {
        if let Some(stage) = self.stages.last_mut() {
            stage.steps.push(step);
            stage.nodes.push(self.current);
        }
    }

    fn buffer(&mut self, content: Content) -> BufferId {
        self.contents.push(content);
        BufferId(self.contents.len() - 1)
    }

    fn bytes(&mut self, width: usize, ranges: usize) -> BufferId {
        self.buffer(Content::Bytes(row_bytes(width), ranges))
    }

    /// Where the f32 numbers of a value are. A value that is read in f32 is written in f32.
    fn place(&self, value: ValueId) -> Result<Place, Unplannable> {
        self.places[value.0].ok_or_else(|| self.unwritten(value))
    }

    fn unwritten(&self, value: ValueId) -> Unplannable {
        Unplannable::Unwritten { reader: self.graph.nodes[self.current].name.clone(), value: value.0 }
    }

    fn put(&mut self, value: usize, place: Place) {
        self.places[value] = Some(place);
    }

    /// Quantises a value that was written in f32, if an int8 linear reads it.
    fn quantize_if_read(&mut self, value: usize) {
        if let (true, None, Some(from)) =
            (self.readers[value].int8, self.quantized[value], self.places[value])
        {
            let width = self.graph.nodes[value].width;
            let to = self.bytes(width, 1);
            self.push(Step::Quantize { from, width, to });
            self.quantized[value] = Some(to);
        }
    }

    fn node(&mut self, index: usize) -> Result<(), Unplannable> {
        self.current = index;
        let node = &self.graph.nodes[index];
        match &node.op {
            Op::WordEmbedding { table, trigram } => {
                let to = self.buffer(Content::Float(node.width));
                self.push(Step::Embed { table: *table, trigram: *trigram, to });
                self.put(index, Place { buffer: to, column: 0 });
            }
            Op::PositionAndType { input, position, token_type, norm } => {
                let to = self.buffer(Content::Float(node.width));
                let (input, position, token_type, norm) =
                    (self.place(*input)?, *position, *token_type, *norm);
                self.push(Step::PositionAndType { input, position, token_type, norm, to });
                self.put(index, Place { buffer: to, column: 0 });
            }
            Op::Linear { .. } => self.linear(index)?,
            Op::Attention { query, key, value, heads } => {
                if self.stages.last().is_some_and(|s| s.selected.is_some()) {
                    return Err(Unplannable::AcrossSelected(node.name.clone()));
                }
                let heads = Heads {
                    index: self.attentions,
                    count: *heads,
                    size: node.width / heads,
                    int8: self.precision.is_int8(node),
                };
                self.attention(index, [*query, *key, *value], heads)?;
            }
            Op::Select { input, rows } => {
                if self.stages.last().is_some_and(|s| s.selected.is_some()) {
                    return Err(Unplannable::AcrossSelected(node.name.clone()));
                }
                let from = self.place(*input)?;
                self.stages.push(Stage { selected: Some(*rows), ..Stage::default() });
                let to = self.buffer(Content::Float(node.width));
                self.push(Step::Gather { from, to });
                self.put(index, Place { buffer: to, column: 0 });
            }
            Op::Vocabulary { input, decoder, extra, bias } => {
                self.vocabulary(index, *input, *decoder, *extra, *bias)?;
            }
        }
        self.quantize_if_read(index);
        Ok(())
    }

    /// Linears of the same stage that can share a product with this one, itself first. Results start at multiples of 16
    /// columns, so all but the last have to be as wide.
    fn companions(&self, index: usize) -> Vec<usize> {
        let key = |i: usize| match &self.graph.nodes[i].op {
            Op::Linear { input, activation: Activation::Identity, residual: None, norm, .. }
                if !matches!(norm, Some(Norm { kind: NormKind::LayerNorm { .. }, .. })) =>
            {
                Some((*input, self.stage_of[i], self.precision.is_int8(&self.graph.nodes[i])))
            }
            _ => None,
        };
        let mut all = vec![index];
        if let Some(own) = key(index) {
            all.extend((index + 1..self.graph.nodes.len()).filter(|&i| key(i) == Some(own)));
            let aligned = all.iter().take_while(|&&i| self.graph.nodes[i].width.is_multiple_of(16)).count();
            all.truncate((aligned + 1).min(all.len()));
        }
        all
    }

    fn linear(&mut self, index: usize) -> Result<(), Unplannable> {
        if self.places[index].is_some() {
            return Ok(());
        }
        let node = &self.graph.nodes[index];
        let Op::Linear { input, activation, residual, norm, .. } = &node.op else { return Ok(()) };
        let int8 = self.precision.is_int8(node);
        let companions = self.companions(index);
        let can_fold = *activation == Activation::Identity;
        let no_norm = |norm: &Option<Norm>| norm.filter(|n| n.kind == NormKind::NoNorm && can_fold);
        let part = |i: &usize| match &self.graph.nodes[*i].op {
            Op::Linear { weight, bias, norm, .. } => {
                Some(Part { weight: *weight, transposed: false, bias: Some(*bias), fold: no_norm(norm) })
            }
            _ => None,
        };
        let parts = companions.iter().filter_map(part).collect();
        let folded = no_norm(norm);
        let residual =
            residual.map(|r| self.place(r).map(|place| (place, folded.map(|n| n.weight)))).transpose()?;
        let norm = if folded.is_some() { None } else { *norm };
        let product = self.product(*input, int8, parts)?;
        let alone = companions.len() == 1;
        let width = companions.iter().map(|&i| self.graph.nodes[i].width).sum();
        let readers = self.readers[index];
        let to = (!alone || readers.float).then(|| self.buffer(Content::Float(width)));
        let levels = if *activation == Activation::Relu && residual.is_none() && norm.is_none() {
            Levels::Unsigned
        } else {
            Levels::Full
        };
        let quantized = (alone && readers.int8).then(|| (self.bytes(width, 1), levels));
        self.push(Step::Linear(Linear {
            nodes: companions.clone(),
            product,
            activation: *activation,
            residual,
            norm,
            to,
            quantized,
        }));
        self.quantized[index] = quantized.map(|q| q.0);
        let mut column = 0;
        for &i in &companions {
            if let Some(buffer) = to {
                self.put(i, Place { buffer, column });
            }
            column += self.graph.nodes[i].width;
        }
        for &i in companions.iter().skip(1) {
            self.quantize_if_read(i);
        }
        Ok(())
    }

    fn product(&mut self, value: ValueId, int8: bool, parts: Vec<Part>) -> Result<Product, Unplannable> {
        if !int8 {
            return Ok(self.product_f32(self.place(value)?, parts));
        }
        let bytes = self.quantized[value.0].ok_or_else(|| self.unwritten(value))?;
        Ok(self.product_int8(bytes, parts))
    }

    fn product_int8(&mut self, input: BufferId, parts: Vec<Part>) -> Product {
        self.int8.push(parts);
        Product::Int8(input, self.int8.len() - 1)
    }

    fn product_f32(&mut self, input: Place, parts: Vec<Part>) -> Product {
        self.f32.push(parts);
        Product::F32(input, self.f32.len() - 1)
    }

    fn attention(
        &mut self,
        index: usize,
        [query, key, value]: [ValueId; 3],
        heads: Heads,
    ) -> Result<(), Unplannable> {
        let (q, k, v) = (self.place(query)?, self.place(key)?, self.place(value)?);
        self.push(Step::PackKeysValues { key: k, value: v, heads });
        let query = if heads.int8 {
            let to = self.bytes(row_bytes(heads.size) * heads.count, heads.count);
            self.push(Step::QuantizeHeads { from: q, heads, to });
            Query::Int8(to)
        } else {
            Query::F32(q)
        };
        self.stages.push(Stage::default());
        let to = self.buffer(Content::Float(self.graph.nodes[index].width));
        self.push(Step::Attention { query, heads, to });
        self.put(index, Place { buffer: to, column: 0 });
        self.attentions += 1;
        Ok(())
    }

    fn vocabulary(
        &mut self,
        index: usize,
        input: ValueId,
        decoder: ParameterId,
        extra: Option<ParameterId>,
        bias: ParameterId,
    ) -> Result<(), Unplannable> {
        let node = &self.graph.nodes[index];
        let int8 = self.precision.is_int8(node);
        let place = self.place(input)?;
        let width = self.graph.parameter(decoder).shape[1];
        let decode = Part { weight: decoder, transposed: false, bias: Some(bias), fold: None };
        let more = extra.map(|weight| {
            let part = Part { weight, transposed: true, bias: None, fold: None };
            (
                part,
                Place { buffer: place.buffer, column: place.column + width },
                self.graph.parameter(weight).shape[0],
            )
        });
        let mut sum = None;
        for (part, from, width) in std::iter::once((decode, place, width)).chain(more) {
            let product = if int8 {
                let to = self.bytes(width, 1);
                self.push(Step::Quantize { from, width, to });
                self.product_int8(to, vec![part])
            } else {
                self.product_f32(from, vec![part])
            };
            let to = self.buffer(Content::Float(node.width));
            self.push(Step::Linear(Linear {
                nodes: vec![index],
                product,
                activation: Activation::Identity,
                residual: sum.map(|place| (place, None)),
                norm: None,
                to: Some(to),
                quantized: None,
            }));
            sum = Some(Place { buffer: to, column: 0 });
        }
        self.places[index] = sum;
        Ok(())
    }
}

impl Step {
    /// Buffers that are read and written.
    fn buffers(&self) -> Vec<BufferId> {
        match self {
            Step::Embed { to, .. } => vec![*to],
            Step::PositionAndType { input, to, .. } => vec![input.buffer, *to],
            Step::Linear(linear) => {
                let input = match linear.product {
                    Product::Int8(bytes, _) => bytes,
                    Product::F32(place, _) => place.buffer,
                };
                let residual = linear.residual.map(|r| r.0.buffer);
                let outputs = linear.to.into_iter().chain(linear.quantized.map(|q| q.0));
                std::iter::once(input).chain(residual).chain(outputs).collect()
            }
            Step::Quantize { from, to, .. }
            | Step::QuantizeHeads { from, to, .. }
            | Step::Gather { from, to } => {
                vec![from.buffer, *to]
            }
            Step::PackKeysValues { key, value, .. } => vec![key.buffer, value.buffer],
            Step::Attention { query, to, .. } => match query {
                Query::Int8(bytes) => vec![*bytes, *to],
                Query::F32(place) => vec![place.buffer, *to],
            },
            Step::Emit { from, .. } => vec![from.buffer],
        }
    }
}

/// Gives each buffer a home, and lets buffers share one whose lives do not overlap.
fn assign(stages: &[Stage], contents: &[Content], keep: bool) -> (Vec<Home>, Vec<Content>, Vec<Content>) {
    let mut lives: Vec<Option<[(usize, usize); 2]>> = vec![None; contents.len()];
    let steps =
        || stages.iter().enumerate().flat_map(|(s, stage)| stage.steps.iter().map(move |step| (s, step)));
    for (time, (stage, step)) in steps().enumerate() {
        for BufferId(i) in step.buffers() {
            let life = lives[i].get_or_insert([(time, stage); 2]);
            life[1] = (time, stage);
        }
    }
    let (mut block, mut thread) = (Homes::default(), Homes::default());
    let mut buffers = vec![Home::Thread(0); contents.len()];
    for (time, (_, step)) in steps().enumerate() {
        let touched = step.buffers();
        for &BufferId(i) in &touched {
            if let Some([(first, from), (_, to)]) = lives[i]
                && first == time
            {
                let content = contents[i];
                buffers[i] = if keep || from != to {
                    Home::Block(block.take(content))
                } else {
                    Home::Thread(thread.take(content))
                };
            }
        }
        for &BufferId(i) in &touched {
            if !keep && lives[i].is_some_and(|l| l[1].0 == time) {
                match buffers[i] {
                    Home::Block(home) => block.free.push(home),
                    Home::Thread(home) => thread.free.push(home),
                }
            }
        }
    }
    (buffers, block.contents, thread.contents)
}

#[derive(Default)]
struct Homes {
    contents: Vec<Content>,
    free: Vec<usize>,
}

impl Homes {
    fn take(&mut self, content: Content) -> usize {
        if let Some(i) = self.free.iter().position(|&home| self.contents[home] == content) {
            return self.free.swap_remove(i);
        }
        self.contents.push(content);
        self.contents.len() - 1
    }
}
