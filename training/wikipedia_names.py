"""Names in sentences of the Wikipedia text, as `written/wikipedia` marks them.

    python wikipedia_names.py --data DIR --out DIR [--parts 8 --sentences 2400]
    python wikipedia_names.py --data DIR --marks written/wikipedia/kept-out --conll FILE

The first writes sentences to be marked, `part-N.txt`: an identifier, a tab and the sentence; paragraphs have blank lines between them.
A marked file (`.tsv`) has an identifier, a tab and the names of the sentence in their order (`LOC Malmö|ORG Volvo`), or `-` for
none, on each line. The second writes the sentences that a folder has marks for, with their tags.
"""

import argparse
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from names import TAGS, Sentence, conll, sentences_of
from prepare import lines_of

SENTENCE_END = re.compile(r"(?<=[.!?]) (?=[A-Z])")
WORDS = re.compile(r"(?:[A-Z]\.)+|\w+(?:[-.,&/]\w+)*|'s\b|[^\w\s]")
"""As wikigold cuts them."""

IN_A_ROW = 8
"""Words that two texts share by chance too rarely to matter."""

LONGEST_LINE = 900
"""Characters of a paragraph; wikigold's are short."""

MOST_SENTENCES = 5
"""Of a paragraph, so that many articles are read."""

LENGTHS = range(4, 61)
"""Words of a sentence."""

LIKELY_ORGANISATION = re.compile(
    r"\b(?:[A-Z]\w+ (?:University|College|School|Company|Corporation|Records|Club|Party|Association|Council|League|Society|Institute"
    r"|Church|Army|Navy|Band|Group|Team|Union|Press|Bank|Museum|Ministry|Committee|Agency|Department|Foundation|Orchestra|Industries"
    r"|Airlines|Motors|United|City|F\.?C)\b|Inc\.|Ltd|band |label |founded |signed )"
)
CAPITAL_INSIDE = re.compile(r"(?<=[a-z,] )[A-Z]")


def rows_of_words(words: list[str]) -> Iterator[tuple[str, ...]]:
    small = [word.lower() for word in words]
    return zip(*(small[shift:] for shift in range(IN_A_ROW)), strict=False)


def measured_rows(folder: Path) -> set[tuple[str, ...]]:
    """Rows of words of the sets that models are measured by."""
    names = ("wikigold/dev", "wnut17/dev", "wnut17/test", "btc/h")
    measured = [s for name in names for s in sentences_of(folder / f"{name}.conll")]
    return {row for sentence in measured for row in rows_of_words(WORDS.findall(" ".join(word for word, _ in sentence)))}


def sentences_of_line(line: str) -> list[str]:
    return SENTENCE_END.split(line.strip())[:MOST_SENTENCES]


def identifier(file: Path, line: int, sentence: int) -> str:
    """`short-00:12.3` is the fourth sentence of the thirteenth line of `enwiki-short-00.txt.zst`."""
    return f"{file.name.removeprefix('enwiki-').removesuffix('.txt.zst')}:{line}.{sentence}"


def worth_marking(line: str, draw: random.Random) -> bool:
    """Names are likely; organisations, which are rare, more often than not; and some text without either."""
    if len(line) > LONGEST_LINE:
        return False
    names = len(CAPITAL_INSIDE.findall(line))
    likely = names >= 2 and names >= len(line) / 150
    return likely and (LIKELY_ORGANISATION.search(line) is not None or draw.random() < 0.3) or draw.random() < 0.03


def picked(folder: Path, known: set[tuple[str, ...]], draw: random.Random) -> list[tuple[str, list[str]]]:
    """Paragraphs in random order: their first sentence's identifier without its number, and the sentences."""
    found: list[tuple[str, list[str]]] = []
    for file in sorted(folder.glob("*.txt.zst")):
        often = 0.15 if "short" in file.name else 0.02
        for number, line in enumerate(lines_of(file)):
            if draw.random() < often and worth_marking(line, draw):
                sentences = sentences_of_line(line)
                words = [WORDS.findall(sentence) for sentence in sentences]
                if all(len(each) in LENGTHS for each in words) and not any(row in known for each in words for row in rows_of_words(each)):
                    found.append((identifier(file, number, 0)[:-2], sentences))
    draw.shuffle(found)
    return found


def places_of(names: list[str], sentence: str, inside_words: bool) -> list[int]:
    """Where the names stand, one after the other, each by itself or, if `inside_words`, anywhere; -1 for what is not there."""
    places: list[int] = []
    start = 0
    for name in names:
        pattern = re.escape(name) if inside_words else rf"(?<!\w){re.escape(name)}(?!\w)"
        match = re.compile(pattern).search(sentence, start)
        places.append(match.start() if match else -1)
        start = match.end() if match else start
    return places


def with_names(sentence: str, marks: str) -> Sentence:
    """The words of a sentence with the tags that `marks` give them (`LOC Malmö|ORG Volvo`, or `-`), each name after the one before.

    A name is a word by itself ("Egypt" is not in "Egyptian"), but in sentences where not all can be ("the Anselmos").
    """
    pairs = [mark.partition(" ")[::2] for mark in marks.split("|")] if marks != "-" else []
    names = [name for _, name in pairs]
    places = places_of(names, sentence, inside_words=False)
    if -1 in places:
        places = places_of(names, sentence, inside_words=True)
    if -1 in places or not all(name and f"B-{kind}" in TAGS for kind, name in pairs):
        raise ValueError(f"expected PER, LOC or ORG and names of the sentence in their order, found {marks!r} in {sentence!r}")
    words = [(match.start(), match.end(), match.group()) for match in WORDS.finditer(sentence)]
    tags = ["O"] * len(words)
    for (kind, name), place in zip(pairs, places, strict=True):
        inside = [n for n, (first, last, _) in enumerate(words) if first < place + len(name) and last > place]
        for n in inside:
            tags[n] = f"{'B' if n == inside[0] else 'I'}-{kind}"
    return [(word, tag) for (_, _, word), tag in zip(words, tags, strict=True)]


def marked_sentences(data: Path, marks: Path) -> list[Sentence]:
    """The sentences of the text that the files in `marks` have names for, in the order of the text."""
    wanted = dict(line.split("\t") for file in sorted(marks.glob("*.tsv")) for line in file.read_text("utf-8").splitlines())
    lines: dict[str, set[int]] = defaultdict(set)
    for key in wanted:
        text, _, place = key.partition(":")
        lines[text].add(int(place.partition(".")[0]))
    found: list[Sentence] = []
    for text, numbers in sorted(lines.items()):
        file = data / f"text/enwiki-{text}.txt.zst"
        for number, line in enumerate(lines_of(file)):
            if number in numbers:
                for n, sentence in enumerate(sentences_of_line(line)):
                    names = wanted.pop(identifier(file, number, n), None)
                    if names is not None:
                        found.append(with_names(sentence, names))
    if wanted:
        raise SystemExit(f"{data}/text: no sentence {min(wanted)}, which {marks} has names for")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--marks", type=Path, help="folder of marked files")
    parser.add_argument("--conll", type=Path)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--sentences", type=int, default=2400, help="sentences of a part")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if (args.marks is None) != (args.conll is None) or (args.out is None) == (args.conll is None):
        parser.error("expected --out, or --marks and --conll")
    if args.conll is not None:
        args.conll.write_text(conll(marked_sentences(args.data, args.marks)), "utf-8")
        return
    args.out.mkdir(parents=True, exist_ok=True)
    found = iter(picked(args.data / "text", measured_rows(args.data / "ner"), random.Random(args.seed)))
    for part in range(args.parts):
        count = 0
        with open(args.out / f"part-{part}.txt", "w", encoding="utf-8") as file:
            for place, sentences in found:
                file.write("".join(f"{place}.{n}\t{sentence}\n" for n, sentence in enumerate(sentences)) + "\n")
                count += len(sentences)
                if count >= args.sentences:
                    break


if __name__ == "__main__":
    main()
