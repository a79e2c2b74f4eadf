"""What `mpnet.py` computes is what `transformers` computes, and what `name_teacher.py` promises about windows.

    python -m unittest test_mpnet
"""

import json
import tempfile
import unittest
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import MPNetConfig, MPNetModel

from data import CLS, MASK, NO_LABEL, SEP
from mpnet import BEFORE_WORDS, END, HIDDEN, PADDING, START, ids_of_bert, open_mpnet
from name_teacher import LONGEST, SHAPES, NameTeacher, shape_of, tensors_of, windows
from names import TAGS, Sentence

TOLERANCE = 1e-5
"""For sums in another order: of states near 1, 1.1e-6 was the largest difference with the published weights."""

ADA: Sentence = [("Ada", "B-PER"), ("Byron", "I-PER"), ("saw", "O"), ("Bergen", "B-LOC")]


def pieces(word: str) -> list[int]:
    """A stand-in for a tokenizer: a piece for every three letters."""
    return [1_000 + ord(word[place]) for place in range(0, len(word), 3)]


def small_folder(folder: Path) -> MPNetModel:
    """Writes a random MPNet of two layers."""
    torch.manual_seed(3)
    config = MPNetConfig(
        vocab_size=1_300, hidden_size=48, num_hidden_layers=6, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=320, initializer_range=0.3,
    )  # fmt: skip
    model = MPNetModel(config).eval()
    (folder / "config.json").write_text(json.dumps(config.to_dict()), "utf-8")
    save_file({name: x.contiguous() for name, x in model.state_dict().items()}, folder / "model.safetensors")
    return model


class Forward(unittest.TestCase):
    def test_ids_are_four_further(self) -> None:
        ids = torch.tensor([[CLS, 1_000, MASK, SEP, 0]])
        expected = [[START, 1_000 + BEFORE_WORDS, HIDDEN, END, PADDING]]
        self.assertEqual(ids_of_bert(ids, ids != 0).tolist(), expected)

    def test_states_are_those_of_transformers(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            theirs = small_folder(Path(folder))
            mine = open_mpnet(Path(folder)).eval()
        # Far enough for distances of the last bucket, and with padding.
        lengths = (300, 7, 1)
        mask = torch.arange(300) < torch.tensor(lengths)[:, None]
        ids = torch.randint(999, 1_290, (3, 300)).masked_fill(~mask, 0)
        ids[:, 0] = CLS
        with torch.no_grad():
            found = mine(ids, mask)
            expected = theirs(ids_of_bert(ids, mask), attention_mask=mask.long()).last_hidden_state
            halves = mine.layers(mine.layers(mine.embed(ids, mask), mask, 0, 4), mask, 4)
        self.assertLess((found - expected).abs()[mask].max().item(), TOLERANCE)
        self.assertTrue(torch.equal(halves, found))

    def test_a_folder_without_a_tensor_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            small_folder(Path(folder))
            save_file({"x": torch.zeros(1)}, Path(folder) / "model.safetensors")
            self.assertRaisesRegex(SystemExit, "no tensor", open_mpnet, Path(folder))


class Windows(unittest.TestCase):
    def test_shapes_tell_capitals(self) -> None:
        words = ("ada", "Ada", "A", "ADA", "U.S.", "McKay", "iPod", "1,024", "--")
        self.assertEqual([shape_of(word) for word in words], [0, 1, 1, 2, 2, 3, 3, 4, 5])

    def test_a_window_holds_neighbours_and_their_places(self) -> None:
        sentences = [ADA] * 30
        read = list(windows(sentences, pieces))
        self.assertEqual(sum(len(window.places) for window in read), len(sentences))
        for window in read:
            ids, shapes, tags = window.closed()
            self.assertTrue(len(ids) == len(shapes) == len(tags) <= LONGEST + 1)
            self.assertEqual((ids[0], ids[-1], tags[0], tags[-1]), (CLS, SEP, NO_LABEL, NO_LABEL))
            for first, last in window.places:
                self.assertEqual(tags[first:last], [1, 2, 2, 0, 3, 4])
                self.assertEqual(shapes[first:last], [1, 1, 1, 0, 1, 1])

    def test_a_sentence_longer_than_a_window_is_cut(self) -> None:
        read = list(windows([ADA * 100, ADA], pieces))
        self.assertEqual([len(window.places) for window in read], [1, 1])
        ids, shapes, tags = tensors_of(read)
        self.assertEqual((ids.shape, shapes.shape, tags.shape), (ids.shape,) * 3)
        self.assertLessEqual(ids.shape[1], LONGEST + 1)

    def test_a_teacher_gives_a_tag_for_each_token(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            small_folder(Path(folder))
            teacher = NameTeacher(open_mpnet(Path(folder))).eval()
        ids, shapes, _ = tensors_of(list(windows([ADA, ADA], pieces)))
        plain = teacher(ids, shapes)
        self.assertEqual(plain.shape, (*ids.shape, len(TAGS)))
        self.assertLess(int(shapes.max()), SHAPES)
        torch.nn.init.ones_(teacher.shapes.weight[1:2].data)
        self.assertFalse(torch.allclose(teacher(ids, shapes), plain), "capitals say something once they have a state")


if __name__ == "__main__":
    unittest.main()
