"""Vectors and similarities of `models/embed`: transformers' hidden states, pooled by sentence-transformers' formula."""

import argparse
import json
from pathlib import Path

import torch
from make_answers import load
from transformers import AutoModel, BertTokenizer, PreTrainedModel

LONGEST = 256
BATCH = 64
# A text, another way to say it, and a text about something else.
TRIPLES = (
    ("How old are you?", "What is your age?", "The train leaves at noon."),
    ("The bank raised its interest rates.", "Borrowing became dearer at the bank.", "We sat on the grass by the river."),
    ("She repaired the old bicycle.", "The old bike was fixed by her.", "He baked bread for the market."),
    ("Le caf\u00e9 est na\u00efve \U0001f600 caf\u00e9.", "The caf\u00e9 is na\u00efve.", "Thirty voles a night."),
)
LONG = "The pump stood in the yard, and nobody knew who had ordered it. " * 40


@torch.no_grad()
def embed(model: PreTrainedModel, tokenizer: BertTokenizer, texts: list[str]) -> torch.Tensor:
    """The mean of the states of all tokens, special ones included, scaled to length 1."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    vectors: list[torch.Tensor] = [torch.empty(0)] * len(texts)
    for start in range(0, len(order), BATCH):
        indices = order[start : start + BATCH]
        batch = [texts[i] for i in indices]
        inputs = tokenizer(batch, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        states = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1).float()
        pooled = (states * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        for i, vector in zip(indices, torch.nn.functional.normalize(pooled), strict=True):
            vectors[i] = vector
    return torch.stack(vectors)


def read_pairs(path: Path) -> list[tuple[str, str, float]]:
    header, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    columns = [header.split("\t").index(name) for name in ("sentence1", "sentence2", "score")]
    rows = [[line.split("\t")[column] for column in columns] for line in lines]
    return [(first, second, float(score)) for first, second, score in rows]


def ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks from 0; equal values share the mean of theirs."""
    less = (values[None, :] < values[:, None]).sum(1).double()
    equal = (values[None, :] == values[:, None]).sum(1).double()
    return less + (equal - 1) / 2


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].item()


def similarities(folder: Path, pairs: list[tuple[str, str, float]]) -> tuple[torch.Tensor, dict]:
    model, tokenizer = load(AutoModel, folder), BertTokenizer.from_pretrained(folder)
    first = embed(model, tokenizer, [pair[0] for pair in pairs])
    second = embed(model, tokenizer, [pair[1] for pair in pairs])
    cosines, gold = (first * second).sum(1), torch.tensor([pair[2] for pair in pairs])
    scores = {"spearman": correlation(ranks(cosines), ranks(gold)), "pearson": correlation(cosines, gold)}
    return cosines, {name: round(100 * value, 4) for name, value in scores.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; the file goes to its folder answers")
    parser.add_argument("--model", type=Path, required=True, help="this repository's folder models/embed")
    parser.add_argument("--original", type=Path, required=True, help="the f32 model that it was made from")
    parser.add_argument("--stsb", type=Path, required=True, help="dev.tsv of STS-B, with a header line")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    model, tokenizer = load(AutoModel, arguments.model), BertTokenizer.from_pretrained(arguments.model)
    texts = [text for triple in TRIPLES for text in triple] + [LONG]
    vectors = embed(model, tokenizer, texts)
    pairs = read_pairs(arguments.stsb)
    cosines, scores = similarities(arguments.model, pairs)
    _, original = similarities(arguments.original, pairs)
    report = {
        "texts": texts,
        "vectors": [[round(value, 6) for value in vector] for vector in vectors.tolist()],
        "stsb_dev": {**scores, "original": original, "cosines": [round(value, 6) for value in cosines.tolist()]},
    }
    path = arguments.out / "answers" / "embed.json"
    path.write_text(json.dumps(report) + "\n")
    print(f"{path.name}: {len(texts)} texts; {len(pairs)} pairs, {scores}, originally {original}")


if __name__ == "__main__":
    main()
