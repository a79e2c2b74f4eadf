"""From a fine-tuned BERT to a small int8 model: `shrink.py MODEL DATA OUT`.

MODEL is what `save_pretrained` of transformers wrote (or a TensorFlow checkpoint, an ONNX or a LiteRT graph),
DATA a table of examples with the columns `text` and `label`, and OUT a new folder for the results.
"""

import sys
from pathlib import Path

import mobilebert


def main(model: str, data: str, out: Path) -> None:
    # With transformers, these two lines make MODEL:
    #   trainer.model.save_pretrained("my-bert")
    #   tokenizer.save_pretrained("my-bert")
    converted = mobilebert.convert(model, out / "f32", verify=True)
    print(f"{converted['class']}: {converted['tensors']} tensors, {converted['bytes']} bytes")

    # f32 and int8 are compared on the examples. The modules that cost most stay in f32 until accuracy drops
    # by no more than `max_drop` points. If that cannot be had, there is an error and no folder.
    gate = mobilebert.quantize(out / "f32", out / "int8", task="classify", data=data, max_drop=0.5)
    cost = f"{gate['drop'] + 0.0:.2f} points lost, {gate['differing']} answers differ"
    print(f"int8: {gate['bytes']} bytes, {cost}")

    score = mobilebert.evaluate(out / "int8", "classify", data)
    print(f"accuracy {score['accuracy']:.2f} on {score['total']} examples")

    classify = mobilebert.pipeline("text-classification", out / "int8")
    print(classify("warm, funny and well acted")[0]["label"])


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
