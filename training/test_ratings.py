"""What `ratings.py` promises, and how rated sentences are learned.

    python -m unittest test_ratings
"""

import re
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

import tasks
from data import NO_LABEL, Batch
from ratings import kept_out, probability, rated
from tasks import Reader, Sentiment


def reading(text: str, encoding: str = "utf-8") -> list[tuple[str, float]]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rated.txt"
        file.write_text(text, encoding)
        return rated(file)


class Files(unittest.TestCase):
    def test_a_line_has_an_id_a_rating_and_a_text(self) -> None:
        for encoding in ("utf-8", "latin-1"):
            self.read_as(encoding)

    def read_as(self, encoding: str) -> None:
        found = reading("1_1\t-0.9\tno  picture\r\n\n2\t4\ta &amp; b\tc \u00e9\n", encoding)
        self.assertEqual(found, [("no  picture", -0.9), ("a & b\tc \u00e9", 4.0)])

    def test_other_lines_are_named(self) -> None:
        for line in ("1\tgood", "1\tgood\ttext", "1\t4.1\ttext", "1\tnan\ttext", "text"):
            with self.assertRaises(SystemExit, msg=line) as error:
                reading(f"1\t1\tfine\n{line}\n")
            self.assertIn("line 2", str(error.exception))

    def test_stretches_are_kept_out(self) -> None:
        self.assertEqual(kept_out(0).tolist(), [])
        self.assertAlmostEqual(kept_out(5189).float().mean().item(), 0.1, places=3)
        self.assertEqual(kept_out(500).nonzero().flatten().tolist()[:11], [*range(90, 100), 190])

    def test_written_files_have_ratings_and_no_sentence_of_the_samples(self) -> None:
        folder = Path(__file__).parent
        words = lambda text: re.findall(r"[a-z0-9']+", text.lower())  # noqa: E731
        rows = lambda text: zip(*(words(text)[shift:] for shift in range(5)), strict=False)  # noqa: E731
        samples = [file.read_text("utf-8").splitlines()[1:] for file in sorted((folder / "../eval/samples").glob("*.tsv"))]
        known = {row for lines in samples for line in lines for row in rows(line.split("\t")[0])}
        self.assertGreater(len(known), 1000)
        texts = [pair for file in sorted((folder / "written/ratings").glob("*.tsv")) for pair in rated(file)]
        self.assertGreater(len(texts), 30_000)
        self.assertEqual([text for text, _ in texts if known.intersection(rows(text))], [])
        self.assertLessEqual({rating for _, rating in texts}, {-3.0, -2.0, 0.0, 2.0, 3.0})

    def test_no_opinion_is_even(self) -> None:
        self.assertEqual(probability(0.0), 0.5)
        self.assertAlmostEqual(probability(1.0) + probability(-1.0), 1.0)
        self.assertGreater(probability(2.0), 0.95)


class Learned(unittest.TestCase):
    """`Sentiment.losses` with a stand-in for the network, whose logits are `[0, first id]`."""

    def losses(self, percent: list[int], first: list[float]) -> dict[str, Tensor]:
        examples = mock.Mock(labels={"percent": None}, label=lambda _name, picked: torch.tensor(percent)[picked])
        task = Sentiment.__new__(Sentiment)
        task.examples = examples
        ids = torch.tensor(first)[:, None]
        batch = Batch(ids, ids, ids.bool())
        student = mock.Mock(spec=Reader, trace=lambda some: some.ids)
        self.taught_rows: list[int] = []

        def taught(_student: Reader, picked: Tensor, some: Batch, _noise: object) -> dict[str, Tensor]:
            self.taught_rows = picked.tolist()
            self.assertEqual(len(some.ids), len(picked))
            return dict.fromkeys(("labels", "teacher", "features"), torch.tensor(1.0))

        with (
            mock.patch.object(task, "taught", taught),
            mock.patch.object(tasks, "sst2_logits", lambda _reader, trace: torch.cat([torch.zeros_like(trace), trace], 1)),
        ):
            return task.losses(student, torch.arange(len(percent)), batch, torch.Generator())

    def test_each_part_counts_by_its_sentences(self) -> None:
        losses = self.losses([NO_LABEL, 50, NO_LABEL, NO_LABEL], [9.0, 0.0, 9.0, 9.0])
        self.assertEqual(self.taught_rows, [0, 2, 3])
        self.assertAlmostEqual(losses["teacher"].item(), 0.75)
        self.assertAlmostEqual(losses["ratings"].item(), 0.25 * torch.tensor(2.0).log().item(), places=6)

    def test_the_loss_is_least_at_the_rating(self) -> None:
        at = [self.losses([80], [logit])["ratings"].item() for logit in (0.0, torch.tensor(0.8).logit().item(), 3.0)]
        self.assertLess(at[1], min(at[0], at[2]))

    def test_the_names_are_always_the_same(self) -> None:
        names = [set(self.losses(percent, [1.0, 1.0])) for percent in ([80, 20], [NO_LABEL] * 2, [80, NO_LABEL])]
        self.assertEqual(names, [{"labels", "teacher", "features", "ratings"}] * 3)


if __name__ == "__main__":
    unittest.main()
