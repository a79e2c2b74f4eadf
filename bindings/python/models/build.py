#!/usr/bin/env python3
"""Makes the wheels of the built-in models: `build.py OUT [qa] [sentiment] [ner] [embed]`, all by default.

A wheel holds the folder of a model and no code but a line, so one serves all platforms. Installed, its
weights are mapped from disk where they lie. The same folder gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
#: What the engine reads, and the card.
FILES = ("README.md", "config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt")
#: What a model of vectors has besides: how its states become one vector, and how long a text may be.
VECTOR_FILES = ("modules.json", "1_Pooling/config.json", "sentence_bert_config.json")
MODELS = {
    "qa": "MobileBERT for question answering in int8",
    "sentiment": "MobileBERT for the sentiment of English sentences in int8",
    "ner": "MiniLM for names of people, places and organisations in English text in int8",
    "embed": "MiniLM for vectors of English sentences in int8",
}
#: The licences in the cards: their names by SPDX, and what is passed on as their text. One that the index knows no
#: name of is explained in the card.
LICENCES = {
    "apache-2.0": ("Apache-2.0", (ROOT / "LICENSE-APACHE").read_text(encoding="utf-8")),
    "cc-by-sa-4.0": (
        "CC-BY-SA-4.0",
        "The model is under Creative Commons Attribution-ShareAlike 4.0 International, whose text is at\n"
        "https://creativecommons.org/licenses/by-sa/4.0/legalcode. CARD.md beside this file says what it was\n"
        "made of.\n",
    ),
    "other": (
        "LicenseRef-see-the-model-card",
        "CARD.md beside this file says what the model was made of, and under which terms that was.\n",
    ),
}
MODULE = '''"""{summary}. `mobilebert` finds it by its name, `{name}`."""

from pathlib import Path

#: The folder of the model.
FOLDER = Path(__file__).with_name("model")
'''
WHEEL = "Wheel-Version: 1.0\nGenerator: mobilebert\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def version() -> str:
    """Returns the version of the workspace, which the models share with the engine."""
    manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
    found = re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', manifest, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{ROOT / 'Cargo.toml'} has no version in [workspace.package]")
    return found[1]


def licence(name: str, card: str) -> tuple[str, dict[str, str]]:
    """Returns the name of the licence in a model's card, and the files that say all about it."""
    found = re.search(r"^license: (.+)$", card, re.MULTILINE)
    if found is None:
        raise SystemExit(f"the card of {name} names no licence")
    spdx, text = LICENCES[found[1]]
    return spdx, {"LICENSE-APACHE" if spdx == "Apache-2.0" else "LICENSE": text, "CARD.md": card}


def without_links(card: str) -> str:
    """Leaves nothing but their words of the links to files that the package does not hold."""
    return re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", card)


def metadata(name: str, card: str, spdx: str, files: Iterable[str]) -> str:
    """Writes the package's metadata."""
    head = [
        "Metadata-Version: 2.4",
        f"Name: mobilebert-{name}",
        f"Version: {version()}",
        f"Summary: {MODELS[name]}",
        f"License-Expression: {spdx}",
        *(f"License-File: {file}" for file in files),
        "Requires-Python: >=3.10",
        "Description-Content-Type: text/markdown",
    ]
    body = re.sub(r"\A---\n.*?\n---\n", "", card, flags=re.DOTALL)
    return "\n".join(head) + "\n\n" + body


def build(name: str, out: Path) -> Path:
    """Writes the wheel of a model."""
    folder = ROOT / "models" / name
    package, card = f"mobilebert_{name}", without_links((folder / "README.md").read_text(encoding="utf-8"))
    spdx, licences = licence(name, card)
    info = f"{package}-{version()}.dist-info"
    module = MODULE.format(name=name, summary=MODELS[name])
    members: dict[str, bytes] = {f"{package}/__init__.py": module.encode()}
    files = (*FILES, *(file for file in VECTOR_FILES if (folder / file).exists()))
    members |= {f"{package}/model/{file}": (folder / file).read_bytes() for file in files}
    members[f"{package}/model/README.md"] = card.encode()
    members |= {f"{info}/licenses/{file}": text.encode() for file, text in licences.items()}
    members[f"{info}/METADATA"] = metadata(name, card, spdx, licences).encode()
    members[f"{info}/WHEEL"] = WHEEL.encode()
    record = [f"{path},{digest(content)},{len(content)}\n" for path, content in members.items()]
    members[f"{info}/RECORD"] = ("".join(record) + f"{info}/RECORD,,\n").encode()
    wheel = out / f"{package}-{version()}-py3-none-any.whl"
    out.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in members.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED, 9)
    return wheel


def digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def main() -> None:
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= set(MODELS):
        raise SystemExit(__doc__)
    for name in sys.argv[2:] or MODELS:
        wheel = build(name, Path(sys.argv[1]))
        print(f"{wheel}, {wheel.stat().st_size} bytes")


if __name__ == "__main__":
    main()
