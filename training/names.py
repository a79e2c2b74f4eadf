"""Sentences with names of people, places and organisations: CoNLL files to ids and tags, and new sentences with other names.

    python names.py wikigold/dev.conll dev-of-three-types.conll

writes a file with the tags that a model is scored by.

Files have a word and its tag on each line, and a blank line between sentences. Types of other data sets are mapped to the
three; all others, such as wikigold's MISC (nationalities, works, events), are no names here.
"""

import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from data import CLS, NO_LABEL, SEP

TYPES = {
    "PER": "PER", "LOC": "LOC", "ORG": "ORG",
    "person": "PER", "location": "LOC", "corporation": "ORG", "group": "ORG",
}  # fmt: skip
"""Types of wikigold and BTC, then of WNUT 17."""

TAGS = ("O", *(f"{mark}-{kind}" for kind in ("PER", "LOC", "ORG") for mark in "BI"))
"""The labels of a model, by number."""

EXCHANGED = 0.7
"""Chance of a name to be exchanged in a new sentence."""

Sentence = list[tuple[str, str]]
"""Words and tags."""


def sentences_of(file: Path) -> Iterator[Sentence]:
    """The sentences of a file with the tags in `TAGS`, without words that are blanks (BTC has one, a no-break space)."""
    sentence: Sentence = []
    for line in [*file.read_text("utf-8").split("\n"), ""]:
        if line.strip():
            word, tag = line.split("\t")
            if not word.strip():
                continue
            mark, _, kind = tag.partition("-")
            sentence.append((word, f"{mark}-{TYPES[kind]}" if kind in TYPES else "O"))
        elif sentence:
            yield sentence
            sentence = []


def conll(sentences: Iterable[Sentence]) -> str:
    """A word and its tag on each line, and a blank line between sentences."""
    return "\n".join("".join(f"{word}\t{tag}\n" for word, tag in sentence) for sentence in sentences)


MARKED = re.compile(r"\[(PER|LOC|ORG) ([^][]+)\]|(\S+)")
"""A marked name, or a word."""


def marked(line: str) -> Sentence:
    """The words of a line in which names are marked, as in `[PER Ada Marsh] left [LOC Malmö] .`, with blanks between words."""
    sentence: Sentence = []
    for kind, name, word in MARKED.findall(line):
        sentence += [(part, f"{'I' if place else 'B'}-{kind}") for place, part in enumerate(name.split())]
        if word:
            if word[0] == "[" or word[-1] == "]":
                raise ValueError(f"expected a mark PER, LOC or ORG, closed before the next; found {word!r} in {line!r}")
            sentence.append((word, "O"))
    return sentence


def parts_of(sentence: Sentence) -> list[tuple[str, Sentence]]:
    """The sentence in order, cut into names, with their types, and the words between them, each with an empty type."""
    parts: list[tuple[str, Sentence]] = []
    for word, tag in sentence:
        kind = tag[2:]
        if parts and tag[:1] != "B" and parts[-1][0] == kind:
            parts[-1][1].append((word, tag))
        else:
            parts.append((kind, [(word, tag)]))
    return parts


def plain(name: Iterable[str]) -> bool:
    """Whether a name can stand in any text: user names and hashtags belong to their platform."""
    return not any(word[0] in "@#" for word in name)


Names = dict[str, list[tuple[str, ...]]]
"""By type, the words of each name."""


def names_of(sentences: Iterable[Sentence]) -> Names:
    """The names that can stand in any text, each once."""
    names: dict[str, dict[tuple[str, ...], None]] = defaultdict(dict)
    for sentence in sentences:
        for kind, part in parts_of(sentence):
            if kind and plain(word for word, _ in part):
                names[kind][tuple(word for word, _ in part)] = None
    return {kind: list(each) for kind, each in names.items()}


def with_other_names(sentence: Sentence, names: Names, draw: random.Random) -> Sentence:
    """The sentence with most of its names replaced by others of the same type."""
    new: Sentence = []
    for kind, part in parts_of(sentence):
        if kind and plain(word for word, _ in part) and draw.random() < EXCHANGED:
            words = draw.choice(names[kind])
            new += [(word, f"{'I' if place else 'B'}-{kind}") for place, word in enumerate(words)]
        else:
            new += part
    return new


def exchanged(sentences: list[Sentence], known: list[Sentence], count: int, seed: int) -> list[Sentence]:
    """`count` new sentences out of `sentences`, with other names of the same type; each of those in `known` is as likely."""
    names = names_of(known)
    sources = [s for s in sentences if any(kind and plain(w for w, _ in part) for kind, part in parts_of(s))]
    draw = random.Random(seed)
    return [with_other_names(draw.choice(sources), names, draw) for _ in range(count)]


def spans_of(tags: list[str]) -> set[tuple[str, int, int]]:
    """Type, first word and the word after the last of each name; an `I-` that goes on with nothing begins a name."""
    spans: set[tuple[str, int, int]] = set()
    start, kind = 0, ""
    for place, tag in enumerate([*tags, "O"]):
        if kind and tag != f"I-{kind}":
            spans.add((kind, start, place))
            kind = ""
        if tag != "O" and not kind:
            start, kind = place, tag[2:]
    return spans


def encoded(sentence: Sentence, pieces: Callable[[str], list[int]], longest: int) -> tuple[list[int], list[int]]:
    """Ids and numbers of tags of a sentence, cut at `longest`. A word's first piece has its tag, the others go on with it.

    So tokens next to each other make up whole words, however their tags are joined. `[CLS]`, `[SEP]` and words with `NO_TAG`
    have `NO_LABEL`.
    """
    ids, tags = [CLS], [NO_LABEL]
    for word, tag in sentence:
        each = pieces(word)
        if len(ids) + len(each) >= longest:
            break
        ids += each
        first = TAGS.index(tag) if tag in TAGS else NO_LABEL
        rest = first + 1 if tag.startswith("B") else first
        tags += [first, *[rest] * (len(each) - 1)][: len(each)]
    return [*ids, SEP], [*tags, NO_LABEL]


NO_TAG = ""
"""Tag of a word that only a teacher labels."""


def without_user_names(sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """BTC calls a user name a person, WNUT 17 does not: here, nothing is said about them."""
    for sentence in sentences:
        yield [(word, NO_TAG if word.startswith("@") else tag) for word, tag in sentence]


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    Path(sys.argv[2]).write_text(conll(sentences_of(Path(sys.argv[1]))), "utf-8")


if __name__ == "__main__":
    main()
