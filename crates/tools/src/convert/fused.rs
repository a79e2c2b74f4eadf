//! Writes the operators that ONNX Runtime's optimizer fuses as the operators that they stand for.

use super::flow::{Op, Origin, ValueIndex};
use super::onnx::Builder;
use super::stored::View;
use crate::foreign::onnx::OnnxNode;
use mobilebert::format::{Bytes, ElementType, Entry};

/// The epsilon of a norm that gives none.
const DEFAULT_EPS: f32 = 1e-12;

/// Adds the operators that a fused one stands for. Returns `None`, and adds nothing that is read, if the node
/// is not a fused operator, or one of a form that this architecture does not have.
pub(super) fn lower(builder: &mut Builder, node: &OnnxNode, inputs: &[Option<ValueIndex>]) -> Option<()> {
    if node.domain != "com.microsoft" {
        return None;
    }
    let mut fused = Fused { builder, node, inputs };
    let output = match node.op.as_str() {
        "SkipLayerNormalization" => fused.skip_layer_norm()?,
        "EmbedLayerNormalization" => fused.embeddings()?,
        "BiasGelu" => fused.activated(Op::Gelu)?,
        "FastGelu" => fused.activated(Op::GeluTanh)?,
        "FusedGemm" => fused.gemm()?,
        "FusedMatMul" => fused.scaled_product()?,
        "Attention" => fused.attention()?,
        _ => return None,
    };
    builder.alias(node.outputs.first()?, output);
    Some(())
}

struct Fused<'a> {
    builder: &'a mut Builder,
    node: &'a OnnxNode,
    inputs: &'a [Option<ValueIndex>],
}

impl Fused<'_> {
    fn input(&self, index: usize) -> Option<ValueIndex> {
        self.inputs.get(index).copied().flatten()
    }

    fn push(&mut self, op: Op, inputs: &[ValueIndex]) -> ValueIndex {
        let name = if self.node.name.is_empty() { self.node.outputs.first() } else { Some(&self.node.name) };
        let inputs = inputs.iter().copied().map(Some).collect();
        self.builder.push(op, inputs, name.map_or("", String::as_str), self.node.offset)
    }

    fn sum(&mut self, first: ValueIndex, second: Option<ValueIndex>) -> ValueIndex {
        second.map_or(first, |second| self.push(Op::Add, &[first, second]))
    }

    fn eps(&self) -> f32 {
        self.node.float("epsilon").unwrap_or(DEFAULT_EPS)
    }

    /// The norm of input + skip + bias. The bias is that of the linear, which may be either of the two.
    fn skip_layer_norm(&mut self) -> Option<ValueIndex> {
        let [mut a, mut b, gamma, beta] = [self.input(0)?, self.input(1)?, self.input(2)?, self.input(3)?];
        let is_product = |value| {
            let node = self.builder.producer(value);
            node.is_some_and(|node| matches!(node.op, Op::MatMul | Op::Mul | Op::MatMulInteger))
        };
        if is_product(a) || !is_product(b) {
            a = self.sum(a, self.input(4));
        } else {
            b = self.sum(b, self.input(4));
        }
        let sum = self.sum(a, Some(b));
        if let Some(name) = self.node.outputs.get(3).filter(|name| !name.is_empty()) {
            self.builder.alias(name, sum);
        }
        Some(self.push(Op::LayerNorm { eps: self.eps() }, &[sum, gamma, beta]))
    }

    /// The norm of the sum of words, positions and token types.
    fn embeddings(&mut self) -> Option<ValueIndex> {
        let [ids, words, positions] = [self.input(0)?, self.input(2)?, self.input(3)?];
        let [gamma, beta] = [self.input(5)?, self.input(6)?];
        let places = match self.input(8) {
            Some(places) => places,
            None => {
                self.numbers("positions", ElementType::I64, &[0i64, 1].map(i64::to_le_bytes).concat(), 2)?
            }
        };
        let words = self.push(Op::Gather { axis: 0 }, &[words, ids]);
        let positions = self.push(Op::Gather { axis: 0 }, &[positions, places]);
        let types = match (self.input(1), self.input(4)) {
            (Some(types), Some(table)) => Some(self.push(Op::Gather { axis: 0 }, &[table, types])),
            _ => None,
        };
        let sum = self.sum(words, Some(positions));
        let sum = self.sum(sum, types);
        if let Some(name) = self.node.outputs.get(2).filter(|name| !name.is_empty()) {
            self.builder.alias(name, sum);
        }
        Some(self.push(Op::LayerNorm { eps: self.eps() }, &[sum, gamma, beta]))
    }

    /// An activation of input + bias.
    fn activated(&mut self, op: Op) -> Option<ValueIndex> {
        let sum = self.sum(self.input(0)?, self.input(1));
        Some(self.push(op, &[sum]))
    }

    fn gemm(&mut self) -> Option<ValueIndex> {
        let is_plain = self.node.float("alpha").unwrap_or(1.0) == 1.0
            && self.node.float("beta").unwrap_or(1.0) == 1.0
            && self.node.int("transA").unwrap_or(0) == 0;
        let op = match self.node.text("activation")? {
            "Tanh" => Op::Tanh,
            "Relu" => Op::Relu,
            _ => return None,
        };
        let mut inputs = vec![self.input(0)?, self.input(1)?];
        inputs.extend(self.input(2));
        let transposed = self.node.int("transB").unwrap_or(0) == 0;
        let linear = is_plain.then(|| self.push(Op::Linear { transposed }, &inputs))?;
        Some(self.push(op, &[linear]))
    }

    /// A product of two values that are both computed, times a number.
    fn scaled_product(&mut self) -> Option<ValueIndex> {
        let operands = [self.input(0)?, self.input(1)?];
        let is_plain =
            ["transA", "transBatchA", "transBatchB"].iter().all(|name| self.node.int(name).unwrap_or(0) == 0);
        if !is_plain || operands.iter().any(|&operand| self.builder.constant(operand).is_some()) {
            return None;
        }
        let product = self.push(Op::MatMul, &operands);
        let alpha = self.node.float("alpha").unwrap_or(1.0);
        let alpha = self.numbers("alpha", ElementType::F32, &alpha.to_le_bytes(), 1)?;
        Some(self.push(Op::Mul, &[product, alpha]))
    }

    /// Self-attention with the weights of queries, keys and values side by side. The mask is one of padding,
    /// with a number for each token or a length for each text.
    fn attention(&mut self) -> Option<ValueIndex> {
        let [input, weights, bias] = [self.input(0)?, self.input(1)?, self.input(2)?];
        let of_scores = [self.input(4), self.input(5), self.input(6)];
        let flags = ["unidirectional", "do_rotary", "past_present_share_buffer"];
        let is_plain = of_scores.iter().all(Option::is_none)
            && flags.iter().all(|name| self.node.int(name).unwrap_or(0) == 0)
            && !self.node.attributes.iter().any(|(name, _)| name == "qkv_hidden_sizes");
        let weights = self.builder.constant(weights).filter(|view| view.shape.len() == 2)?.clone();
        let bias = self.builder.constant(bias).filter(|view| view.shape.len() == 1)?.clone();
        let width = weights.shape[1] / 3;
        let heads = usize::try_from(self.node.int("num_heads")?).ok().filter(|&heads| heads > 0)?;
        if !is_plain
            || bias.shape[0] != weights.shape[1]
            || width * 3 != weights.shape[1]
            || width % heads != 0
        {
            return None;
        }
        let scale = self.node.float("scale").filter(|&scale| scale != 0.0);
        let scale = scale.unwrap_or_else(|| 1.0 / ((width / heads) as f32).sqrt());
        let parts = [0, 1, 2].map(|part| {
            let columns = Some(part * width..(part + 1) * width);
            let [weight, bias] = [&weights, &bias].map(|whole| {
                let view = View { columns: columns.clone(), ..whole.clone() };
                self.builder.value(&whole.name, Origin::Constant(view))
            });
            let product = self.push(Op::MatMul, &[input, weight]);
            self.push(Op::Add, &[product, bias])
        });
        let operands: Vec<ValueIndex> = parts.into_iter().chain(self.input(3)).collect();
        Some(self.push(Op::Attention { scale: Some(scale) }, &operands))
    }

    /// Adds a constant that the file does not have.
    fn numbers(&mut self, what: &str, dtype: ElementType, bytes: &[u8], count: usize) -> Option<ValueIndex> {
        let name = format!("{} ({what})", self.node.outputs.first()?);
        let entry = Entry::new(vec![count], dtype, 0..bytes.len());
        let view = View::new(&name, &[count]);
        self.builder.checkpoint.add(&name, Bytes::Owned(bytes.to_vec()), vec![(name.clone(), entry)]).ok()?;
        Some(self.builder.value(&name, Origin::Constant(view)))
    }
}
