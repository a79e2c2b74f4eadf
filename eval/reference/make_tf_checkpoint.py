"""TensorFlow checkpoints with the variable names of google-research's BERT and MobileBERT, from the f32 golden folders."""

import argparse
import json
import re
import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file

OPTIMIZER = ("adam_m", "adam_v")
CONFIG_FIELDS = (
    "hidden_act hidden_size intermediate_size max_position_embeddings num_attention_heads num_hidden_layers "
    "type_vocab_size vocab_size embedding_size trigram_input use_bottleneck intra_bottleneck_size "
    "use_bottleneck_attention key_query_shared_bottleneck num_feedforward_networks normalization_type "
    "classifier_activation hidden_dropout_prob attention_probs_dropout_prob initializer_range"
).split()
HEADS = {
    "qa_outputs.weight": "cls/squad/output_weights",
    "qa_outputs.bias": "cls/squad/output_bias",
    "classifier.weight": "output_weights",
    "classifier.bias": "output_bias",
    "cls.predictions.bias": "cls/predictions/output_bias",
    "cls.predictions.dense.weight": "cls/predictions/extra_output_weights",
    "cls.seq_relationship.weight": "cls/seq_relationship/output_weights",
    "cls.seq_relationship.bias": "cls/seq_relationship/output_bias",
}


def variable(name: str, value: np.ndarray, mobile: bool) -> tuple[str, np.ndarray]:
    """The variable that google-research's `modeling.py` would have created for a tensor of `transformers`."""
    if name in HEADS:
        extra = name == "cls.predictions.dense.weight"
        return HEADS[name], value.T if extra else value
    name = re.sub(r"^(mobile)?bert\.", "bert.", name)
    parts = name.split(".")
    kind, module = parts[-1], "/".join(parts[:-1])
    module = re.sub(r"/layer/(\d+)", r"/layer_\1", module)
    module = re.sub(r"/ffn/(\d+)", r"/ffn_layer_\1", module)
    if mobile and not module.startswith("cls"):
        module = module.replace("LayerNorm", "FakeLayerNorm")
    if module.endswith("_embeddings"):
        return module, value
    if module.endswith("LayerNorm"):
        return f"{module}/{'gamma' if kind == 'weight' else 'beta'}", value
    return (f"{module}/kernel", value.T) if kind == "weight" else (f"{module}/bias", value)


def save(variables: dict[str, np.ndarray], prefix: Path) -> None:
    """Writes one checkpoint with the Saver that the original training scripts use."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        for name, value in variables.items():
            tf.compat.v1.get_variable(name, initializer=tf.constant(value))
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver().save(session, str(prefix), write_meta_graph=False, write_state=False)


def write(source: Path, folder: Path, extra: dict[str, np.ndarray], shards: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    mobile = config["model_type"] == "mobilebert"
    tensors = load_file(source / "model.safetensors") | extra
    variables = dict(variable(name, np.ascontiguousarray(value), mobile) for name, value in tensors.items())
    first = next(name for name in variables if name.endswith("/kernel"))
    for slot in OPTIMIZER:
        variables[f"{first}/{slot}"] = np.zeros_like(variables[first])
    variables["global_step"] = np.int64(1000)

    prefix = folder / "bert_model.ckpt"
    if shards == 1:
        save(variables, prefix)
    else:
        names = sorted(variables)
        parts = []
        for shard in range(shards):
            part = folder / f"part{shard}"
            save({name: variables[name] for name in names[shard::shards]}, part)
            parts.append(str(part))
        tf.raw_ops.MergeV2Checkpoints(
            checkpoint_prefixes=parts, destination_prefix=str(prefix), delete_old_dirs=False
        )
    fields = {name: config[name] for name in CONFIG_FIELDS if name in config}
    (folder / "bert_config.json").write_text(json.dumps(fields, indent=2) + "\n")
    shutil.copy(source / "vocab.txt", folder)
    shutil.copy(source / "expected.json", folder)

    reader = tf.train.load_checkpoint(str(prefix))
    for name, value in variables.items():
        assert np.array_equal(reader.get_tensor(name), value), name
    for part in folder.glob("part*"):
        part.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder convert")
    out = parser.parse_args().out
    checkpoints, convert = out / "checkpoints", out / "convert"
    hidden = 16
    pretraining = {
        "cls.seq_relationship.weight": np.linspace(-1, 1, 2 * hidden, dtype=np.float32).reshape(2, hidden),
        "cls.seq_relationship.bias": np.array([0.25, -0.25], dtype=np.float32),
    }
    write(checkpoints / "mobilebert-f32", convert / "tf-mobilebert-qa", {}, shards=1)
    write(checkpoints / "mobilebert-mlm-f32", convert / "tf-mobilebert-pretraining", pretraining, shards=2)
    write(checkpoints / "bert-f32", convert / "tf-bert-classifier", {}, shards=1)
    for folder in sorted(convert.glob("tf-*")):
        print(f"{folder.name}: {sum(file.stat().st_size for file in folder.iterdir())} bytes")


if __name__ == "__main__":
    main()
