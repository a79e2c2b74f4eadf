"""Answers of real checkpoints on SQuAD and SST-2 dev: ids, positions and numbers; of the texts, answer spans only."""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import (
    AutoConfig,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
)

SEED = 20261122
QUESTIONS = 200
LONG_CONTEXTS = 30
WINDOW = 384
OVERLAP = 128
QUESTION_LIMIT = 64
ANSWER_LIMIT = 30


@dataclass(frozen=True)
class Question:
    id: str
    article: str
    question: str
    context: str


def read_squad(path: Path) -> list[Question]:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return [
        Question(qa["id"], article["title"], qa["question"], paragraph["context"])
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]


def choose(questions: list[Question], tokenizer: BertTokenizer) -> list[Question]:
    """Questions whose context needs several windows first, then round-robin over the articles."""
    shuffled = random.Random(SEED).sample(questions, len(questions))
    many_words = [question for question in shuffled if len(question.context) > 1500]
    chosen = [q for q in many_words if len(tokenizer(q.question, q.context).input_ids) > WINDOW][:LONG_CONTEXTS]
    by_article: dict[str, list[Question]] = {}
    for question in shuffled:
        if question not in chosen:
            by_article.setdefault(question.article, []).append(question)
    while len(chosen) < QUESTIONS:
        for article in sorted(by_article):
            chosen.append(by_article[article].pop())
    return chosen[:QUESTIONS]


@torch.no_grad()
def answer(model: PreTrainedModel, tokenizer: BertTokenizer, question: Question) -> tuple[dict, int]:
    """The best answer, and the number of windows read."""
    assert len(tokenizer(question.question, add_special_tokens=False).input_ids) <= QUESTION_LIMIT
    windows = tokenizer(
        question.question,
        question.context,
        max_length=WINDOW,
        stride=OVERLAP,
        truncation="only_second",
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    starts, ends, offsets = [], [], []
    for w, ids in enumerate(windows.input_ids):
        types = windows.token_type_ids[w]
        output = model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types]))
        context = [token for token, sequence in enumerate(windows.sequence_ids(w)) if sequence == 1]
        starts.append(output.start_logits[0, context])
        ends.append(output.end_logits[0, context])
        offsets.append([windows.offset_mapping[w][token] for token in context])

    best = None
    for w, (start_logits, end_logits) in enumerate(zip(starts, ends, strict=True)):
        sums = start_logits[:, None] + end_logits[None, :]
        allowed = torch.ones_like(sums, dtype=torch.bool).triu().tril(ANSWER_LIMIT - 1)
        sums = sums.masked_fill(~allowed, -torch.inf)
        flat = int((sums == sums.max()).flatten().nonzero()[0])  # ties: the smaller start, then the smaller end
        start, end = divmod(flat, len(end_logits))
        if best is None or sums[start, end] > best[0]:
            best = (sums[start, end], w, start, end)

    _, w, start, end = best
    start_logit, end_logit = starts[w][start], ends[w][end]
    all_starts, all_ends = torch.cat(starts).double(), torch.cat(ends).double()
    score = (start_logit - all_starts.logsumexp(0) + end_logit - all_ends.logsumexp(0)).exp()
    start_char, end_char = offsets[w][start][0], offsets[w][end][1]
    result = {
        "id": question.id,
        "answer": question.context[start_char:end_char],
        "start_char": start_char,
        "end_char": end_char,
        "start_logit": round(start_logit.item(), 6),
        "end_logit": round(end_logit.item(), 6),
        "score": round(score.item(), 8),
    }
    return result, len(starts)


def load(auto_class: type, folder: Path) -> PreTrainedModel:
    """A model in f32; the weights of one of our int8 folders (docs/model-format.md) are value times scale.

    Our folders of encoders have no pooler, and none of our goldens reads it.
    """
    scale_suffix = (json.loads((folder / "config.json").read_text()).get("quantization_config") or {}).get("scale_suffix")
    if scale_suffix is None:
        return auto_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    stored = load_file(folder / "model.safetensors")
    scales = {name.removesuffix(scale_suffix): stored[name] for name in stored if name.endswith(scale_suffix)}
    weights = {
        name: tensor.float() * scales[name][:, None] if name in scales else tensor
        for name, tensor in stored.items()
        if not name.endswith(scale_suffix)
    }
    config = AutoConfig.from_pretrained(folder)
    del config.quantization_config
    model = auto_class.from_config(config, dtype=torch.float32, attn_implementation="eager")
    prefix = f"{model.base_model_prefix}."
    if not hasattr(model, model.base_model_prefix):  # the encoder alone, whose names have no prefix
        weights = {name.removeprefix(prefix): tensor for name, tensor in weights.items()}
        weights |= {name: tensor for name, tensor in model.state_dict().items() if name.startswith("pooler.")}
    model.load_state_dict(weights)
    return model.eval()


def make_qa(model_folder: Path, squad: Path, out: Path) -> None:
    tokenizer = BertTokenizer.from_pretrained(model_folder)
    model = load(AutoModelForQuestionAnswering, model_folder)
    lines, windows = [], []
    for question in choose(read_squad(squad), tokenizer):
        result, count = answer(model, tokenizer, question)
        lines.append(json.dumps(result))
        windows.append(count)
    out.write_text("\n".join(lines) + "\n")
    print(f"{out.name}: {len(lines)} answers; windows: {({n: windows.count(n) for n in sorted(set(windows))})}")


@torch.no_grad()
def classify(model_folder: Path, sentences: list[str]) -> torch.Tensor:
    tokenizer = BertTokenizer.from_pretrained(model_folder)
    model = load(AutoModelForSequenceClassification, model_folder)
    return torch.cat([model(**tokenizer(sentence, return_tensors="pt")).logits for sentence in sentences])


def make_sst2(models: Path, weights: Path, dev: Path, out: Path) -> None:
    rows = [line.split("\t") for line in dev.read_text(encoding="utf-8").split("\n")[1:] if line]
    sentences = [sentence for sentence, _ in rows]
    truth = torch.tensor([int(label) for _, label in rows])

    def accuracy(logits: torch.Tensor) -> float:
        return round((logits.argmax(1) == truth).double().mean().item(), 6)

    sentiment = classify(models / "sentiment", sentences)
    checkpoint = classify(weights / "sentiment-mobilebert-24l", sentences)
    report = {
        "sentiment": {
            "accuracy": accuracy(sentiment),
            "labels": sentiment.argmax(1).tolist(),
            "logits": [[round(value, 5) for value in row] for row in sentiment.tolist()],
        },
        "sentiment-mobilebert-24l": {"accuracy": accuracy(checkpoint)},
    }
    (out / "sst2.json").write_text(json.dumps(report) + "\n")
    print(f"sst2.json: {len(rows)} lines, accuracy {accuracy(sentiment)} and {accuracy(checkpoint)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder answers")
    parser.add_argument("--weights", type=Path, required=True, help="folder with the checkpoints' folders")
    parser.add_argument("--models", type=Path, required=True, help="this repository's folder models")
    parser.add_argument("--squad", type=Path, required=True, help="dev-v1.1.json")
    parser.add_argument("--sst2", type=Path, required=True, help="dev.tsv, with a header line")
    arguments = parser.parse_args()
    out = arguments.out / "answers"
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    make_qa(arguments.weights / "squad-minilm-l6", arguments.squad, out / "qa-minilm.jsonl")
    make_qa(arguments.weights / "qa-mobilebert-24l", arguments.squad, out / "qa.jsonl")
    make_qa(arguments.models / "qa", arguments.squad, out / "qa-int8.jsonl")
    make_sst2(arguments.models, arguments.weights, arguments.sst2, out)


if __name__ == "__main__":
    main()
