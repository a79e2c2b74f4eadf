"""One small BERT in every format in which TensorFlow and Keras save a model, to see what the converter says to each.

`--out FOLDER` writes all of them, the LiteRT files with the logits that TensorFlow computes (`expected.json`). Only the two
checkpoints of `--golden tests/golden` are committed; the other formats are refused by their first bytes and their names,
which `crates/tools/tests/elsewhere.rs` writes itself.
TensorFlow classes need `transformers` before version 5, and `tf-keras`.
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import keras  # noqa: E402 - the variable has to be set first
import tensorflow as tf  # noqa: E402
import transformers  # noqa: E402
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2  # noqa: E402

SIZES = dict(
    vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
    max_position_embeddings=24,
)  # fmt: skip
WORDS = [f"word{i}" for i in range(SIZES["vocab_size"])]
LENGTH = 8


def hugging_face(out: Path) -> None:
    """`tf_model.h5`, a SavedModel, a checkpoint of objects, a frozen graph and a LiteRT file of one model."""
    config = transformers.BertConfig(**SIZES, architectures=["BertForQuestionAnswering"])
    model = transformers.TFBertForQuestionAnswering(config)
    ids = tf.constant([[2, 7, 9, 3, 0, 0, 0, 0]], dtype=tf.int32)
    model(ids)
    model.save_pretrained(out / "tf-model-h5")
    specification = tf.TensorSpec((1, LENGTH), tf.int32)

    @tf.function(input_signature=[specification] * 3)
    def run(input_ids, attention_mask, token_type_ids):
        output = model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return {"start_logits": output.start_logits, "end_logits": output.end_logits}

    tf.saved_model.save(model, str(out / "saved-model"), signatures=run)
    tf.train.Checkpoint(model=model).save(str(out / "objects" / "ckpt"))
    frozen = convert_variables_to_constants_v2(run.get_concrete_function())
    tf.io.write_graph(frozen.graph.as_graph_def(), str(out / "frozen"), "frozen_graph.pb", as_text=False)
    (out / "lite").mkdir()
    for name, converter in (
        ("from-function", tf.lite.TFLiteConverter.from_concrete_functions([run.get_concrete_function()], model)),
        ("from-saved-model", tf.lite.TFLiteConverter.from_saved_model(str(out / "saved-model"))),
    ):
        (out / "lite" / name).mkdir()
        (out / "lite" / name / "model.tflite").write_bytes(converter.convert())
    output = run(ids, tf.constant([[1, 1, 1, 1, 0, 0, 0, 0]]), tf.zeros_like(ids))
    logits = tf.stack((output["start_logits"][0], output["end_logits"][0]), axis=-1)[:4].numpy().tolist()
    expected = {"input_ids": [2, 7, 9, 3], "token_type_ids": [0] * 4, "logits": logits}
    for folder in (out / "lite").iterdir():
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    for folder in (out, out / "saved-model", out / "objects", out / "frozen", *(out / "lite").iterdir()):
        (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")


def keras_files(out: Path) -> None:
    """`.keras`, `.h5` and `.weights.h5` of a model of layers, and the old table format of `tf.compat.v1`."""
    layers = [keras.layers.Embedding(40, 16, name="word_embeddings"), keras.layers.Dense(2, name="logits")]
    model = keras.Sequential(layers)
    model.build((None, LENGTH))
    for name in ("model.keras", "model.h5", "model.weights.h5"):
        (out / name.replace(".", "-")).mkdir()
        path = str(out / name.replace(".", "-") / name)
        model.save_weights(path) if name.endswith("weights.h5") else model.save(path)
    version_1(out / "version-1")


def version_1(folder: Path) -> None:
    folder.mkdir(parents=True)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("bert/embeddings/word_embeddings", (2, 4), use_resource=False)
        session.run(tf.compat.v1.global_variables_initializer())
        saver = tf.compat.v1.train.Saver(write_version=tf.compat.v1.train.SaverDef.V1)
        saver.save(session, str(folder / "model.ckpt"), write_meta_graph=False)
    # It holds the name of this folder.
    (folder / "checkpoint").unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a folder for all files; what it holds is removed")
    parser.add_argument("--golden", type=Path, help="the golden folder; files go to its folder formats")
    arguments = parser.parse_args()
    if arguments.golden:
        formats = arguments.golden / "formats"
        shutil.rmtree(formats, ignore_errors=True)
        version_1(formats / "version-1")
        tf.train.Checkpoint(word_embeddings=tf.Variable(tf.zeros((2, 4)))).write(str(formats / "objects" / "ckpt"))
    if not arguments.out:
        return
    out = arguments.out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    keras_files(out)
    hugging_face(out)


if __name__ == "__main__":
    main()
