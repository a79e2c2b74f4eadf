"""What `names.py` promises about sentences, tags and new names.

    python -m unittest test_names
"""

import random
import re
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

from data import CLS, NO_LABEL, PAD, SEP, Batch, Examples
from names import (
    NO_TAG,
    TAGS,
    Sentence,
    encoded,
    exchanged,
    marked,
    names_of,
    parts_of,
    sentences_of,
    spans_of,
    with_other_names,
    without_user_names,
)
from prepare_ner import WRITTEN, kept_labels

ADA: Sentence = [("Ada", "B-PER"), ("Byron", "I-PER"), ("saw", "O"), ("Bergen", "B-LOC")]
CLUB: Sentence = [("The", "O"), ("Harbour", "B-ORG"), ("Club", "I-ORG"), ("met", "O"), ("@eve", "B-PER")]
TWO: Sentence = [("Eve", "B-PER"), ("Kim", "B-PER"), ("slept", "O")]


def names(sentence: Sentence) -> list[tuple[str, tuple[str, ...]]]:
    return [(kind, tuple(word for word, _ in part)) for kind, part in parts_of(sentence) if kind]


class Names(unittest.TestCase):
    def test_files_have_the_three_types(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "a.conll"
            file.write_text("Acme\tB-corporation\n Ltd\tI-corporation\n\u00a0\tO\n\n\nJapanese\tB-MISC\nEve\tB-person", "utf-8")
            read = list(sentences_of(file))
        self.assertEqual(read, [[("Acme", "B-ORG"), (" Ltd", "I-ORG")], [("Japanese", "O"), ("Eve", "B-PER")]])

    def test_marks_become_tags(self) -> None:
        read = marked("In [LOC Malmö] , [PER Ada de Vries] 's [ORG NGB] ( 1987 ) met [PER Lowe] [PER Marsh]")
        self.assertEqual(" ".join(word for word, _ in read), "In Malmö , Ada de Vries 's NGB ( 1987 ) met Lowe Marsh")
        tags = "O B-LOC O B-PER I-PER I-PER O B-ORG O O O O B-PER B-PER"
        self.assertEqual([tag for _, tag in read], tags.split())

    def test_marks_that_are_none_are_errors(self) -> None:
        for line in ("[MISC French] wine", "[PER Ada met Lowe", "Ada ] met", "[PER Ada [LOC Malmö] ]", "[PER ] met"):
            with self.assertRaisesRegex(ValueError, "expected a mark"):
                marked(line)

    def test_sentences_of_this_project_are_read_whole(self) -> None:
        for file in sorted(WRITTEN.glob("*.txt")):
            for line in file.read_text("utf-8").splitlines():
                self.assertEqual([word for word, _ in marked(line)], re.sub(r"\[(PER|LOC|ORG) |\]", "", line).split())

    def test_names_side_by_side_stay_apart(self) -> None:
        self.assertEqual(names(TWO), [("PER", ("Eve",)), ("PER", ("Kim",))])
        self.assertEqual([pair for _, part in parts_of(CLUB) for pair in part], CLUB)

    def test_new_sentences_keep_their_words_and_types(self) -> None:
        known = [ADA, CLUB, TWO]
        new = exchanged(known, known, 60, seed=2)
        self.assertEqual(new, exchanged(known, known, 60, seed=2))
        outside = {tuple(word for word, tag in s if tag == "O"): [kind for kind, _ in names(s)] for s in known}
        for sentence in new:
            self.assertEqual([kind for kind, _ in names(sentence)], outside[tuple(w for w, tag in sentence if tag == "O")])
        changed = [sentence for sentence in new if sentence not in known]
        self.assertGreater(len(changed), 20)

    def test_user_names_are_not_exchanged(self) -> None:
        for sentence in exchanged([ADA, CLUB, TWO], [ADA, CLUB, TWO], 60, seed=3):
            places = [place for place, (word, _) in enumerate(sentence) if word == "@eve"]
            self.assertEqual(bool(places), sentence[0][0] == "The")
            self.assertTrue(all(place == len(sentence) - 1 for place in places))

    def test_pieces_of_a_word_go_on_with_its_tag(self) -> None:
        pieces = {"Ada": [5000, 5001], "Byron": [6000, 6001, 6002], "saw": [7000], "Bergen": []}
        ids, tags = encoded(ADA, pieces.__getitem__, 99)
        person = TAGS.index("B-PER")
        self.assertEqual(ids, [CLS, 5000, 5001, 6000, 6001, 6002, 7000, SEP])
        self.assertEqual(tags, [NO_LABEL, person, *[person + 1] * 4, 0, NO_LABEL])
        for longest, kept in ((8, 8), (7, 7), (6, 4), (4, 4), (3, 2), (2, 2)):
            ids, tags = encoded(ADA, pieces.__getitem__, longest)
            self.assertEqual((len(ids), len(tags), ids[-1]), (kept, kept, SEP))

    def test_user_names_of_wnut_have_no_tag(self) -> None:
        [sentence] = without_user_names([CLUB])
        self.assertEqual(sentence[:-1], CLUB[:-1])
        self.assertEqual(sentence[-1], ("@eve", NO_TAG))
        self.assertEqual(encoded(sentence, lambda _: [5000], 9)[1][-2:], [NO_LABEL, NO_LABEL])


    def test_only_names_that_stand_anywhere_are_exchanged(self) -> None:
        known = names_of([ADA, CLUB])
        self.assertEqual(known, {"PER": [("Ada", "Byron")], "LOC": [("Bergen",)], "ORG": [("Harbour", "Club")]})
        draw = random.Random(5)
        for _ in range(20):
            new = with_other_names(CLUB, known, draw)
            self.assertEqual((new[0], new[-2:]), (CLUB[0], CLUB[-2:]))

    def test_spans_begin_with_a_tag_of_another_type(self) -> None:
        tags = ["B-PER", "I-PER", "B-PER", "I-LOC", "O", "I-ORG", "I-ORG"]
        self.assertEqual(spans_of(tags), {("PER", 0, 2), ("PER", 2, 3), ("LOC", 3, 4), ("ORG", 5, 7)})
        self.assertEqual(spans_of([]), set())


class KeptLabels(unittest.TestCase):
    def test_logits_stand_below_their_ids(self) -> None:
        logits = np.arange(3 * len(TAGS), dtype=np.float16).reshape(3, -1) + 1
        with tempfile.TemporaryDirectory() as folder:
            columns = {"ids": np.array([5000, 5001, 6000], np.uint16), "ends": np.array([2, 3]), "logits": logits}
            np.savez(Path(folder) / "labelled-00.npz", **columns)
            ids, rows = kept_labels(Path(folder))
            file = Path(folder) / "ner.npz"
            flat, ends = sum(ids, []), np.cumsum([len(row) for row in ids])
            np.savez(file, ids=flat, ends=ends, logits=np.concatenate(rows), held_out=[0, 0], vocabulary_continues=[0])
            examples = Examples(file, torch.device("cpu"), 99)
        self.assertEqual(ids, [[CLS, 5000, 5001, SEP], [CLS, 6000, SEP]])
        found, told = examples.logits_of(torch.tensor([1, 0]), 5)
        self.assertEqual(told.int().tolist(), [[0, 1, 0, 0, 0], [0, 1, 1, 0, 0]])
        self.assertEqual(found[told].tolist(), logits[[2, 0, 1]].tolist())


class TaggedExamples(unittest.TestCase):
    def test_tags_stand_below_their_ids_and_marks_hold_out(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ner.npz"
            ids, tags = [CLS, 5000, SEP, CLS, 6000, 6001, SEP], [NO_LABEL, 1, NO_LABEL, NO_LABEL, 3, 4, NO_LABEL]
            columns = {"ids": ids, "tags": tags, "ends": [3, 7], "held_out": [1, 0], "vocabulary_continues": [0] * 9}
            np.savez(file, **{name: np.array(column) for name, column in columns.items()})
            examples = Examples(file, torch.device("cpu"), 99)
        self.assertEqual((examples.held_out.tolist(), examples.train.tolist()), ([0], [1]))
        picked = torch.tensor([1, 0])
        batch: Batch = examples.batch(picked, 4)
        self.assertEqual(batch.ids.tolist(), [[CLS, 6000, 6001, SEP], [CLS, 5000, SEP, PAD]])
        self.assertEqual(examples.tags_of(picked, 4).tolist(), [[NO_LABEL, 3, 4, NO_LABEL], [NO_LABEL, 1, NO_LABEL, NO_LABEL]])


if __name__ == "__main__":
    unittest.main()
