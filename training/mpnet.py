"""MPNet as a teacher: its forward pass, for the ids of BERT's uncased vocabulary.

MPNet is a BERT without types of sentences, with a bias of attention by distance that all layers share, and with four special
tokens before BERT's vocabulary. Names of modules are those of its checkpoints.

    MPNet: Masked and Permuted Pre-training for Language Understanding, arXiv 2004.09297
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from data import CLS, MASK, SEP

START, PADDING, END, HIDDEN = 0, 1, 2, 30526
"""MPNet's `<s>`, `<pad>`, `</s>` and `<mask>`."""

BEFORE_WORDS = 4
"""Special tokens before BERT's vocabulary."""

FURTHEST = 128
"""Distances beyond share a bias."""


def ids_of_bert(ids: Tensor, mask: Tensor) -> Tensor:
    """BERT's ids as MPNet's."""
    words = torch.where(ids == CLS, START, torch.where(ids == SEP, END, ids + BEFORE_WORDS))
    words = torch.where(ids == MASK, HIDDEN, words)
    return torch.where(mask, words, PADDING)


def distances(length: int, buckets: int) -> Tensor:
    """`[length, length]`: for each query and key, the number of their bias.

    Half of the buckets are for keys behind the query. Of each half, the first half are one distance each; the others grow
    with the logarithm up to `FURTHEST`.
    """
    places = torch.arange(length)
    ahead = places[:, None] - places
    half, exact = buckets // 2, buckets // 4
    distance = ahead.abs()
    grown = exact + (torch.log(distance.clamp(min=1) / exact) / math.log(FURTHEST / exact) * (half - exact)).long()
    bucket = torch.where(distance < exact, distance, grown.clamp(max=half - 1))
    return bucket + (ahead < 0) * half


class Attention(nn.Module):
    """Self-attention with a bias, the sum with its input and a norm."""

    def __init__(self, width: int, heads: int, epsilon: float) -> None:
        super().__init__()
        self.heads = heads
        self.attn = nn.ModuleDict({name: nn.Linear(width, width) for name in "qkvo"})
        self.LayerNorm = nn.LayerNorm(width, epsilon)

    def forward(self, x: Tensor, bias: Tensor, dropout: float) -> Tensor:
        q, k, v = (self.attn[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for name in "qkv")
        seen = F.scaled_dot_product_attention(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.LayerNorm(F.dropout(self.attn["o"](seen), dropout, self.training) + x)


class Layer(nn.Module):
    def __init__(self, width: int, heads: int, wide: int, epsilon: float) -> None:
        super().__init__()
        self.attention = Attention(width, heads, epsilon)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, wide)})
        self.output = nn.ModuleDict({"dense": nn.Linear(wide, width), "LayerNorm": nn.LayerNorm(width, epsilon)})

    def forward(self, x: Tensor, bias: Tensor, dropout: float) -> Tensor:
        y = self.attention(x, bias, dropout)
        wide = F.gelu(self.intermediate["dense"](y))
        return self.output["LayerNorm"](F.dropout(self.output["dense"](wide), dropout, self.training) + y)


class MPNet(nn.Module):
    """The encoder. It is called in two parts, so that what its first layers give can be kept if they are not trained."""

    def __init__(self, config: dict) -> None:
        super().__init__()
        width, heads, epsilon = config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"]
        self.buckets = config["relative_attention_num_buckets"]
        self.embeddings = nn.ModuleDict(
            {
                "word_embeddings": nn.Embedding(config["vocab_size"], width, PADDING),
                "position_embeddings": nn.Embedding(config["max_position_embeddings"], width, PADDING),
                "LayerNorm": nn.LayerNorm(width, epsilon),
            }
        )
        layers = [Layer(width, heads, config["intermediate_size"], epsilon) for _ in range(config["num_hidden_layers"])]
        self.encoder = nn.ModuleDict(
            {"layer": nn.ModuleList(layers), "relative_attention_bias": nn.Embedding(self.buckets, heads)}
        )

    def embed(self, ids: Tensor, mask: Tensor) -> Tensor:
        """`[batch, tokens, hidden]` of BERT's `ids`, of which those count where `mask` is true."""
        places = torch.where(mask, PADDING + mask.cumsum(1), PADDING)
        words = self.embeddings["word_embeddings"](ids_of_bert(ids, mask))
        return self.embeddings["LayerNorm"](words + self.embeddings["position_embeddings"](places))

    def layers(self, x: Tensor, mask: Tensor, first: int = 0, last: int | None = None, dropout: float = 0.0) -> Tensor:
        """Runs the layers from `first` to before `last`."""
        numbers = distances(x.shape[1], self.buckets).to(x.device)
        bias = self.encoder["relative_attention_bias"](numbers).permute(2, 0, 1)[None]
        bias = bias.masked_fill(~mask[:, None, None, :], -1e9)
        for layer in self.encoder["layer"][first:last]:
            x = layer(x, bias, dropout)
        return x

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.layers(self.embed(ids, mask), mask)


def open_mpnet(folder: Path) -> MPNet:
    """A folder with `config.json` and `model.safetensors`, with or without a pooler and a prefix of names."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    if config["model_type"] != "mpnet" or config["hidden_act"] != "gelu":
        raise SystemExit(f"{folder}: model_type is {config['model_type']}; expected mpnet, with gelu")
    model = MPNet(config)
    tensors = {name.removeprefix("mpnet."): x.float() for name, x in load_file(folder / "model.safetensors").items()}
    wanted = model.state_dict()
    if missing := wanted.keys() - tensors.keys():
        raise SystemExit(f"{folder}: no tensor {min(missing)}")
    model.load_state_dict({name: tensors[name] for name in wanted})
    return model
