//! Chooses the steps that compute each node.

use super::plan::{
    BufferId, Content, Heads, Linear, Part, Place, Precisions, Product, Query, Stage, Step, Unplannable,
};
use crate::backend::Precision;
use crate::graph::{Activation, Graph, Norm, NormKind, Op, ParameterId, ValueId};
use crate::kernels::{Levels, row_bytes};

/// The formats in which a value is read.
#[derive(Debug, Clone, Copy, Default)]
struct Readers {
    float: bool,
    /// The precision of the linears that read it in int8 or bf16.
    narrow: Option<Precision>,
}

/// The format of the input rows of linears of a precision; `None` if they are read as f32.
fn levels(precision: Precision) -> Option<Levels> {
    match precision {
        Precision::Int8 => Some(Levels::Full),
        Precision::Bf16 => Some(Levels::Bf16),
        Precision::F32 => None,
    }
}

/// Turns nodes into steps, one after another.
pub(super) struct Planner<'g> {
    graph: &'g Graph,
    precisions: &'g dyn Precisions,
    readers: Vec<Readers>,
    pub(super) stage_of: Vec<usize>,
    pub(super) stages: Vec<Stage>,
    pub(super) int8: Vec<Vec<Part>>,
    pub(super) bf16: Vec<Vec<Part>>,
    pub(super) f32: Vec<Vec<Part>>,
    pub(super) contents: Vec<Content>,
    pub(super) places: Vec<Option<Place>>,
    quantized: Vec<Option<BufferId>>,
    attentions: usize,
    /// The node that is being planned.
    current: usize,
}

impl<'g> Planner<'g> {
    pub(super) fn new(graph: &'g Graph, precisions: &'g dyn Precisions, observed: bool) -> Self {
        let values = graph.nodes.len();
        let mut readers = vec![Readers { float: observed, narrow: None }; values];
        let mut float = |v: ValueId| readers[v.0].float = true;
        for node in &graph.nodes {
            match &node.op {
                Op::WordEmbedding { .. } => {}
                Op::PositionAndType { input, .. }
                | Op::Select { input, .. }
                | Op::Vocabulary { input, .. } => float(*input),
                Op::Linear { input, residual, .. } => {
                    residual.iter().for_each(|&r| float(r));
                    if precisions.of(node) == Precision::F32 {
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
            let precision = precisions.of(node);
            if let (Op::Linear { input, .. }, true) = (&node.op, precision != Precision::F32) {
                readers[input.0].narrow = Some(precision);
            }
        }
        let mut stage = 0;
        let stage_of = graph.nodes.iter().map(|node| {
            stage += usize::from(matches!(node.op, Op::Attention { .. } | Op::Select { .. }));
            stage
        });
        Self {
            graph,
            precisions,
            stage_of: stage_of.collect(),
            readers,
            stages: vec![Stage::default()],
            int8: Vec::new(),
            bf16: Vec::new(),
            f32: Vec::new(),
            contents: Vec::new(),
            places: vec![None; values],
            quantized: vec![None; values],
            attentions: 0,
            current: 0,
        }
    }

    pub(super) fn push(&mut self, step: Step) {
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

    /// The place of a value in f32. A value that is read in f32 is also written in f32.
    fn place(&self, value: ValueId) -> Result<Place, Unplannable> {
        self.places[value.0].ok_or_else(|| self.unwritten(value))
    }

    fn unwritten(&self, value: ValueId) -> Unplannable {
        Unplannable::Unwritten { reader: self.graph.nodes[self.current].name.clone(), value: value.0 }
    }

    fn put(&mut self, value: usize, place: Place) {
        self.places[value] = Some(place);
    }

    /// Quantises a value that was written in f32, if a linear reads it in int8 or bf16.
    fn quantize_if_read(&mut self, value: usize) {
        let levels = self.readers[value].narrow.and_then(levels);
        if let (Some(levels), None, Some(from)) = (levels, self.quantized[value], self.places[value]) {
            let width = self.graph.nodes[value].width;
            self.quantized[value] = Some(self.quantize(from, width, levels));
        }
    }

    fn quantize(&mut self, from: Place, width: usize, levels: Levels) -> BufferId {
        let to = self.bytes(levels.bytes(width), 1);
        self.push(Step::Quantize { from, width, to, levels });
        to
    }

    pub(super) fn node(&mut self, index: usize) -> Result<(), Unplannable> {
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
                let (input, tables, norm) = (self.place(*input)?, (*position, *token_type), *norm);
                self.push(Step::PositionAndType { input, tables, norm, to });
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
                    int8: self.precisions.of(node) == Precision::Int8,
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

    /// The linears of the same stage that share a product with this one, which comes first. Each result
    /// starts at a multiple of 16 columns, so all widths but the last have to be multiples of 16.
    fn companions(&self, index: usize) -> Vec<usize> {
        let key = |i: usize| match &self.graph.nodes[i].op {
            Op::Linear { input, activation: Activation::Identity, residual: None, norm, .. }
                if !matches!(norm, Some(Norm { kind: NormKind::LayerNorm { .. }, .. })) =>
            {
                Some((*input, self.stage_of[i], self.precisions.of(&self.graph.nodes[i])))
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
        let precision = self.precisions.of(node);
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
        let product = self.product(*input, precision, parts)?;
        let alone = companions.len() == 1;
        let width = companions.iter().map(|&i| self.graph.nodes[i].width).sum();
        let readers = self.readers[index];
        let to = (!alone || readers.float).then(|| self.buffer(Content::Float(width)));
        let positive = *activation == Activation::Relu && residual.is_none() && norm.is_none();
        let levels = readers.narrow.and_then(levels).filter(|_| alone).map(|levels| match levels {
            Levels::Full if positive => Levels::Unsigned,
            levels => levels,
        });
        let quantized = levels.map(|levels| (self.bytes(levels.bytes(width), 1), levels));
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

    fn product(
        &mut self,
        value: ValueId,
        precision: Precision,
        parts: Vec<Part>,
    ) -> Result<Product, Unplannable> {
        if precision == Precision::F32 {
            return Ok(self.product_f32(self.place(value)?, parts));
        }
        let bytes = self.quantized[value.0].ok_or_else(|| self.unwritten(value))?;
        Ok(self.narrow_product(bytes, precision, parts))
    }

    fn narrow_product(&mut self, input: BufferId, precision: Precision, parts: Vec<Part>) -> Product {
        if precision == Precision::Bf16 {
            self.bf16.push(parts);
            return Product::Bf16(input, self.bf16.len() - 1);
        }
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
        let precision = self.precisions.of(node);
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
            let product = match levels(precision) {
                Some(levels) => {
                    let rows = self.quantize(from, width, levels);
                    self.narrow_product(rows, precision, vec![part])
                }
                None => self.product_f32(from, vec![part]),
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
