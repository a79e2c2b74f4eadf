"""What `recombine.py` promises about new sentences.

    python -m unittest test_recombine
"""

import random
import unittest

from recombine import Phrase, recombined

OF, IS, JOINT = 10, 11, 99


def phrases() -> list[Phrase]:
    """Constituents that begin with OF or IS, and sentences around them; words of sentences stand in no constituent."""
    draw = random.Random(3)
    parts = [(draw.choice((OF, IS)), *draw.choices(range(20, 60), k=draw.randint(1, 8))) for _ in range(60)]
    around = [tuple(draw.choices(range(60, 80), k=6)) for _ in range(60)]
    return parts + [words[:3] + part + words[3:] for words, part in zip(around, parts, strict=True)]


class Recombined(unittest.TestCase):
    def make(self, continues: list[bool] | None = None, longest: int = 30) -> list[Phrase]:
        return recombined(phrases(), continues or [False] * 100, [(JOINT,)], 200, longest, seed=5)

    def test_sentences_are_new_different_and_short_enough(self) -> None:
        new = self.make(longest=16)
        self.assertEqual(len(set(new)), 200)
        self.assertFalse(set(new) & set(phrases()))
        self.assertLessEqual(max(map(len, new)), 16)
        self.assertEqual(new, self.make(longest=16))

    def test_exchanged_constituents_open_alike(self) -> None:
        around = {(s[:3], s[-3:]): s[3:-3] for s in phrases()[60:]}
        places = [(s, around[s[:3], s[-3:]]) for s in self.make() if JOINT not in s and (s[:3], s[-3:]) in around]
        alike = [s for s, old in places if s[3] == old[0]]
        self.assertGreater(len(alike), 50)
        self.assertEqual(len(alike), len(places))

    def test_joined_phrases_are_whole(self) -> None:
        joined = [s for s in self.make() if JOINT in s]
        known = set(phrases())
        self.assertGreater(len(joined), 20)
        for sentence in joined:
            at = sentence.index(JOINT)
            self.assertTrue(sentence[:at] in known and sentence[at + 1 :] in known)

    def test_no_word_is_cut(self) -> None:
        """Where a `##` piece follows, the piece before it stays."""
        tails = {s[-4:] for s in phrases()[60:]}
        new = [s for s in self.make([n >= 60 for n in range(100)]) if s[0] >= 60 and JOINT not in s]
        self.assertGreater(len(new), 5)
        self.assertFalse([s for s in new if s[-4:] not in tails])


if __name__ == "__main__":
    unittest.main()
