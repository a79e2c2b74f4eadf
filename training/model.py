"""The student, made or opened, and its teachers."""

from math import sqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    MobileBertConfig,
    MobileBertForMaskedLM,
    PreTrainedModel,
    logging,
)

from config import Student
from names import TAGS

logging.set_verbosity_error()
logging.disable_progress_bar()

HEADS = {
    "qa": AutoModelForQuestionAnswering,
    "sst2": AutoModelForSequenceClassification,
    "ner": AutoModelForTokenClassification,
    "mlm": AutoModelForMaskedLM,
    "none": AutoModel,
}


def configuration(size: Student, vocab_size: int) -> MobileBertConfig:
    return MobileBertConfig(
        vocab_size=vocab_size,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.feedforward,
        intra_bottleneck_size=size.bottleneck,
        embedding_size=size.embedding,
        num_feedforward_networks=size.ffns,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def student(size: Student, vocab_size: int) -> MobileBertForMaskedLM:
    """A new MobileBERT with a head for masked words. Initialise it with `initialise`."""
    return MobileBertForMaskedLM(configuration(size, vocab_size))


@torch.no_grad()
def initialise(model: MobileBertForMaskedLM, teacher_words: Tensor) -> None:
    """Weights that NoNorm stands (nothing rescales its input, so a random layer must not grow it), words by PCA.

    Linears keep the variance of their input (1 / fan-in, twice that after a ReLU). Those that end on a residual are
    divided by the root of the number of terms of that sum, so that the sum has the variance of one.
    """
    encoder = model.mobilebert
    config = encoder.config
    inner = 1 + config.num_feedforward_networks
    for name, module in encoder.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        std = 1 / sqrt(module.in_features)
        if name.endswith("output.bottleneck.dense"):
            std /= sqrt(config.num_hidden_layers)
        elif name.endswith("output.dense"):
            std *= sqrt(1 if "attention" in name else 2) / sqrt(inner)
        module.weight.normal_(0.0, std)
        module.bias.zero_()
    embeddings = encoder.embeddings
    words = principal_components(teacher_words, config.embedding_size)
    # The row of [PAD] is zero: then a padded run and an unpadded one have the same trigrams.
    words[config.pad_token_id] = 0
    embeddings.word_embeddings.weight.copy_(words)
    embeddings.position_embeddings.weight.normal_(0.0, 0.1)
    embeddings.token_type_embeddings.weight.normal_(0.0, 0.02)
    # Words of variance 1 decode what the head's norm gives: its scale keeps the first logits near variance 1.
    model.cls.predictions.transform.LayerNorm.weight.fill_(1 / sqrt(config.embedding_size))


def principal_components(rows: Tensor, width: int) -> Tensor:
    """`rows` in the basis of their `width` directions of largest variance, scaled to variance 1 over all numbers."""
    centred = rows.float() - rows.float().mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)
    projected = centred @ directions.flip(-1)[:, :width]
    return projected / projected.std()


def open_model(folder: Path, head: str) -> PreTrainedModel:
    """A Hugging Face folder in f32 with the named head, a key of `HEADS`."""
    if not (folder / "config.json").is_file():
        raise SystemExit(f"{folder}: no config.json; expected a model folder in Hugging Face's layout")
    config = AutoConfig.from_pretrained(folder)
    if config.model_type not in ("bert", "mobilebert"):
        raise SystemExit(f"{folder}: model_type is {config.model_type}; expected bert or mobilebert")
    if config.model_type == "mobilebert":
        check_mobilebert(folder, config)
    names = LABELS.get(head)
    extra = {} if names is None else {"num_labels": len(names)} | label_names(head)
    return HEADS[head].from_pretrained(folder, dtype=torch.float32, **extra)


LABELS = {"sst2": ("negative", "positive"), "ner": TAGS}
"""By task, the names of what is told apart."""


def label_names(task: str) -> dict[str, dict]:
    """What a configuration says about a task's labels; nothing for questions."""
    names = dict(enumerate(LABELS.get(task, ())))
    return {"id2label": names, "label2id": {name: number for number, name in names.items()}} if names else {}


def check_mobilebert(folder: Path, config: MobileBertConfig) -> None:
    """`forward.py` writes out the published form alone."""
    expected = {
        "use_bottleneck": True,
        "key_query_shared_bottleneck": True,
        "use_bottleneck_attention": False,
        "trigram_input": True,
        "classifier_activation": True,
        "hidden_act": "relu",
    }
    for name, value in expected.items():
        if getattr(config, name) != value:
            raise SystemExit(f"{folder}: {name} is {getattr(config, name)}; only {value} can be trained here")


def frozen(model: PreTrainedModel) -> PreTrainedModel:
    """A teacher: no gradients, no dropout."""
    return model.eval().requires_grad_(False)


def has_masked_lm_head(folder: Path) -> bool:
    """Whether the folder's configuration says that it has learned a head for masked words."""
    names = AutoConfig.from_pretrained(folder).architectures or []
    return any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in names)
