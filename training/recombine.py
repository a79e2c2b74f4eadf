"""New sentences out of phrases, for a teacher to label: constituents that open alike are exchanged, phrases joined.

SST-2's train set holds the phrases of each sentence's parse tree, so what stands in a sentence and in the set is a
constituent, and two that open with the same frequent word ("of ...", "is ...", "a ...") mostly fit the same place.
"""

import random
from collections import Counter, defaultdict

Phrase = tuple[int, ...]
"""Ids without `[CLS]` and `[SEP]`."""

OPENERS = 60
"""First words that define a class of phrases: the most frequent ones."""

SHORTEST, LONGEST = 2, 12
"""Pieces of a phrase that is exchanged."""

SENTENCE = 8
"""Pieces from which on a phrase serves as the sentence around it."""

SECOND_EXCHANGE, JOIN = 0.5, 0.25
"""Chances of a second exchange, and of two phrases being joined instead."""


def recombined(
    phrases: list[Phrase], continues: list[bool], joints: list[Phrase], count: int, longest: int, seed: int
) -> list[Phrase]:
    """`count` new phrases of at most `longest` pieces. `continues`: by id, whether it is a `##` piece."""
    draw = random.Random(seed)
    openers = {word for word, _ in Counter(p[0] for p in phrases if len(p) >= SHORTEST).most_common(OPENERS)}
    alike: dict[int, list[Phrase]] = defaultdict(list)
    for phrase in phrases:
        if SHORTEST <= len(phrase) <= LONGEST and phrase[0] in openers:
            alike[phrase[0]].append(phrase)
    known = {phrase for group in alike.values() for phrase in group}
    sentences = [phrase for phrase in phrases if len(phrase) >= SENTENCE]

    def constituents(sentence: Phrase) -> list[tuple[int, int]]:
        return [
            (first, last)
            for first, word in enumerate(sentence)
            if word in openers
            for last in range(first + SHORTEST, min(first + LONGEST, len(sentence)) + 1)
            if (last == len(sentence) or not continues[sentence[last]]) and sentence[first:last] in known
        ]

    def exchanged(sentence: Phrase) -> Phrase:
        places = constituents(sentence)
        if not places:
            return sentence
        first, last = draw.choice(places)
        return sentence[:first] + draw.choice(alike[sentence[first]]) + sentence[last:]

    seen = set(phrases)
    new: list[Phrase] = []
    while len(new) < count:
        if draw.random() < JOIN:
            phrase = draw.choice(phrases) + draw.choice(joints) + draw.choice(phrases)
        else:
            phrase = exchanged(draw.choice(sentences))
            if draw.random() < SECOND_EXCHANGE:
                phrase = exchanged(phrase)
        if len(phrase) <= longest and phrase not in seen:
            seen.add(phrase)
            new.append(phrase)
    return new
