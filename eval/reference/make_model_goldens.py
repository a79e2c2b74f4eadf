"""Activations and logits of small models with synthetic weights, and of a full-size MobileBERT."""

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    MobileBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

import synthetic

LENGTHS = (2, 9, 33, 20)
FEW = (2, 9, 20)
VOCABULARY = 64

MOBILEBERT = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    embedding_size=12,
    intra_bottleneck_size=16,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_feedforward_networks=4,
    max_position_embeddings=40,
    layer_norm_eps=1e-3,
)
BERT = dict(
    vocab_size=VOCABULARY,
    hidden_size=24,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=40,
    layer_norm_eps=1e-3,
)
DISTILBERT = dict(
    vocab_size=VOCABULARY,
    dim=24,
    hidden_dim=40,
    n_layers=2,
    n_heads=3,
    max_position_embeddings=40,
)
ELECTRA = dict(
    vocab_size=VOCABULARY,
    hidden_size=24,
    embedding_size=16,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=3,
    max_position_embeddings=40,
    layer_norm_eps=1e-3,
)
# What the name of a case begins with: Hugging Face's class prefix, its configuration, and the options of all cases.
FAMILIES = {
    "mobilebert": ("MobileBert", MobileBertConfig, MOBILEBERT),
    "bert": ("Bert", BertConfig, BERT),
    "distilbert": ("DistilBert", DistilBertConfig, DISTILBERT),
    "electra": ("Electra", ElectraConfig, ELECTRA),
}


@dataclass(frozen=True)
class Case:
    name: str
    head: str = "ForQuestionAnswering"
    options: dict = field(default_factory=dict)
    padded: bool = False
    nonzero_pad_row: bool = False
    lengths: tuple[int, ...] = LENGTHS

    @property
    def _family(self) -> tuple[str, type[PreTrainedConfig], dict]:
        return FAMILIES.get(self.name.split("_")[0], FAMILIES["mobilebert"])

    @property
    def family(self) -> str:
        return self._family[0]

    def config(self) -> PreTrainedConfig:
        _, config, options = self._family
        return config(**options | self.options)


CASES = (
    Case("mobilebert_default", lengths=(1, *LENGTHS)),
    Case("mobilebert_no_trigram", "ForTokenClassification", dict(trigram_input=False, num_labels=5)),
    Case(
        "mobilebert_unused_transformation",
        "ForSequenceClassification",
        dict(trigram_input=False, embedding_size=32, num_labels=2),
    ),
    Case("mobilebert_no_bottleneck", "Model", dict(use_bottleneck=False)),
    Case("mobilebert_no_bottleneck_layer_norm", options=dict(use_bottleneck=False, normalization_type="layer_norm")),
    Case(
        "mobilebert_layer_norm",
        "ForSequenceClassification",
        dict(normalization_type="layer_norm", num_labels=3, num_hidden_layers=3),
    ),
    Case("mobilebert_bottleneck_attention_shared", options=dict(use_bottleneck_attention=True)),
    Case(
        "mobilebert_bottleneck_attention",
        "ForTokenClassification",
        dict(use_bottleneck_attention=True, key_query_shared_bottleneck=False, num_labels=3),
    ),
    Case("mobilebert_full_width_attention", options=dict(key_query_shared_bottleneck=False, intra_bottleneck_size=32)),
    Case("mobilebert_one_ffn", "ForSequenceClassification", dict(num_feedforward_networks=1, num_labels=1)),
    Case("mobilebert_three_ffns_gelu", options=dict(num_feedforward_networks=3, hidden_act="gelu", type_vocab_size=3)),
    Case("mobilebert_no_pooler", "ForSequenceClassification", dict(classifier_activation=False, num_labels=2)),
    Case("mobilebert_masked_lm", "ForMaskedLM", dict(vocab_size=80)),
    Case("mobilebert_padded", padded=True),
    Case(
        "mobilebert_padded_layer_norm",
        "ForTokenClassification",
        dict(normalization_type="layer_norm", num_labels=4),
        padded=True,
    ),
    Case("bert_gelu"),
    Case("bert_gelu_new", "ForTokenClassification", dict(hidden_act="gelu_new", num_labels=5)),
    Case("bert_relu", "Model", dict(hidden_act="relu", intermediate_size=20, num_hidden_layers=3)),
    Case("bert_masked_lm", "ForMaskedLM", dict(vocab_size=80)),
    Case("bert_sequence_classification", "ForSequenceClassification", dict(num_labels=3, hidden_size=48)),
    Case("bert_padded", padded=True),
    Case("bert_multiple_choice", "ForMultipleChoice", dict(hidden_act="swish"), lengths=FEW),
    Case("mobilebert_multiple_choice", "ForMultipleChoice", lengths=FEW),
    Case("distilbert_gelu", lengths=FEW),
    Case("distilbert_model", "Model", dict(activation="relu", n_layers=3), lengths=FEW),
    Case("distilbert_sequence_classification", "ForSequenceClassification", dict(num_labels=3), lengths=FEW),
    Case("distilbert_silu", "ForTokenClassification", dict(activation="silu", num_labels=5), lengths=FEW),
    Case("distilbert_masked_lm", "ForMaskedLM", dict(activation="gelu_fast", vocab_size=80), lengths=FEW),
    Case("distilbert_multiple_choice", "ForMultipleChoice", dict(activation="gelu_python"), lengths=FEW),
    Case("distilbert_padded", padded=True, lengths=FEW),
    Case("electra_gelu", lengths=FEW),
    Case("electra_model", "Model", dict(embedding_size=24), lengths=FEW),
    Case("electra_sequence_classification", "ForSequenceClassification", dict(num_labels=3), lengths=FEW),
    Case(
        "electra_gelu_tanh",
        "ForTokenClassification",
        dict(hidden_act="gelu_pytorch_tanh", num_labels=5, type_vocab_size=3),
        lengths=FEW,
    ),
    Case("electra_masked_lm", "ForMaskedLM", dict(hidden_act="tanh", vocab_size=80), lengths=FEW),
    Case("electra_multiple_choice", "ForMultipleChoice", dict(embedding_size=32), lengths=FEW),
    Case("electra_padded", padded=True, lengths=FEW),
    Case("pad_row", nonzero_pad_row=True),
)

# "[CLS] question [SEP] passage [SEP]" in the original uncased vocabulary: "what is the capital of france?" with
# "paris is the capital and largest city of france.", and "who wrote it?" with "a poet."
FULL_SIZE_IDS = [
    [101, 2054, 2003, 1996, 3007, 1997, 2605, 1029, 102, 3000, 2003, 1996, 3007, 1998, 2922, 2103, 1997, 2605, 1012,
     2009, 2003, 2214, 1012, 102],
    [101, 2040, 2626, 2009, 1029, 102, 1037, 4802, 102],
]  # fmt: skip
FULL_SIZE_TYPES = [[0] * 9 + [1] * 15, [0] * 6 + [1] * 3]

SAMPLES = (
    ("embeddings.word_embeddings.weight", (30522, 128)),
    ("embeddings.LayerNorm.weight", (512,)),
    ("encoder.layer.0.attention.self.query.weight", (128, 128)),
    ("encoder.layer.23.bottleneck.input.dense.weight", (128, 512)),
    ("cls.predictions.dense.weight", (384, 30522)),
    ("qa_outputs.bias", (2,)),
)


def sequences(case: Case, vocabulary: int, types: int) -> tuple[list[list[int]], list[list[int]]]:
    """Ids that together visit the vocabulary, and token types that change inside every sequence."""
    rng = np.random.default_rng(synthetic.fnv1a(case.name))
    stream = np.concatenate([rng.permutation(vocabulary) for _ in range(1 + sum(case.lengths) // vocabulary)])
    ends = np.cumsum(case.lengths)
    ids = [stream[end - length : end].tolist() for end, length in zip(ends, case.lengths, strict=True)]
    return ids, [[position * types // length for position in range(length)] for length in case.lengths]


def build(config: PreTrainedConfig, family: str, head: str, zero_pad_row: bool) -> PreTrainedModel:
    config._attn_implementation = "eager"
    config.architectures = [family + head]
    model = getattr(transformers, family + head)(config).eval()
    synthetic.fill(model, zero_pad_row)
    return model


@torch.no_grad()
def run(model: PreTrainedModel, ids: list[list[int]], types: list[list[int]]) -> list[dict[str, torch.Tensor]]:
    """Runs one right-padded batch; gives every sequence's valid rows."""
    longest = max(map(len, ids))

    def pad(rows: list[list[int]], value: int) -> torch.Tensor:
        return torch.tensor([row + [value] * (longest - len(row)) for row in rows])

    kept: dict[str, torch.Tensor] = {}

    def keep(name: str):
        return lambda _module, _inputs, output: kept.__setitem__(name, output)

    base = model.base_model
    is_distilbert = model.config.model_type == "distilbert"
    layers = base.transformer.layer if is_distilbert else base.encoder.layer
    hooks = [base.embeddings.register_forward_hook(keep("embeddings"))]
    hooks += [layer.register_forward_hook(keep(f"layer.{l}")) for l, layer in enumerate(layers)]
    inputs = {
        "input_ids": pad(ids, model.config.pad_token_id),
        "attention_mask": pad([[1] * len(row) for row in ids], 0),
    }
    if not is_distilbert:
        inputs["token_type_ids"] = pad(types, 0)
    is_choice = type(model).__name__.endswith("ForMultipleChoice")
    if is_choice:
        # All sequences are choices of one question.
        inputs = {name: value[None] for name, value in inputs.items()}
    output = model(**inputs)
    for hook in hooks:
        hook.remove()

    if "start_logits" in output:
        kept["logits"] = torch.stack((output.start_logits, output.end_logits), dim=-1)
    else:
        kept["logits"] = output.logits if "logits" in output else output.last_hidden_state
    if is_choice:
        kept["logits"] = kept["logits"].reshape(-1, 1)
    return [
        {name: (value[s, : len(row)] if value.dim() == 3 else value[s]).clone() for name, value in kept.items()}
        for s, row in enumerate(ids)
    ]


def run_alone(model: PreTrainedModel, ids: list[list[int]], types: list[list[int]]) -> list[dict[str, torch.Tensor]]:
    return [run(model, [i], [t])[0] for i, t in zip(ids, types, strict=True)]


def write(out: Path, name: str, description: dict, results: list[dict[str, torch.Tensor]]) -> None:
    tensors = {f"{s}.{key}": value.contiguous() for s, result in enumerate(results) for key, value in result.items()}
    for key, value in tensors.items():
        assert value.isfinite().all(), f"{name} {key}"
        assert value.numel() < 4 or value.std() > 1e-3, f"{name} {key} is constant"
    save_file(tensors, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps(description, sort_keys=True) + "\n")


def describe(model: PreTrainedModel, ids: list[list[int]], types: list[list[int]]) -> dict:
    return {"config": model.config.to_dict(), "input_ids": ids, "token_type_ids": types, "padded": False}


def make_case(case: Case, out: Path) -> None:
    model = build(case.config(), case.family, case.head, not case.nonzero_pad_row)
    # DistilBERT has no token types; an engine has to ignore those that it gets.
    ids, types = sequences(case, model.config.vocab_size, getattr(model.config, "type_vocab_size", 2))
    results = run(model, ids, types) if case.padded else run_alone(model, ids, types)
    description = describe(model, ids, types) | {"padded": case.padded}
    if case.nonzero_pad_row:
        description["nonzero_pad_row"] = True
        for alone, padded in zip(results, run(model, ids, types), strict=True):
            alone["padded_logits"] = padded["logits"]
    write(out, case.name, description, results)
    logits = torch.cat([result["logits"].flatten() for result in results])
    print(f"{case.name}: logits {logits.min():.3f}..{logits.max():.3f}, std {logits.std():.3f}")


def make_full_size(out: Path) -> None:
    model = build(MobileBertConfig(), "MobileBert", "ForQuestionAnswering", zero_pad_row=True)
    results = run_alone(model, FULL_SIZE_IDS, FULL_SIZE_TYPES)
    exact = run_alone(model.double(), FULL_SIZE_IDS, FULL_SIZE_TYPES)
    for s, (result, reference) in enumerate(zip(results, exact, strict=True)):
        for key, value in result.items():
            error = (value - reference[key]).abs().max()
            print(
                f"mobilebert_24 {s}.{key}: {value.min():.4f}..{value.max():.4f}, std {value.std():.4f}, "
                f"f32 against f64 {error:.1e}"
            )
    kept = [
        {"logits": result.pop("logits")} | {f"{key}.row0": value[0] for key, value in result.items()}
        for result in results
    ]
    write(out, "mobilebert_24", describe(model.float(), FULL_SIZE_IDS, FULL_SIZE_TYPES), kept)


def make_synthetic_samples(out: Path) -> None:
    """A few values of the formula, for a test that fails before any model does."""
    samples = []
    for name, shape in SAMPLES:
        values = synthetic.tensor(name, shape).flatten().tolist()
        samples.append({"name": name, "shape": shape, "first": values[:4], "last": values[-2:]})
    (out / "synthetic.json").write_text(json.dumps(samples, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder models")
    parser.add_argument("--only", help="makes only the cases whose name begins with this")
    arguments = parser.parse_args()
    out = arguments.out / "models"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for case in CASES:
        if case.name.startswith(arguments.only or ""):
            make_case(case, out)
    if arguments.only:
        return
    make_synthetic_samples(out)
    make_full_size(out)


if __name__ == "__main__":
    main()
