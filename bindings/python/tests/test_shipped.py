"""What the wheel holds beside its code, and the scripts that see to it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import mobilebert

BINDINGS = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not (BINDINGS / "notices.py").is_file(), reason="SKIPPED: the scripts are in a checkout only"
)


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, BINDINGS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("MIT", ["MIT"]),
        ("Apache-2.0 OR MIT", ["MIT"]),
        ("Unlicense/MIT", ["MIT"]),
        ("GPL-3.0-only OR Zlib", ["Zlib"]),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", ["MIT", "Unicode-3.0"]),
        ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", ["MIT"]),
        ("Apache-2.0 WITH LLVM-exception", ["Apache-2.0 WITH LLVM-exception"]),
        ("MPL-2.0 OR MIT", ["MIT"]),
    ],
)
def test_one_of_several_licences_is_chosen(expression: str, expected: list[str]) -> None:
    assert script("notices").chosen(expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "Proprietary",
        "",
        "OR",
        "(MIT",
        "MIT)",
        "MIT Apache-2.0",
        "MIT OR",
    ],
)
def test_other_licences_are_refused(expression: str) -> None:
    notices = script("notices")
    with pytest.raises(notices.Refused):
        notices.chosen(expression)


def test_a_crate_without_the_text_of_its_licence_is_refused(tmp_path: Path) -> None:
    notices = script("notices")
    (tmp_path / "LICENSE-APACHE").write_text("the text of Apache")
    with pytest.raises(notices.Refused, match="has no text of MIT"):
        notices.texts(tmp_path, ["MIT"])
    (tmp_path / "LICENSE-MIT").write_text("the text of MIT  \n")
    assert notices.texts(tmp_path, ["MIT"]) == ["the text of MIT"]
    assert notices.without_text({"license": "MIT OR Apache-2.0", "authors": []})[0] == ["Apache-2.0"]
    assert notices.without_text({"license": "MIT", "authors": ["Ada"]})[1].startswith("Copyright (c) Ada\n")
    with pytest.raises(notices.Refused, match="names no authors"):
        notices.without_text({"license": "MIT", "authors": []})


def test_crates_under_the_mpl_come_with_the_place_of_their_source() -> None:
    notices = script("notices")
    crate = {"license": "MPL-2.0", "authors": ["Ada"], "repository": "https://example.org/ada"}
    names, text = notices.without_text(crate)
    assert names == ["MPL-2.0"]
    assert "is at https://example.org/ada under" in text
    with pytest.raises(notices.Refused, match="names no repository"):
        notices.without_text({**crate, "repository": None})


def test_paths_of_a_machine_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = script("shipped")
    monkeypatch.setattr(shipped, "places", lambda: {Path("/builder/home"): "/home"})
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("lib.so", b"\0\0/builder/home/.cargo/registry/x.rs\0/builder/homes/x\0")
    monkeypatch.setattr(sys, "argv", ["shipped.py", str(tmp_path / "a.whl")])
    with pytest.raises(SystemExit, match=r"a\.whl: lib\.so: /builder/home/\.cargo/registry/x\.rs"):
        shipped.main()
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr("lib.so", b"\0/cargo/registry/x.rs\0/builder/homes/x\0")
    shipped.main()


def test_the_folder_of_the_compiler_in_use_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compiler = tmp_path / "rustc"
    compiler.write_text("#!/bin/sh\necho /opt/other-rust\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("RUSTC", str(compiler))
    monkeypatch.setattr(sys, "argv", ["shipped.py", "--flags"])
    script("shipped").main()
    assert "--remap-path-prefix=/opt/other-rust=/rust" in capsys.readouterr().out.split("\x1f")


def test_the_package_holds_licences_and_a_description() -> None:
    try:
        package = importlib.metadata.distribution("mobilebert")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("SKIPPED: the package is not installed, but on PYTHONPATH")
    licences = package.read_text("licenses/THIRD-PARTY-NOTICES.txt") or ""
    for crate in ("mobilebert 0.", "tokenizers 0.", "rayon 1.", "pyo3 0.", "the standard library of Rust"):
        assert f"\n{crate}" in licences
    assert package.read_text("licenses/LICENSE-MIT") and package.read_text("licenses/LICENSE-APACHE")
    description = package.read_text("METADATA") or ""
    assert "It finds answers in texts" in description
    # An index shows the description without the repository, so it may not link into it.
    assert "](" not in description
    assert package.version == mobilebert.__version__
