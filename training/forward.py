"""Forward passes of Hugging Face's MobileBERT and BERT modules that show what distillation compares.

The modules and their names are Hugging Face's, so checkpoints are too; only the order of operations is written out here:
it exposes hidden states, queries and keys without hooks, compiles as one graph, and lets the arithmetic be swapped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, cat
from torch.nn import Module
from transformers import PreTrainedModel

from quantize import Arithmetic


@dataclass
class Trace:
    """What the layers of an encoder computed."""

    hidden: list[Tensor]
    """`[batch, tokens, hidden]`: the embeddings, then each layer's output."""
    query: list[Tensor] = field(default_factory=list)
    """`[batch, tokens, width]` of each layer."""
    key: list[Tensor] = field(default_factory=list)
    attended: list[Tensor] = field(default_factory=list)
    """`[batch, tokens, hidden]`: what a BERT's layers have between attention and feed-forward network."""

    def every(self, stride: int) -> "Trace":
        """The hidden states of sequences 0, `stride`, 2 `stride`, ..."""
        return Trace([x[::stride] for x in self.hidden])


def encode(encoder: PreTrainedModel, ids: Tensor, types: Tensor, mask: Tensor | None, how: Arithmetic) -> Trace:
    """Runs `MobileBertModel` or `BertModel`. `ids`, `types`, `mask`: `[batch, tokens]`; no mask means no padding."""
    keys = None if mask is None else mask[:, None, None, :]
    run = _mobilebert if encoder.config.model_type == "mobilebert" else _bert
    return run(encoder, ids, types, keys, how)


def compiled() -> Callable[..., Trace]:
    """`encode` through torch.compile: once for each model and each shape, of which training has few."""
    torch._dynamo.config.recompile_limit = 64
    return torch.compile(encode, dynamic=False)


def pooled(encoder: PreTrainedModel, hidden: Tensor, how: Arithmetic) -> Tensor:
    """The first token's state through the pooler: input of a classifier."""
    return how.linear(encoder.pooler.dense, hidden[:, 0]).tanh()


def heads(x: Tensor, count: int) -> Tensor:
    """`[batch, tokens, width]` to `[batch, count, tokens, width / count]`."""
    return x.unflatten(-1, (count, -1)).transpose(1, 2)


def _attend(how: Arithmetic, count: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    return how.attention(heads(q, count), heads(k, count), heads(v, count), mask).transpose(1, 2).flatten(2)


def _mobilebert(encoder: Module, ids: Tensor, types: Tensor, mask: Tensor | None, how: Arithmetic) -> Trace:
    x = mobilebert_embeddings(encoder, ids, types, how)
    trace = Trace([x])
    for layer in encoder.encoder.layer:
        x, q, k = mobilebert_layer(layer, encoder.config.num_attention_heads, x, mask, how)
        trace.hidden.append(x)
        trace.query.append(q)
        trace.key.append(k)
    return trace


def mobilebert_embeddings(encoder: Module, ids: Tensor, types: Tensor, how: Arithmetic) -> Tensor:
    """`[batch, tokens, hidden]`."""
    e = encoder.embeddings
    words = how.embedding(e.word_embeddings, ids)
    trigram = cat([F.pad(words[:, 1:], (0, 0, 0, 1)), words, F.pad(words[:, :-1], (0, 0, 1, 0))], dim=2)
    positions = how.embedding(e.position_embeddings, e.position_ids[:, : ids.shape[1]])
    return how.norm(e.LayerNorm, how.linear(e.embedding_transformation, trigram) + positions + e.token_type_embeddings(types))


def mobilebert_layer(
    layer: Module, count: int, x: Tensor, mask: Tensor | None, how: Arithmetic
) -> tuple[Tensor, Tensor, Tensor]:
    """Output, queries and keys. `count`: heads; `mask`: true where a key counts, `[batch, 1, 1, tokens]`."""
    narrow, attention = layer.bottleneck, layer.attention
    residual = how.norm(narrow.input.LayerNorm, how.linear(narrow.input.dense, x))
    shared = how.norm(narrow.attention.LayerNorm, how.linear(narrow.attention.dense, x))
    q = how.linear(attention.self.query, shared)
    k = how.linear(attention.self.key, shared)
    v = how.linear(attention.self.value, x)
    context = how.linear(attention.output.dense, _attend(how, count, q, k, v, mask))
    y = how.norm(attention.output.LayerNorm, context + residual)
    return mobilebert_feedforward(layer, x, y, how), q, k


def mobilebert_feedforward(layer: Module, x: Tensor, y: Tensor, how: Arithmetic) -> Tensor:
    """From the layer's input `x` and what its attention gave, `y`, through the networks back to the full width."""
    for block in [*getattr(layer, "ffn", ()), layer]:
        wide = how.linear(block.intermediate.dense, y).relu()
        y = how.norm(block.output.LayerNorm, how.linear(block.output.dense, wide, after_relu=True) + y)
    widen = layer.output.bottleneck
    return how.norm(widen.LayerNorm, how.linear(widen.dense, y) + x)


def _bert(encoder: Module, ids: Tensor, types: Tensor, mask: Tensor | None, how: Arithmetic) -> Trace:
    e, count = encoder.embeddings, encoder.config.num_attention_heads
    positions = how.embedding(e.position_embeddings, e.position_ids[:, : ids.shape[1]])
    x = how.norm(e.LayerNorm, how.embedding(e.word_embeddings, ids) + positions + e.token_type_embeddings(types))
    x = how.drop(x)
    trace = Trace([x])
    for layer in encoder.encoder.layer:
        attention = layer.attention
        q = how.linear(attention.self.query, x)
        k = how.linear(attention.self.key, x)
        v = how.linear(attention.self.value, x)
        context = how.linear(attention.output.dense, _attend(how, count, q, k, v, mask))
        y = how.norm(attention.output.LayerNorm, how.drop(context) + x)
        trace.attended.append(y)
        wide = layer.intermediate.intermediate_act_fn(how.linear(layer.intermediate.dense, y))
        x = how.norm(layer.output.LayerNorm, how.drop(how.linear(layer.output.dense, wide)) + y)
        trace.hidden.append(x)
        trace.query.append(q)
        trace.key.append(k)
    return trace
