"""Tiny checkpoints with synthetic weights, in every file format that the loader reads, and one that it must refuse."""

import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import BertConfig, DistilBertConfig, ElectraConfig, MobileBertConfig, PreTrainedModel

from make_model_goldens import build, run_alone

IDS = [2, 7, 9, 3]
TYPES = [0, 0, 1, 1]

VOCABULARY = "[PAD] [UNK] [CLS] [SEP] [MASK] . , ? the a who what where is was in of and to it".split() + (
    "paris france city king wrote book anna works at good bad film ##s ##ed ##ing ##er not very time day".split()
)
TOKENIZER = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 24}
ENTITIES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
SENTIMENTS = ["negative", "neutral", "positive"]


def labels(names: list[str]) -> dict:
    return {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}


def tiny_mobilebert(head: str, **options) -> PreTrainedModel:
    config = MobileBertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        embedding_size=8,
        intra_bottleneck_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_feedforward_networks=2,
        max_position_embeddings=24,
        **options,
    )
    return build(config, "MobileBert", head, zero_pad_row=True)


def tiny_bert() -> PreTrainedModel:
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        **labels(SENTIMENTS),
    )
    return build(config, "Bert", "ForSequenceClassification", zero_pad_row=True)


def tiny_distilbert(head: str, **options) -> PreTrainedModel:
    config = DistilBertConfig(
        vocab_size=len(VOCABULARY),
        dim=16,
        hidden_dim=24,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=24,
        **options,
    )
    return build(config, "DistilBert", head, zero_pad_row=True)


def tiny_electra(head: str, **options) -> PreTrainedModel:
    config = ElectraConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        embedding_size=8,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        **options,
    )
    return build(config, "Electra", head, zero_pad_row=True)


def write_folder(folder: Path, model: PreTrainedModel, save: Callable[[Path], None]) -> None:
    """`config.json` and the rest around what `save` writes, and the logits after `transformers` has read it back."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.config.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER, indent=1) + "\n")
    save(folder)
    architecture = getattr(transformers, model.config.architectures[0])
    loaded, report = architecture.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), f"{folder.name}: {report}"
    logits = run_alone(loaded.eval(), [IDS], [TYPES])[0]["logits"]
    expected = {"input_ids": IDS, "token_type_ids": TYPES, "logits": logits.tolist()}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


def safetensors(model: PreTrainedModel, **options) -> Callable[[Path], None]:
    return lambda folder: model.save_pretrained(folder, **options)


def pytorch(model: PreTrainedModel, zip_format: bool) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        tensors = model.state_dict()
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zip_format)

    return save


def old_names(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """Names as in the first BERT files for PyTorch, with the buffer that files before transformers 4.31 carried."""
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in model.state_dict().items()
    }
    positions = torch.arange(model.config.max_position_embeddings).expand((1, -1)).contiguous()
    return tensors | {f"{model.base_model_prefix}.embeddings.position_ids": positions}


class Hostile:
    """Unpickling an instance calls a function that no checkpoint needs."""

    def __reduce__(self):
        return os.getcwd, ()


def write_hostile(folder: Path, source: Path, model: PreTrainedModel) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("expected.json", "pytorch_model.bin"))
    torch.save({**model.state_dict(), "hostile": Hostile()}, folder / "pytorch_model.bin")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder checkpoints")
    parser.add_argument("--families", action="store_true", help="makes only those of DistilBERT and ELECTRA")
    arguments = parser.parse_args()
    out = arguments.out / "checkpoints"
    torch.set_num_threads(1)
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 40

    distil = tiny_distilbert("ForSequenceClassification", **labels(SENTIMENTS))
    write_folder(out / "distilbert-f32", distil, safetensors(distil))
    # `torch.save` keeps the tied copy of the words, `vocab_projector.weight`.
    distil_mlm = tiny_distilbert("ForMaskedLM")
    write_folder(out / "distilbert-mlm-bin", distil_mlm, pytorch(distil_mlm, zip_format=True))
    electra = tiny_electra("ForQuestionAnswering")
    write_folder(out / "electra-f32", electra, safetensors(electra))
    choice = tiny_electra("ForMultipleChoice")
    write_folder(out / "electra-choice-f32", choice, safetensors(choice))
    if arguments.families:
        return

    qa = tiny_mobilebert("ForQuestionAnswering")
    write_folder(out / "mobilebert-f32", qa, safetensors(qa))
    write_folder(out / "mobilebert-sharded", qa, safetensors(qa, max_shard_size="10KB"))
    write_folder(out / "mobilebert-bin", qa, pytorch(qa, zip_format=True))
    write_folder(out / "mobilebert-bin-legacy", qa, pytorch(qa, zip_format=False))
    write_hostile(out / "hostile-pickle", out / "mobilebert-bin", qa)
    for name, dtype in (("mobilebert-f16", torch.float16), ("mobilebert-bf16", torch.bfloat16)):
        model = tiny_mobilebert("ForQuestionAnswering").to(dtype)
        write_folder(out / name, model, safetensors(model))

    bert = tiny_bert()
    write_folder(out / "bert-f32", bert, safetensors(bert))
    write_folder(out / "tf-names", bert, lambda folder: save_file(old_names(bert), folder / "model.safetensors"))
    masked = tiny_mobilebert("ForMaskedLM")
    write_folder(out / "mobilebert-mlm-f32", masked, safetensors(masked))
    entities = tiny_mobilebert("ForTokenClassification", **labels(ENTITIES))
    write_folder(out / "mobilebert-ner-f32", entities, safetensors(entities))

    for folder in sorted(out.iterdir()):
        print(f"{folder.name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes")


if __name__ == "__main__":
    main()
