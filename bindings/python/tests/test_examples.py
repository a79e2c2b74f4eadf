"""The program of docs/python.md prints what is shown there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import mobilebert

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "python.md"

pytestmark = pytest.mark.skipif(not DOCS.is_file(), reason="SKIPPED: the documentation is in a checkout only")


def test_shrink(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(
        r"```sh\npython (\S*shrink\.py) (\S+) (\S+) small\n```\n\n```text\n(.*?)```",
        DOCS.read_text(),
        re.DOTALL,
    )
    assert block is not None
    program, model, data, shown = block.groups()
    out = tmp_path / "small"
    monkeypatch.setattr("sys.argv", [program, str(ROOT / model), str(ROOT / data), str(out)])
    runpy.run_path(str(ROOT / program), run_name="__main__")
    assert capsys.readouterr().out == shown
    assert (out / "int8" / "quantization.md").is_file()
    # Folders that exist are not replaced.
    with pytest.raises(mobilebert.MobileBertError, match="small"):
        runpy.run_path(str(ROOT / program), run_name="__main__")
