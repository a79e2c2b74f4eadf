"""Windows and truncations of long texts, as `transformers` computes them."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from transformers import BertTokenizer

from make_token_goldens import byte_offsets, read_vocabulary, write

QUESTION = "Who built the café?"
CONTEXT = (
    "The café's façade was built in 1882 by Ada Müller—an unbelievably stubborn architect. "
    "北京 😀 opened\r\nlater; nobody knows why. "
)
LONG = CONTEXT * 2
# max_length, stride: the last window short, full and of one new token; no overlap; the largest overlap.
SINGLE = [(16, 4), (32, 0), (32, 16), (24, 21), (3, 0), (512, 128), (49, 10)]
PAIR = [(24, 4), (24, 0), (24, 14), (32, 8), (40, 20), (512, 128), (61, 3)]


def windows(tokenizer: BertTokenizer, question: str | None, text: str, length: int, stride: int) -> dict:
    texts = [text] if question is None else [question, text]
    # In lists: `tokenizer("a", "")` would take the empty pair for none.
    encoding = tokenizer(
        *([t] for t in texts),
        truncation=True if question is None else "only_second",
        max_length=length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    starts = [byte_offsets(t) for t in texts]
    rows = []
    for row in range(len(encoding["input_ids"])):
        sequences = encoding.sequence_ids(row)
        offsets = [
            [0, 0] if sequence is None else [starts[sequence][start], starts[sequence][end]]
            for (start, end), sequence in zip(encoding["offset_mapping"][row], sequences, strict=True)
        ]
        rows.append({"ids": encoding["input_ids"][row], "offsets": offsets})
    return {"question": question, "text": text, "max_seq_len": length, "doc_stride": stride, "windows": rows}


def lines(tokenizer: BertTokenizer) -> Iterable[dict]:
    for length, stride in SINGLE:
        yield windows(tokenizer, None, LONG, length, stride)
    for length, stride in PAIR:
        yield windows(tokenizer, QUESTION, LONG, length, stride)
    for text in ["", " ", "one"]:
        yield windows(tokenizer, None, text, 16, 4)
        yield windows(tokenizer, QUESTION, text, 16, 4)
    for first, second in [(QUESTION, CONTEXT), (CONTEXT, QUESTION), (CONTEXT, CONTEXT), (QUESTION, QUESTION)]:
        for length in [4, 7, 8, 14, 25, 40, 200]:
            ids = tokenizer(first, second, truncation=True, max_length=length)["input_ids"]
            yield {"text": first, "second": second, "max_seq_len": length, "truncated": ids}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder")
    parser.add_argument("--uncased-vocab", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = BertTokenizer(vocab=read_vocabulary(arguments.uncased_vocab))
    (arguments.out / "tokens").mkdir(parents=True, exist_ok=True)
    write(arguments.out / "tokens" / "uncased-windows.jsonl", lines(tokenizer))


if __name__ == "__main__":
    main()
