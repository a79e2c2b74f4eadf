"""The engine's int8 arithmetic with gradients (docs/kernels.md), and plain floats behind the same methods.

Forward passes round as the engine does; backward passes take rounding for the identity (straight-through). Weights go
through f16 first, because that is how they are exported.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_RANGE = 1e-30


def constant(value: float, like: Tensor) -> Tensor:
    """For divisions: PyTorch divides by a Python number, or such a number by a tensor, through a rounded inverse."""
    return like.new_full((1,), value)


def fma(x: Tensor, factor: Tensor, summand: Tensor) -> Tensor:
    """`x * factor + summand` rounded once. Kernels of a GPU contract it; a CPU's do not, so it goes through f64."""
    if x.is_cuda:
        return torch.addcmul(summand, x, factor)
    return (x.double() * factor.double() + summand.double()).float()


def row_levels(x: Tensor, unsigned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Activations: levels 0..255 over the last dimension's minimum (or 0) to its maximum, with scale and offset."""
    high = x.amax(-1, keepdim=True)
    offset = torch.zeros_like(high) if unsigned else x.amin(-1, keepdim=True) + 0.0
    width = high - offset
    spread = width >= SMALLEST_RANGE
    inverse = torch.where(spread, constant(255.0, width) / width, 0.0)
    levels = fma(x, inverse, -offset * inverse).round().clamp(0, 255)
    return levels, torch.where(spread, width / constant(255.0, width), 0.0), offset


def symmetric_levels(x: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values: levels -127..127 and the scale, over the last dimension."""
    largest = x.abs().amax(-1, keepdim=True)
    scale = torch.where(largest >= SMALLEST_RANGE, largest / constant(127.0, largest), 0.0)
    inverse = torch.where(scale == 0, 0.0, constant(1.0, scale) / scale)
    return (x * inverse).clamp(-127, 127).round(), scale


def weight_levels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights: levels -127..127 and the scale of each row, as `mobilebert quantize` computes them from f16."""
    rows = weight.half().float()
    scale = rows.abs().amax(-1, keepdim=True) / constant(127.0, rows)
    scale = torch.where(scale < torch.finfo(torch.float32).tiny, 1.0, scale)
    return (rows / scale).round().clamp(-127, 127), scale


def straight_through(x: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, with the gradient of `x`."""
    return x + (rounded - x).detach()


class _Int8Linear(torch.autograd.Function):
    """Integers are exact in f32 and in TF32, so their products are; sums are exact below 2^24."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, unsigned: bool) -> Tensor:
        levels, scale, offset = row_levels(x, unsigned)
        columns, column_scale = weight_levels(weight)
        ctx.save_for_backward(levels.to(torch.uint8), scale, offset, columns * column_scale)
        column_scale = column_scale.squeeze(-1)
        return levels @ columns.T * scale * column_scale + (offset * (column_scale * columns.sum(-1)) + bias)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        levels, scale, offset, weight = ctx.saved_tensors
        rows, x = grad.flatten(0, -2), (levels * scale + offset).flatten(0, -2)
        return grad @ weight, rows.T @ x, rows.sum(0), None


class Arithmetic(Protocol):
    """Who multiplies: see `forward.py`."""

    def linear(self, layer: nn.Linear, x: Tensor, after_relu: bool = False) -> Tensor: ...
    def embedding(self, table: nn.Embedding, ids: Tensor) -> Tensor: ...
    def norm(self, layer: nn.Module, x: Tensor) -> Tensor: ...
    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor: ...
    def drop(self, x: Tensor) -> Tensor: ...


class Float:
    """PyTorch's own operations."""

    def linear(self, layer: nn.Linear, x: Tensor, after_relu: bool = False) -> Tensor:
        return layer(x)

    def embedding(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return table(ids)

    def norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        return layer(x)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """Queries, keys, values `[batch, heads, tokens, size]`; `mask` is true where a key counts."""
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)

    def drop(self, x: Tensor) -> Tensor:
        """`x`, or with dropout: a BERT's embeddings, weights of attention, what joins a residual, and pooled state."""
        return x


class FloatWithDropout(Float):
    """For training a BERT on a CPU without bf16 products."""

    def __init__(self, share: float) -> None:
        self.share = share

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.share)


class Bfloat16(Float):
    """Weights stay f32, everything between them is bf16: for CPUs with bf16 products (AMX, AVX512-BF16).

    Autocast returns to f32 at each NoNorm, and the backward pass of PyTorch's fused attention is slow for short
    sequences: with both, a step of 6 layers took 1.6 times as long (Xeon with AMX, one core, 256 x 16 tokens).
    """

    def linear(self, layer: nn.Linear, x: Tensor, after_relu: bool = False) -> Tensor:
        return F.linear(x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16())

    def embedding(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        return table(ids).bfloat16()

    def norm(self, layer: nn.Module, x: Tensor) -> Tensor:
        x, weight, bias = x.bfloat16(), layer.weight.bfloat16(), layer.bias.bfloat16()
        if isinstance(layer, nn.LayerNorm):
            return F.layer_norm(x, layer.normalized_shape, weight, bias, layer.eps)
        return torch.addcmul(bias, x, weight)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        scores = query * query.shape[-1] ** -0.5 @ key.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return self.drop(scores.softmax(-1)) @ value


class Bfloat16WithDropout(Bfloat16):
    """For training a BERT on labels alone."""

    def __init__(self, share: float) -> None:
        self.share = share

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.share)


class Int8(Float):
    """The engine's int8 path, up to its polynomial of exp and the last bit of f32 sums."""

    def linear(self, layer: nn.Linear, x: Tensor, after_relu: bool = False) -> Tensor:
        return _Int8Linear.apply(x, layer.weight, layer.bias, after_relu)

    def embedding(self, table: nn.Embedding, ids: Tensor) -> Tensor:
        rows = table(ids)
        levels, scale = weight_levels(rows.detach())
        return straight_through(rows, levels * scale)

    def attention(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        with torch.autocast(query.device.type, enabled=False):
            query, key, value = query.float(), key.float(), value.float()
            levels, scale, offset = row_levels(query.detach(), unsigned=False)
            query = straight_through(query, levels * scale + offset)
            levels, scale = symmetric_levels(key.detach())
            key = straight_through(key, levels * scale)
            levels, scale = symmetric_levels(value.detach())
            value = straight_through(value, levels * scale)

            scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            weights = (scores - scores.amax(-1, keepdim=True).detach()).exp()
            # Each probability is rounded as a multiple of its value's scale, so that the engine's sum stays integer.
            by_value = scale.transpose(-1, -2)
            levels, step, _ = row_levels(weights.detach() * by_value, unsigned=True)
            rounded = torch.where(by_value == 0, 0.0, levels * step / by_value)
            return straight_through(weights, rounded) @ value / weights.sum(-1, keepdim=True)
