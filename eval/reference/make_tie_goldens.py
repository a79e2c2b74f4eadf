"""Logits of masked-LM heads whose decoder is tied, or not, to the word embeddings, as `transformers` computes them.

One checkpoint of each family holds both tables and both biases, all different. Each case leaves some of them out and
sets `tie_word_embeddings`; cases in which `transformers` would fill a table with random numbers are not recorded.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, MobileBertConfig, MobileBertForMaskedLM

WORDS, DECODER = "embeddings.word_embeddings.weight", "cls.predictions.decoder.weight"
BIAS, DECODER_BIAS = "cls.predictions.bias", "cls.predictions.decoder.bias"
IDS = [2, 5, 9, 11, 3]
CASES = [
    (False, []),
    (False, [DECODER_BIAS]),
    (False, [BIAS]),
    (True, []),
    (True, [DECODER_BIAS]),
    (True, [BIAS]),
    (True, [DECODER]),
    (True, [WORDS]),
    (True, [DECODER, DECODER_BIAS]),
    (True, [DECODER, BIAS]),
]
COMMON = {"vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
COMMON |= {"intermediate_size": 8, "max_position_embeddings": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder ties")
    out = parser.parse_args().out / "ties"
    out.mkdir(parents=True, exist_ok=True)
    mobile = MobileBertConfig(
        **COMMON, embedding_size=6, intra_bottleneck_size=4, true_hidden_size=4, num_feedforward_networks=1
    )
    for model_class, config in [(BertForMaskedLM, BertConfig(**COMMON)), (MobileBertForMaskedLM, mobile)]:
        torch.manual_seed(1)
        config.tie_word_embeddings = False
        tensors = {name: torch.randn_like(value) for name, value in model_class(config).state_dict().items()}
        tensors = {name: value for name, value in tensors.items() if not name.endswith("_ids")}
        save_file(tensors, out / f"{config.model_type}.safetensors")
        lines = []
        for tied, left_out in CASES:
            names = [f"{config.model_type}.{name}" if name == WORDS else name for name in left_out]
            config.tie_word_embeddings = tied
            config.architectures = [model_class.__name__]
            with tempfile.TemporaryDirectory() as folder:
                config.save_pretrained(folder)
                kept = {name: value for name, value in tensors.items() if name not in names}
                save_file(kept, Path(folder) / "model.safetensors", metadata={"format": "pt"})
                model = model_class.from_pretrained(folder).eval()
                text = (Path(folder) / "config.json").read_text()
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([IDS])).logits.flatten().tolist()
            lines.append({"config": json.loads(text), "left_out": names, "ids": IDS, "logits": logits})
        path = out / f"{config.model_type}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        print(f"{path.name}: {len(lines)} lines")


if __name__ == "__main__":
    main()
