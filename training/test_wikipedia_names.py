"""What `wikipedia_names.py` promises about marked sentences, and the marks of `written/wikipedia` about their form.

    python -m unittest test_wikipedia_names
"""

import re
import subprocess
import tempfile
import unittest
from pathlib import Path

from prepare_ner import MARKS
from wikipedia_names import marked_sentences, rows_of_words, with_names

TEXT = "A line without marks.\nAda Marsh left Malmö for Malmö FF. Volvo's U.S. rival, Ford, did not pay.\n"


def tags(sentence: str, names: str) -> str:
    return " ".join(f"{word}/{tag}" if tag != "O" else word for word, tag in with_names(sentence, names))


class WithNames(unittest.TestCase):
    def test_names_are_found_one_after_the_other(self) -> None:
        self.assertEqual(
            tags("Ada Marsh left Malmö for Malmö FF.", "PER Ada Marsh|LOC Malmö|ORG Malmö FF"),
            "Ada/B-PER Marsh/I-PER left Malmö/B-LOC for Malmö/B-ORG FF/I-ORG .",
        )

    def test_a_possessive_is_a_word_of_its_own(self) -> None:
        self.assertEqual(tags("Volvo's U.S. rival", "ORG Volvo|LOC U.S."), "Volvo/B-ORG 's U.S./B-LOC rival")

    def test_a_name_is_not_taken_for_the_beginning_of_a_word(self) -> None:
        self.assertEqual(tags("An Egyptian left Egypt.", "LOC Egypt"), "An Egyptian left Egypt/B-LOC .")

    def test_but_inside_of_one_if_not_all_can_stand_by_themselves(self) -> None:
        found = tags("Anselmos contract bound Anselmo.", "PER Anselmo|PER Anselmo")
        self.assertEqual(found, "Anselmos/B-PER contract bound Anselmo/B-PER .")

    def test_a_sentence_may_have_no_name(self) -> None:
        self.assertEqual(tags("It rained.", "-"), "It rained .")

    def test_a_name_that_is_not_there_is_an_error(self) -> None:
        for names in ("LOC Oslo", "LOC Malmö|PER Ada", "GPE Malmö", "LOC", ""):
            with self.subTest(names), self.assertRaises(ValueError):
                with_names("Ada left Malmö", names)


class MarkedSentences(unittest.TestCase):
    def read(self, marks: str) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            text = Path(folder) / "text"
            text.mkdir()
            subprocess.run(["zstd", "-q", "-o", text / "enwiki-short-00.txt.zst"], input=TEXT.encode(), check=True)
            (Path(folder) / "marks.tsv").write_text(marks, "utf-8")
            sentences = marked_sentences(Path(folder), Path(folder))
        return [" ".join(word for word, tag in sentence if tag != "O") for sentence in sentences]

    def test_sentences_are_found_by_line_and_number(self) -> None:
        found = self.read("short-00:1.1\tORG Volvo|LOC U.S.|ORG Ford\nshort-00:1.0\tPER Ada Marsh\n")
        self.assertEqual(found, ["Ada Marsh", "Volvo U.S. Ford"])

    def test_marks_of_another_text_are_an_error(self) -> None:
        with self.assertRaises(SystemExit):
            self.read("short-00:7.0\tPER Ada Marsh\n")
        with self.assertRaises(ValueError):
            self.read("short-00:1.0\tPER Eve\n")


class RowsOfWords(unittest.TestCase):
    def test_eight_in_a_row_without_capitals(self) -> None:
        self.assertEqual([" ".join(row) for row in rows_of_words("A b c d e f g h i".split())], ["a b c d e f g h", "b c d e f g h i"])


class Marks(unittest.TestCase):
    def test_every_line_has_an_identifier_and_names_and_none_is_there_twice(self) -> None:
        lines = [line for file in sorted(MARKS.glob("*.tsv")) for line in file.read_text("utf-8").split("\n") if line]
        form = re.compile(r"(core|short)-\d\d:\d+\.\d\t(-|((PER|LOC|ORG) [^|\t]+)(\|(PER|LOC|ORG) [^|\t]+)*)")
        self.assertEqual([line for line in lines if not form.fullmatch(line)], [])
        keys = [line.split("\t")[0] for line in lines]
        self.assertGreater(len(keys), 10_000)
        self.assertEqual(len(set(keys)), len(keys))


if __name__ == "__main__":
    unittest.main()
