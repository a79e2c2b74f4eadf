"""LiteRT files of the golden checkpoints as TensorFlow's converter makes them of google-research's and of Keras' graphs."""

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import flatbuffers
import numpy as np
import tensorflow as tf
from safetensors.numpy import load_file
from tensorflow.lite.python import schema_py_generated as schema

from full_sequence import IDS, LENGTH, TYPES

ACTIVATIONS = (-1.4, 2.0)
SCORES = (-6.0, 8.0)


def gelu(x: tf.Tensor) -> tf.Tensor:
    return x * (0.5 * (1.0 + tf.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * tf.pow(x, 3)))))


@dataclass
class Graph:
    """A model of `transformers` in TensorFlow's operations, with the choices that its authors had."""

    tensors: dict[str, np.ndarray]
    config: dict
    words_one_hot: bool = False
    types_one_hot: bool = True
    # Keras scales queries and multiplies keys with them, google-research queries with keys, which it scales then.
    keras: bool = False
    # For quantisation-aware training.
    fake_quantised: bool = False
    variables: dict[str, tf.Variable] = field(default_factory=dict)

    def __post_init__(self):
        self.mobile = self.config["model_type"] == "mobilebert"
        self.heads = self.config["num_attention_heads"]
        self.activation = gelu if not self.mobile else tf.nn.relu6 if self.fake_quantised else tf.nn.relu

    def variable(self, name: str) -> tf.Variable:
        full = name if name in self.tensors else f"{self.config['model_type']}.{name}"
        if full not in self.variables:
            self.variables[full] = tf.Variable(self.tensors[full], name=full.replace(".", "/"))
        return self.variables[full]

    def quantised(self, name: str) -> tf.Tensor:
        """A variable, to be stored in int8 if it was trained for that."""
        variable = self.variable(name)
        if not self.fake_quantised:
            return variable
        values = next(tensor for full, tensor in self.tensors.items() if full.endswith(name))
        if values.ndim == 2:
            top = float(np.abs(values).max())
            return tf.quantization.fake_quant_with_min_max_args(variable, -top, top, narrow_range=True)
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        return tf.quantization.fake_quant_with_min_max_args(variable, low, high)

    def fake(self, x: tf.Tensor, ends: tuple[float, float] = ACTIVATIONS) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_args(x, *ends) if self.fake_quantised else x

    def dense(self, x: tf.Tensor, name: str, ends: tuple[float, float] = ACTIVATIONS) -> tf.Tensor:
        kernel, bias = tf.transpose(self.quantised(f"{name}.weight")), self.variable(f"{name}.bias")
        x = self.fake(x, ends)
        if len(x.shape) == 2:
            return tf.matmul(x, kernel) + bias
        if self.keras:
            return tf.einsum("abc,cd->abd", x, kernel) + bias
        flat = tf.reshape(x, [x.shape[0] * x.shape[1], x.shape[2]])
        return tf.reshape(tf.matmul(flat, kernel) + bias, [x.shape[0], x.shape[1], kernel.shape[1]])

    def by_head(self, x: tf.Tensor, name: str) -> tf.Tensor:
        """Queries, keys or values: [batch, length, heads, size]."""
        if self.keras:
            weight, bias = self.variable(f"{name}.weight"), self.variable(f"{name}.bias")
            kernel = tf.reshape(tf.transpose(weight), [weight.shape[1], self.heads, -1])
            return tf.einsum("abc,cde->abde", x, kernel) + tf.reshape(bias, [self.heads, -1])
        y = self.dense(x, name)
        return tf.reshape(y, [y.shape[0], y.shape[1], self.heads, y.shape[2] // self.heads])

    def norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        gamma, beta = self.quantised(f"{name}.weight"), self.quantised(f"{name}.bias")
        if self.mobile:
            return self.fake(self.fake(x) * gamma) + beta
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)

    def embeddings(self, ids: tf.Tensor, types: tf.Tensor) -> tf.Tensor:
        x = self.lookup(ids, "embeddings.word_embeddings.weight", self.words_one_hot)
        if self.mobile:
            after = tf.pad(x[:, 1:], ((0, 0), (0, 1), (0, 0)))
            before = tf.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0)))
            x = self.dense(tf.concat([after, x, before], axis=2), "embeddings.embedding_transformation")
        x += self.lookup(types, "embeddings.token_type_embeddings.weight", self.types_one_hot)
        table = self.variable("embeddings.position_embeddings.weight")
        x += tf.reshape(tf.slice(table, [0, 0], [x.shape[1], -1]), [1, x.shape[1], x.shape[2]])
        return self.norm(x, "embeddings.LayerNorm")

    def lookup(self, ids: tf.Tensor, name: str, one_hot: bool) -> tf.Tensor:
        table = self.variable(name)
        if not one_hot:
            return tf.nn.embedding_lookup(table, ids)
        rows = tf.matmul(tf.one_hot(tf.reshape(ids, [-1]), table.shape[0]), table)
        return tf.reshape(rows, [*ids.shape, table.shape[1]])

    def attention(self, query: tf.Tensor, value: tf.Tensor, mask: tf.Tensor, name: str) -> tf.Tensor:
        q, k = (self.by_head(query, f"{name}.{part}") for part in ("query", "key"))
        v = self.by_head(value, f"{name}.value")
        scale = 1.0 / sqrt(q.shape[-1])
        mask = tf.expand_dims(mask, axis=1)
        if self.keras:
            scores = tf.einsum("BTNH,BFNH->BNFT", k, tf.multiply(q, scale))
        else:
            q, k = tf.transpose(q, [0, 2, 1, 3]), tf.transpose(k, [0, 2, 1, 3])
            scores = tf.multiply(self.fake(tf.matmul(q, k, transpose_b=True), SCORES), scale)
        if self.mobile:
            scores = self.fake(self.fake(scores * mask, SCORES) + (1 - mask) * -6, SCORES)
            scores = tf.clip_by_value(scores, -6, 60) if self.fake_quantised else scores
        else:
            scores += (1.0 - mask) * -10000.0
        weights = tf.nn.softmax(scores)
        if self.keras:
            context = tf.einsum("BNFT,BTNH->BFNH", weights, v)
        else:
            context = self.fake(tf.matmul(weights, tf.transpose(v, [0, 2, 1, 3])))
            context = tf.transpose(context, [0, 2, 1, 3])
        return tf.reshape(context, [context.shape[0], context.shape[1], -1])

    def feed_forward(self, x: tf.Tensor, name: str) -> tf.Tensor:
        y = self.activation(self.dense(x, f"{name}.intermediate.dense"))
        return self.norm(self.dense(y, f"{name}.output.dense", (0.0, 6.0)) + x, f"{name}.output.LayerNorm")

    def layer(self, x: tf.Tensor, mask: tf.Tensor, name: str) -> tf.Tensor:
        inner = query = x
        if self.mobile:
            inner, query = (
                self.norm(self.dense(x, f"{name}.bottleneck.{part}.dense"), f"{name}.bottleneck.{part}.LayerNorm")
                for part in ("input", "attention")
            )
        y = self.dense(self.attention(query, x, mask, f"{name}.attention.self"), f"{name}.attention.output.dense")
        inner = self.norm(y + inner, f"{name}.attention.output.LayerNorm")
        for i in range(self.config.get("num_feedforward_networks", 1) - 1):
            inner = self.feed_forward(inner, f"{name}.ffn.{i}")
        inner = self.feed_forward(inner, name)
        if not self.mobile:
            return inner
        y = self.dense(inner, f"{name}.output.bottleneck.dense")
        return self.norm(y + x, f"{name}.output.bottleneck.LayerNorm")

    def encoder(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor) -> tf.Tensor:
        x = self.embeddings(ids, types)
        mask = tf.ones([1, LENGTH, 1]) * tf.reshape(tf.cast(mask, tf.float32), [1, 1, LENGTH])
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(x, mask, f"encoder.layer.{i}")
        return x

    def spans(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor) -> dict[str, tf.Tensor]:
        x = self.encoder(ids, mask, types)
        logits = tf.matmul(tf.reshape(x, [LENGTH, x.shape[2]]), self.variable("qa_outputs.weight"), transpose_b=True)
        logits = tf.reshape(tf.nn.bias_add(logits, self.variable("qa_outputs.bias")), [1, LENGTH, 2])
        start, end = tf.unstack(tf.transpose(logits, [2, 0, 1]), axis=0)
        return {"end_logits": end, "start_logits": start}

    def classes(self, ids: tf.Tensor, mask: tf.Tensor, types: tf.Tensor) -> dict[str, tf.Tensor]:
        first = tf.squeeze(self.encoder(ids, mask, types)[:, 0:1, :], axis=1)
        pooled = tf.tanh(self.dense(first, "pooler.dense"))
        return {"probability": tf.nn.softmax(self.dense(pooled, "classifier"))}


def convert(graph: Graph, choose: Callable) -> bytes:
    names = ("input_ids", "input_mask", "segment_ids")
    inputs = [tf.TensorSpec([1, LENGTH], tf.int32, name) for name in names]
    function = tf.function(graph.spans if graph.mobile else graph.classes).get_concrete_function(*inputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
    choose(converter)
    return converter.convert()


def plain(converter: tf.lite.TFLiteConverter) -> None:
    """As the converter does it by default."""


def unrolled(converter: tf.lite.TFLiteConverter) -> None:
    """A product for each head: the only way before LiteRT had products of two values."""
    converter.unfold_batchmatmul = True


def trained(converter: tf.lite.TFLiteConverter) -> None:
    """Int8 with the ranges of quantisation-aware training."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]


def static(converter: tf.lite.TFLiteConverter) -> None:
    """Int8 with the ranges of some texts."""
    generator = np.random.default_rng(1)

    def samples():
        for _ in range(8):
            row = generator.integers(5, 40, (1, LENGTH)).astype(np.int32)
            yield [row, np.ones_like(row), np.array([TYPES], dtype=np.int32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = samples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]


def edit(model: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    parsed = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    change(parsed)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(parsed.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def anonymise(model: schema.ModelT) -> None:
    """Drops the names of all tensors: the structure alone has to say which weight is which."""
    for tensor in model.subgraphs[0].tensors:
        tensor.name = None
    model.metadata, model.metadataBuffer, model.signatureDefs = None, None, None


def one_hot(model: schema.ModelT) -> None:
    """Writes lookups as products with one-hot rows, which is how they stood in the graph and how older converters left them."""
    graph = model.subgraphs[0]

    def code(builtin: int) -> int:
        for i, known in enumerate(model.operatorCodes):
            if known.builtinCode == builtin:
                return i
        model.operatorCodes.append(schema.OperatorCodeT(builtinCode=builtin, deprecatedBuiltinCode=builtin, version=1))
        return len(model.operatorCodes) - 1

    def tensor(shape: list[int], kind: int, values: np.ndarray | None = None) -> int:
        data = None if values is None else np.frombuffer(np.ascontiguousarray(values).tobytes(), dtype=np.uint8)
        model.buffers.append(schema.BufferT(data=data))
        graph.tensors.append(schema.TensorT(shape=shape, type=kind, buffer=len(model.buffers) - 1))
        return len(graph.tensors) - 1

    lookup, operators = code(schema.BuiltinOperator.EMBEDDING_LOOKUP), []
    for operator in graph.operators:
        if operator.opcodeIndex != lookup:
            operators.append(operator)
            continue
        ids, table = operator.inputs
        rows, columns = graph.tensors[table].shape
        values = np.frombuffer(bytes(model.buffers[graph.tensors[table].buffer].data), dtype=np.float32)
        scalars = [
            tensor([], schema.TensorType.INT32, np.int32(rows)),
            tensor([], schema.TensorType.FLOAT32, np.float32(1)),
            tensor([], schema.TensorType.FLOAT32, np.float32(0)),
        ]
        ones = tensor([LENGTH, int(rows)], schema.TensorType.FLOAT32)
        weight = tensor([int(columns), int(rows)], schema.TensorType.FLOAT32, values.reshape(rows, columns).T)
        operators.append(schema.OperatorT(
            opcodeIndex=code(schema.BuiltinOperator.ONE_HOT), inputs=[ids, *scalars], outputs=[ones],
            builtinOptionsType=schema.BuiltinOptions.OneHotOptions, builtinOptions=schema.OneHotOptionsT(axis=-1),
        ))
        operators.append(schema.OperatorT(
            opcodeIndex=code(schema.BuiltinOperator.FULLY_CONNECTED), inputs=[ones, weight, -1],
            outputs=operator.outputs, builtinOptionsType=schema.BuiltinOptions.FullyConnectedOptions,
            builtinOptions=schema.FullyConnectedOptionsT(),
        ))
    graph.operators = operators


def logits(model: bytes) -> list:
    """What LiteRT computes; of a classifier, before its softmax."""
    kernels = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(
        model_content=model, num_threads=1, experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    for detail, row in zip(interpreter.get_input_details(), (IDS, [1] * LENGTH, TYPES)):
        interpreter.set_tensor(detail["index"], np.array([row], dtype=np.int32))
    interpreter.invoke()
    outputs = [detail["index"] for detail in interpreter.get_output_details()]
    if len(outputs) == 1:
        softmax = interpreter._get_ops_details()[-1]
        assert softmax["op_name"] == "SOFTMAX"
        return interpreter.get_tensor(softmax["inputs"][0])[0].tolist()
    # Outputs are sorted by their names.
    end, start = (interpreter.get_tensor(index)[0] for index in outputs)
    return np.stack([start, end], axis=-1).tolist()


def write(out: Path, name: str, source: Path, choose: Callable, changes: tuple = (anonymise,), **choices) -> None:
    config = json.loads((source / "config.json").read_text())
    tensors = load_file(source / "model.safetensors")
    if choices.get("fake_quantised"):
        # Beyond 6, where relu6 cuts off.
        tensors["mobilebert.encoder.layer.0.intermediate.dense.bias"][::4] += 9
    graph = Graph(tensors, config, **choices)
    model = convert(graph, choose)
    for change in changes:
        model = edit(model, change)
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "model.tflite").write_bytes(model)
    expected = {"input_ids": IDS, "token_type_ids": TYPES, "logits": logits(model)}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    shutil.copy(source / "vocab.txt", folder)
    print(f"{name}: {len(model)} bytes", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder convert")
    golden = parser.parse_args().out
    out, checkpoints = golden / "convert", golden / "checkpoints"
    qa, bert = checkpoints / "mobilebert-f32", checkpoints / "bert-f32"
    write(out, "tflite-tf-mobilebert-qa", qa, plain, changes=())
    write(out, "tflite-tf-mobilebert-qa-unrolled", qa, unrolled, changes=(one_hot, anonymise), words_one_hot=True)
    write(out, "tflite-tf-mobilebert-qa-static", qa, static)
    write(out, "tflite-tf-mobilebert-qa-trained", qa, trained, types_one_hot=False, fake_quantised=True)
    write(out, "tflite-tf-bert-classifier", bert, plain)
    write(out, "tflite-tf-bert-keras", bert, plain, keras=True)


if __name__ == "__main__":
    main()
