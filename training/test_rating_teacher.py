"""What `rating_teacher.py` and `label_ratings.py` promise about sentences, without MPNet.

    python -m unittest test_rating_teacher
"""

import random
import tempfile
import unittest
from pathlib import Path

import torch

from data import CLS, PAD, SEP, padded, steps_by_length
from label_ratings import probabilities, variants
from rating_teacher import STEP, RatingTeacher, parts, steps_of


class Steps(unittest.TestCase):
    def test_every_sequence_is_in_one_step_of_no_more_tokens(self) -> None:
        lengths = [random.Random(1).randint(3, 60) for _ in range(500)] + [900]
        steps = steps_by_length(lengths, 600)
        self.assertEqual(sorted(n for step in steps for n in step), list(range(501)))
        self.assertEqual([s for s in steps if len(s) > 1 and len(s) * max(lengths[n] for n in s) > 600], [])
        self.assertEqual(steps_by_length([], 600), [])

    def test_probabilities_stay_with_their_sentences(self) -> None:
        rows = [([CLS] + [1_000 + n] * (n % 50) + [SEP], n / 3_000) for n in range(2_500)]
        found = [(ids[ids != PAD].tolist(), p.item()) for step, told in steps_of(list(rows), random.Random(1)) for ids, p in zip(step, told)]
        self.assertEqual(len(found), len(rows))
        for ids, p in found:
            self.assertEqual(ids, rows[round(p * 3_000)][0])
        self.assertTrue(all(step.numel() <= STEP for step, _ in steps_of(list(rows), None)))


class Parts(unittest.TestCase):
    def test_one_stretch_of_ten_is_kept_out(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rated.tsv"
            file.write_text("".join(f"{n}\t{n % 7 - 3}\tsentence {n}\n" for n in range(500)), "utf-8")
            trained, kept = parts([file])
        self.assertEqual((len(trained), len(kept)), (450, 50))
        self.assertFalse(set(trained) & set(kept))
        self.assertEqual(trained[3], ("sentence 3", 0.5))


class Labels(unittest.TestCase):
    def test_each_sentence_has_a_variant_between_its_ends(self) -> None:
        rows = [[CLS, *range(1_000, 1_000 + n % 20 + 1), SEP] for n in range(600)]
        near = torch.arange(2_000)[:, None].repeat(1, 8)
        found = variants(rows, near, torch.zeros(2_000, dtype=torch.bool), torch.Generator().manual_seed(1))
        self.assertEqual(len(found), 600)
        self.assertTrue(all(row[0] == CLS and row[-1] == SEP and len(row) >= 3 for row in found))
        self.assertNotEqual(found, rows)

    def test_probabilities_are_in_the_order_of_the_sentences(self) -> None:
        rows = [[n] * (n % 40 + 1) for n in range(1, 300)]

        class Stand(RatingTeacher):
            def __init__(self) -> None:
                torch.nn.Module.__init__(self)

            def forward(self, ids: torch.Tensor) -> torch.Tensor:
                return (ids[:, 0] / 1_000).logit()

        for n, p in enumerate(probabilities(Stand(), rows), 1):
            self.assertAlmostEqual(p, n / 1_000, places=5)
        self.assertEqual(padded([[5], [6, 7]]).tolist(), [[5, PAD], [6, 7]])


if __name__ == "__main__":
    unittest.main()
