"""Raw data to files that training reads without a tokenizer; teachers to f16.

    python prepare.py --out DIR --base TEACHER --qa-teacher TEACHER --sst2-teacher TEACHER [--data DIR] [--text-mb 58]

Writes text-NN.npy (uint16 tokens), qa.npz, sst2.npz and teachers/{base,qa,sst2}. Dev sets are not read.
"""

import argparse
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from data import CLS, FIRST_WORD, MASK, NO_LABEL, PAD, SEP
from export import write_folder
from model import has_masked_lm_head, open_model
from recombine import recombined

TEXT_FILE = 15_000_000
"""Bytes of a text file at most, so that each can be sent by itself."""

QA_LENGTH, QA_STRIDE, QUESTION_LENGTH = 384, 128, 64
"""As the engine reads long contexts: tokens of a window, tokens that neighbours share, longest question."""

SST2_LENGTH = 128
RECOMBINED_LENGTH = 62
JOINTS = (",", ";", "--", "...", "and", "but", ", and", ", but", ", yet", ", though", "although", "because", "or")
"""What stands between two joined phrases."""

LINES = 2_000


def tokenizer_of(folder: Path) -> PreTrainedTokenizerBase:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids(["[PAD]", "[CLS]", "[SEP]", "[MASK]", "!"])
    if ids != [PAD, CLS, SEP, MASK, FIRST_WORD] or len(tokenizer) > 2**16:
        raise SystemExit(f"{folder}: not BERT's uncased vocabulary; special ids are {ids}")
    return tokenizer


def lines_of(file: Path) -> Iterator[str]:
    with subprocess.Popen(["zstd", "-dc", file], stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout is not None
        try:
            yield from process.stdout
        finally:
            process.terminate()


def tokens_of(file: Path, tokenizer: PreTrainedTokenizerBase, most: int) -> np.ndarray:
    """The first `most` tokens of a file, a `[SEP]` between documents."""
    parts: list[np.ndarray] = []
    count = 0
    pending: list[str] = []

    def flush() -> None:
        nonlocal count
        encoded = tokenizer(pending, add_special_tokens=False, return_attention_mask=False)["input_ids"]
        for ids in encoded:
            part = np.array(ids or [SEP], np.uint16)
            parts.append(part)
            count += len(part)
        pending.clear()

    for line in lines_of(file):
        pending.append(line.strip())
        if len(pending) == LINES or (most < 200_000 and len(pending) == 50):
            flush()
            if count >= most:
                break
    if pending:
        flush()
    return np.concatenate(parts)[:most]


def write_text(folder: Path, tokenizer: PreTrainedTokenizerBase, megabytes: float, out: Path) -> None:
    """An equal share of every file, so that long and short articles are both there."""
    files = sorted(folder.glob("*.txt.zst"))
    if not files:
        raise SystemExit(f"{folder}: no *.txt.zst")
    for old in out.glob("text-*.npy"):
        old.unlink()
    budget = int(megabytes * 1e6 / 2)
    parts: list[np.ndarray] = []
    for number, file in enumerate(files):
        left = budget - sum(map(len, parts))
        parts.append(tokens_of(file, tokenizer, left // (len(files) - number)))
        print(f"{file.name}: {len(parts[-1]):,} tokens", flush=True)
    tokens = np.concatenate(parts)
    for number, part in enumerate(np.split(tokens, range(TEXT_FILE // 2, len(tokens), TEXT_FILE // 2))):
        np.save(out / f"text-{number:02}.npy", part)


def squad_questions(file: Path) -> Iterator[tuple[str, str, int, int]]:
    """Question, context, first and last + 1 code point of the first answer."""
    for article in json.loads(file.read_text("utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                answer = qa["answers"][0]
                start = answer["answer_start"]
                yield qa["question"], paragraph["context"], start, start + len(answer["text"])


def write_qa(files: list[Path], tokenizer: PreTrainedTokenizerBase, most: int | None, out: Path) -> None:
    """Windows with the places of the first answer; a window without it points at `[CLS]` (place 0)."""
    columns: dict[str, list[int]] = {name: [] for name in ("second", "start", "end")}
    sequences: list[list[int]] = []
    for file in files:
        for number, (question, context, first, last) in enumerate(squad_questions(file)):
            if number == most:
                break
            short = tokenizer.decode(tokenizer(question, add_special_tokens=False)["input_ids"][:QUESTION_LENGTH])
            asked = question if len(tokenizer.tokenize(question)) <= QUESTION_LENGTH else short
            windows = tokenizer(
                asked,
                context,
                truncation="only_second",
                max_length=QA_LENGTH,
                stride=QA_STRIDE,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            for ids, offsets in zip(windows["input_ids"], windows["offset_mapping"], strict=True):
                second = ids.index(SEP) + 1
                covered = [i for i in range(second, len(ids) - 1) if offsets[i][0] < last and offsets[i][1] > first]
                whole = covered and offsets[covered[0]][0] <= first and offsets[covered[-1]][1] >= last
                sequences.append(ids)
                columns["second"].append(second)
                columns["start"].append(covered[0] if whole else 0)
                columns["end"].append(covered[-1] if whole else 0)
    write_examples(out / "qa.npz", tokenizer, sequences, columns)


def write_sst2(
    file: Path, tokenizer: PreTrainedTokenizerBase, most: int | None, new: int, seed: int, out: Path
) -> None:
    """The rows, then `new` recombinations of them without a label."""
    rows = [line.split("\t") for line in file.read_text("utf-8").splitlines()[1:]][:most]
    sequences = tokenizer([row[0] for row in rows], truncation=True, max_length=SST2_LENGTH)["input_ids"]
    labels = [int(row[1]) for row in rows] + [NO_LABEL] * new
    continues = [piece.startswith("##") for piece in tokenizer.convert_ids_to_tokens(range(len(tokenizer)))]
    joints = [tuple(ids) for ids in tokenizer(list(JOINTS), add_special_tokens=False)["input_ids"]]
    phrases = [tuple(ids[1:-1]) for ids in sequences]
    for phrase in recombined(phrases, continues, joints, new, RECOMBINED_LENGTH, seed):
        sequences.append([CLS, *phrase, SEP])
    write_examples(out / "sst2.npz", tokenizer, sequences, {"label": labels})


def write_examples(
    file: Path, tokenizer: PreTrainedTokenizerBase, sequences: list[list[int]], columns: dict[str, list[int] | np.ndarray]
) -> None:
    """Lists of numbers are kept in 16 bits, arrays as they are."""
    pieces = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    np.savez_compressed(
        file,
        ids=np.concatenate([np.array(ids, np.uint16) for ids in sequences]),
        ends=np.cumsum([len(ids) for ids in sequences]),
        vocabulary_continues=np.array([piece.startswith("##") for piece in pieces]),
        **{name: np.array(column, None if isinstance(column, np.ndarray) else np.uint16) for name, column in columns.items()},
    )
    print(f"{file.name}: {len(sequences):,} sequences, {sum(map(len, sequences)):,} tokens", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--base", type=Path, help="teacher of the knowledge transfer")
    parser.add_argument("--qa-teacher", type=Path, required=True, help="its vocabulary is the one used")
    parser.add_argument("--sst2-teacher", type=Path, required=True)
    parser.add_argument("--text-mb", type=float, default=58.0, help="size of the text at most, 2 bytes a token")
    parser.add_argument("--examples", type=int, help="examples of each task file at most")
    parser.add_argument("--recombined", type=int, default=0, help="sentences made of SST-2's phrases, for the teacher to label")
    parser.add_argument("--seed", type=int, default=1, help="of the recombinations")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_of(args.qa_teacher)
    data = args.data
    write_sst2(data / "glue/sst2/train.tsv", tokenizer, args.examples, args.recombined, args.seed, args.out)
    questions = [data / "squad/train-v1.1-partial.json", data / "qamr/dev.json", data / "qamr/test.json"]
    write_qa(questions, tokenizer, args.examples, args.out)
    write_text(data / "text", tokenizer, args.text_mb, args.out)
    for name, folder in (("base", args.base), ("qa", args.qa_teacher), ("sst2", args.sst2_teacher)):
        if folder is not None:
            head = "mlm" if name == "base" and has_masked_lm_head(folder) else "none" if name == "base" else name
            write_folder(open_model(folder, head), folder, args.out / "teachers" / name)


if __name__ == "__main__":
    main()
