"""Tokens of texts that are easy to get wrong, as `transformers` computes them."""

import argparse
import json
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

from transformers import BertTokenizer

import token_texts
from cased_vocab import cased_vocabulary


def read_vocabulary(path: Path) -> dict[str, int]:
    entries = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return {entry: index for index, entry in enumerate(entries)}


def byte_offsets(text: str) -> list[int]:
    """The byte at which each code point starts, and the text's length in bytes."""
    return list(accumulate((len(character.encode()) for character in text), initial=0))


def line(tokenizer: BertTokenizer, text: str, pair: str | None = None, plain_specials: bool = False) -> dict:
    tokenizer.backend_tokenizer.encode_special_tokens = plain_specials
    encoding = tokenizer.backend_tokenizer.encode(text, pair)
    starts = [byte_offsets(text), byte_offsets(pair or "")]
    offsets = [
        [0, 0] if sequence is None else [starts[sequence][start], starts[sequence][end]]
        for (start, end), sequence in zip(encoding.offsets, encoding.sequence_ids, strict=True)
    ]
    if not plain_specials:
        # In lists: `tokenizer("a", "")` would take the empty pair for none.
        through_wrapper = tokenizer([text], None if pair is None else [pair])
        assert through_wrapper.input_ids == [encoding.ids]
        assert through_wrapper.token_type_ids == [encoding.type_ids]
    return {
        "text": text,
        **({} if pair is None else {"pair": pair}),
        "ids": encoding.ids,
        "tokens": encoding.tokens,
        "type_ids": encoding.type_ids,
        "offsets": offsets,
    }


def write(path: Path, lines: Iterable[dict]) -> None:
    """ASCII only, so that no editor, diff or checkout changes a character."""
    lines = [json.dumps(line) for line in lines]
    path.write_text("\n".join(lines) + "\n")
    print(f"{path.name}: {len(lines)} lines")


def all_lines(tokenizer: BertTokenizer) -> Iterable[dict]:
    for text in token_texts.TEXTS:
        yield line(tokenizer, text)
    for text, pair in token_texts.PAIRS:
        yield line(tokenizer, text, pair)


def option_lines(vocabulary: dict[str, int]) -> Iterable[dict]:
    for options in token_texts.OPTIONS:
        tokenizer = BertTokenizer(vocab=vocabulary, **options)
        for text in token_texts.OPTION_TEXTS:
            yield {**line(tokenizer, text), "options": options}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the golden folder; files go to its folder tokens")
    parser.add_argument("--uncased-vocab", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out / "tokens"
    out.mkdir(parents=True, exist_ok=True)

    cased_path = out / "cased-vocab.txt"
    cased_path.write_text("\n".join(cased_vocabulary()) + "\n", encoding="utf-8")
    uncased_vocabulary = read_vocabulary(arguments.uncased_vocab)
    uncased = BertTokenizer(vocab=uncased_vocabulary)
    cased = BertTokenizer(vocab=read_vocabulary(cased_path), do_lower_case=False)

    write(out / "uncased.jsonl", all_lines(uncased))
    write(out / "cased.jsonl", all_lines(cased))
    write(out / "uncased-options.jsonl", option_lines(uncased_vocabulary))
    write(
        out / "uncased-plain-specials.jsonl",
        (line(uncased, text, plain_specials=True) for text in token_texts.SPECIAL),
    )


if __name__ == "__main__":
    main()
