"""Where models are found, and what is said where they are not."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import os
import re
import shutil
import socket
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest

import mobilebert
from mobilebert import _models

ROOT = Path(__file__).resolve().parents[3]
TINY = ROOT / "tests" / "golden" / "checkpoints" / "mobilebert-f32"
BUILD = ROOT / "bindings" / "python" / "models" / "build.py"

pytestmark = pytest.mark.skipif(not TINY.is_dir(), reason="SKIPPED: the models are in a checkout only")


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hides data packages, models of the environment and the cache of whoever runs the tests."""
    monkeypatch.delenv("MOBILEBERT_MODELS", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    find_spec = importlib.util.find_spec

    def hidden(name: str, package: str | None = None) -> Any:
        outside = not any(str(tmp_path) in place for place in sys.path)
        return None if name.startswith("mobilebert_") and outside else find_spec(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", hidden)


def test_sockets_are_refused() -> None:
    with pytest.raises(RuntimeError, match="uses the network"):
        socket.create_connection(("127.0.0.1", 9))


@pytest.mark.parametrize("name", ["qa", "built-in:qa"])
def test_a_missing_built_in_model_names_its_extra(name: str) -> None:
    with pytest.raises(mobilebert.ModelNotFound, match=r"pip install mobilebert\[qa\]") as raised:
        mobilebert.QuestionAnswering(name)
    assert "MOBILEBERT_MODELS" in str(raised.value)
    assert (raised.value.code, raised.value.place) == ("unknown_model", "qa")


def test_a_folder_beside_a_built_in_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "qa")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mobilebert.ModelNotFound, match=r"pass `\./qa` for the folder"):
        mobilebert.Model("qa")
    assert mobilebert.Model("./qa").hidden_size == mobilebert.Model(TINY).hidden_size


def test_folders_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "mine")
    monkeypatch.setenv("MOBILEBERT_MODELS", str(tmp_path))
    assert mobilebert.Model("mine").name == "mine"
    # The first of several folders that has the model is taken, and a path is never looked up in them.
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("MOBILEBERT_MODELS", os.pathsep.join([str(tmp_path / "empty"), "", str(tmp_path)]))
    assert mobilebert.pipeline("question-answering", "mine").model.name == "mine"
    for missing in ("./mine", "built-in:mine", "other"):
        with pytest.raises(mobilebert.MobileBertError):
            mobilebert.Model(missing)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nowhere", "a/b/c", "../a"])
def test_paths_are_not_taken_for_hub_ids(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(mobilebert.MobileBertError) as raised:
        mobilebert.Model(name)
    assert "mobilebert[hub]" not in str(raised.value)
    assert raised.value.code in mobilebert.ERROR_CODES


def test_a_hub_id_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(mobilebert.ModelNotFound, match=r"pip install mobilebert\[hub\]"):
        mobilebert.Model("org/name")


def test_a_hub_id_is_downloaded_once_its_extra_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def snapshot_download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repository, revision))
        assert "*.safetensors" in allow_patterns
        if repository == "org/gone":
            raise OSError("no network")
        return str(TINY)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert mobilebert.Model("org/name").task == "question-answering"
    assert mobilebert.Model("org/name@v1.0").name == "org/name@v1.0"
    assert asked == [("org/name", None), ("org/name", "v1.0")]
    with pytest.raises(mobilebert.ModelNotFound, match="the hub gave none: OSError: no network"):
        mobilebert.Model("org/gone")


def test_the_client_of_the_hub_takes_what_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one above is made up; this is the real one, which may not use the network and says so."""
    hub = pytest.importorskip("huggingface_hub", reason="SKIPPED: no huggingface-hub")
    monkeypatch.setattr(importlib.import_module("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    assert callable(hub.snapshot_download)
    with pytest.raises(mobilebert.ModelNotFound, match="the hub gave none: (LocalEntryNotFound|Offline)"):
        mobilebert.Model("org/never-there")


def test_the_cache_of_the_hub_needs_no_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    repository = tmp_path / "hub" / "hub" / "models--org--cached"
    shutil.copytree(TINY, repository / "snapshots" / "0123abcd")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abcd")
    assert mobilebert.Model("org/cached").task == "question-answering"
    with pytest.raises(mobilebert.ModelNotFound):
        mobilebert.Model("org/cached@v2")
    (repository / "refs" / "v2").write_text("0123abcd")
    assert mobilebert.Model("org/cached@v2").name == "org/cached@v2"
    # The other variable names the cache itself.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(mobilebert.ModelNotFound):
        mobilebert.Model("org/cached")
    monkeypatch.setenv("HF_HUB_CACHE", str(repository.parent))
    assert mobilebert.Model("org/cached").name == "org/cached"


def build_script() -> Any:
    spec = importlib.util.spec_from_file_location("build_models", BUILD)
    assert spec is not None and spec.loader is not None
    build: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    return build


def test_the_package_of_vectors_knows_how_to_pool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the files of sentence-transformers it would read longer texts, and not be known for vectors."""
    with zipfile.ZipFile(build_script().build("embed", tmp_path)) as archive:
        archive.extractall(tmp_path)
    texts = ["How old are you?", "What is your age?", "The train is late.", "word " * 300]
    expected = mobilebert.Embedder(ROOT / "models" / "embed").encode(texts)
    monkeypatch.syspath_prepend(str(tmp_path))
    embedder = mobilebert.Embedder("embed")
    assert embedder.is_trained_for_embeddings
    found = embedder.encode(texts)
    assert found.tobytes() == expected.tobytes()
    assert found[0] @ found[1] > 2 * abs(found[0] @ found[2])


def test_packages_of_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Builds a wheel from a tiny folder, twice, checks what installers check, and uses it."""
    build = build_script()
    shutil.copytree(TINY, tmp_path / "models" / "qa")
    shutil.copy(ROOT / "models" / "qa" / "README.md", tmp_path / "models" / "qa")
    shutil.copy(ROOT / "Cargo.toml", tmp_path)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "FILES", sorted(path.name for path in (tmp_path / "models" / "qa").iterdir()))
    wheel = build.build("qa", tmp_path / "one")
    assert wheel.read_bytes() == build.build("qa", tmp_path / "two").read_bytes()
    assert wheel.name == f"mobilebert_qa-{mobilebert.__version__}-py3-none-any.whl"

    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        names = set(archive.namelist())
    info = site / f"mobilebert_qa-{mobilebert.__version__}.dist-info"
    rows = [line.split(",") for line in (info / "RECORD").read_text().splitlines()]
    assert {row[0] for row in rows} == names
    for path, digest, size in rows:
        if not digest:
            continue
        content = (site / path).read_bytes()
        found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert (digest, int(size)) == (f"sha256={found}", len(content))
    described = (info / "METADATA").read_text()
    assert "License-Expression: CC-BY-SA-4.0" in described
    named = re.findall(r"^License-File: (.+)$", described, re.MULTILINE)
    held = sorted(file.name for file in (info / "licenses").iterdir())
    assert sorted(named) == held == ["CARD.md", "LICENSE"]

    monkeypatch.syspath_prepend(str(site))
    assert _models.resolve("qa") == str(site / "mobilebert_qa" / "model")
    assert mobilebert.QuestionAnswering().model.name == "qa"
    assert mobilebert.QuestionAnswering("built-in:qa").model.hidden_size == mobilebert.Model(TINY).hidden_size


@pytest.mark.parametrize("name", ["qa", "sentiment", "ner", "embed"])
def test_a_package_of_a_model_has_its_licence(name: str, tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_model_licences", BUILD)
    assert spec is not None and spec.loader is not None
    build: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    card = build.without_links((ROOT / "models" / name / "README.md").read_text(encoding="utf-8"))
    spdx, files = build.licence(name, card)
    described = build.metadata(name, card, spdx, files)
    # Links to files of the checkout lead nowhere from an index or an installed package.
    assert re.findall(r"\]\((?!https?:|#)", described) == []
    assert all(f"\nLicense-File: {file}\n" in described for file in files)
    if spdx == "Apache-2.0":
        assert files["LICENSE-APACHE"] == (ROOT / "LICENSE-APACHE").read_text(encoding="utf-8")
        assert "the text is in LICENSE-APACHE" in described
