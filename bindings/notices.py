#!/usr/bin/env python3
"""Writes the licences of everything that is linked into a package: `notices.py PACKAGE OUT [CARGO OPTIONS]`.

PACKAGE is one of the workspace, such as `mobilebert-python` or `mobilebert-cli`. The options are those of
`cargo tree`, such as `--features parquet` or `--target aarch64-unknown-linux-gnu`, and have to be those of the
build. OUT is one text with the licence of the engine itself, that of each crate, from the files in its package,
and that of the standard library. Crates that run only while it is built (build scripts, procedural macros) are left
out, and so is what the standard library itself links.

A crate whose package has no text of its licence gets the general one, with its authors where the licence is MIT, and
OUT says so. It fails if a crate has none of the licences that may be passed on with a program as it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

#: A licence whose crates may be linked into any program by who says where their source is.
SOURCE_OFFERED = "MPL-2.0"
#: The licences that are accepted. Where a crate offers several, the first of these is taken.
ACCEPTED = (
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "BSL-1.0",
    "CC0-1.0",
    "Unlicense",
    SOURCE_OFFERED,
)
#: What a file of a licence is called, beside those that say nothing of theirs, such as `LICENSE`.
FILES = {
    "MIT": r"LICEN[CS]E[-.]MIT.*",
    "Apache-2.0": r"LICEN[CS]E[-.]APACHE(-2\.0)?(\.\w+)?",
    "Apache-2.0 WITH LLVM-exception": r"LICEN[CS]E[-.]APACHE-2\.0_WITH.*",
    "BSD-2-Clause": r"LICEN[CS]E[-.]BSD.*",
    "BSD-3-Clause": r"LICEN[CS]E[-.]BSD.*",
    "Zlib": r"LICEN[CS]E[-.]ZLIB.*",
    "BSL-1.0": r"LICEN[CS]E[-.](BOOST|BSL).*",
    # `COPYING` is where crates under two licences say that there are two.
    "Unlicense": r"UNLICEN[CS]E.*|COPYING",
}
ANY_FILE = r"(UN)?LICEN[CS]E.*|COPYING.*|NOTICE.*|COPYRIGHT.*"


class Refused(Exception):
    """A crate cannot be passed on as it is."""


def chosen(expression: str) -> list[str]:
    """Returns the licences to heed of an SPDX expression: one of each `OR`, and all of each `AND`."""
    words = re.findall(r"\(|\)|[^\s()]+", re.sub(r"\s*/\s*", " OR ", expression))

    def one() -> list[str]:
        if not words or words[0] in (")", "AND", "OR", "WITH"):
            raise Refused(f"the licence `{expression}` cannot be read")
        word = words.pop(0)
        if word == "(":
            inner = either()
            if not words or words.pop(0) != ")":
                raise Refused(f"the licence `{expression}` cannot be read")
            return inner
        if words[:1] == ["WITH"]:
            word = " ".join([word, *words[:2]])
            del words[:2]
        return [word]

    def both() -> list[str]:
        found = one()
        while words[:1] == ["AND"]:
            words.pop(0)
            found += one()
        return found

    def either() -> list[str]:
        found = [both()]
        while words[:1] == ["OR"]:
            words.pop(0)
            found.append(both())
        accepted = [names for names in found if set(names) <= set(ACCEPTED)]
        if not accepted:
            raise Refused(f"the licence `{expression}` is none of those accepted: {', '.join(ACCEPTED)}")
        return min(accepted, key=lambda names: max(ACCEPTED.index(name) for name in names))

    found = either()
    if words:
        raise Refused(f"the licence `{expression}` cannot be read")
    return found


def texts(folder: Path, names: list[str]) -> list[str]:
    """Returns the texts in a crate's folder for these licences, and those that may be for any.

    There are none if the folder has no such file at all.
    """
    files = sorted(p for p in folder.iterdir() if p.is_file() and matches(ANY_FILE, p))
    own = {name: [file for file in files if matches(FILES.get(name, "$^"), file)] for name in names}
    others = [pattern for name, pattern in FILES.items() if name not in names]
    plain = [file for file in files if not any(matches(pattern, file) for pattern in FILES.values())]
    wanted = [file for name in names for file in own[name]] + plain
    if files and (not wanted or (not plain and not all(own.values()))):
        raise Refused(f"{folder} has no text of {' and '.join(names)}, only {[f.name for f in files]}")
    kept = [file for file in wanted if file in plain or not any(matches(p, file) for p in others)]
    found = [file.read_text(encoding="utf-8", errors="replace") for file in kept or wanted]
    return list(
        dict.fromkeys("\n".join(line.rstrip() for line in text.strip().splitlines()) for text in found)
    )


def source_of(crate: dict[str, Any]) -> str:
    """Returns the sentences that the MPL asks for: where the source of a crate is, and that it is as published."""
    if not crate["repository"]:
        raise Refused(f"its licence {SOURCE_OFFERED} asks where its source is, and it names no repository")
    return (
        f"The source of this version, which was not changed, is at {crate['repository']} under the terms of the\n"
        "Mozilla Public License, v. 2.0, which is at https://mozilla.org/MPL/2.0/."
    )


def without_text(crate: dict[str, Any]) -> tuple[list[str], str]:
    """Returns the licence of a crate that forgot its text, and the text, which is the same for all but the holder."""
    holders = ", ".join(crate["authors"])
    if chosen(crate["license"]) == [SOURCE_OFFERED]:
        return [SOURCE_OFFERED], source_of(crate)
    if "MIT" in chosen(crate["license"]) and holders:
        return ["MIT"], f"Copyright (c) {holders}\n\n{permission()}"
    if re.search(r"(^|OR |/)Apache-2\.0( OR|/|$)", crate["license"]):
        return ["Apache-2.0"], (ROOT / "LICENSE-APACHE").read_text(encoding="utf-8").strip()
    raise Refused("it has no text of its licence, and names no authors")


def permission() -> str:
    """Returns the text of the MIT licence behind its holder."""
    mine = (ROOT / "LICENSE-MIT").read_text(encoding="utf-8")
    return mine[mine.index("Permission is hereby granted") :].strip()


def matches(pattern: str, file: Path) -> bool:
    return re.fullmatch(pattern, file.name, re.IGNORECASE) is not None


def cargo(*arguments: str) -> str:
    run = subprocess.run(
        ["cargo", *arguments, "--locked"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise SystemExit(f"cargo {' '.join(arguments)} failed:\n{run.stderr}")
    return run.stdout


def linked(package: str, options: list[str]) -> list[tuple[str, str]]:
    """Returns names and versions of the crates that a package is linked from, but for those of the workspace."""
    tree = ["tree", "-p", package, "-e", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}"]
    # Between the trees of several targets there are empty lines.
    lines = {tuple(line.split()[:3]) for line in cargo(*tree, *options).splitlines() if line}
    # A crate of the workspace is followed by its path.
    outside = (words for words in lines if not words[2:] or not words[2].startswith(f"({ROOT}"))
    return sorted({(words[0], words[1].removeprefix("v")) for words in outside})


def main() -> None:
    if len(sys.argv) < 3 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    package, out, options = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--all-features"))
    crates = {(crate["name"], crate["version"]): crate for crate in metadata["packages"]}
    groups: dict[str, list[str]] = {}
    refused = []
    found = linked(package, options)
    for crate in (crates[key] for key in found):
        title = f"{crate['name']} {crate['version']}"
        try:
            if crate["license"] is None:
                raise Refused("it names no licence")
            names = chosen(crate["license"])
            found_texts = texts(Path(crate["manifest_path"]).parent, names)
            if not found_texts:
                names, text = without_text(crate)
                found_texts = [text]
                title += ", whose package has no text of it"
            elif SOURCE_OFFERED in names:
                found_texts.append(source_of(crate))
            for text in found_texts:
                groups.setdefault(text, []).append(f"{title} ({' AND '.join(names)})")
        except Refused as problem:
            refused.append(f"{title}: {problem}")
    if refused:
        raise SystemExit("\n".join([f"{len(refused)} crates of {package} may not be shipped:", *refused]))
    standard = f"Copyright (c) The Rust Project Contributors\n\n{permission()}"
    groups.setdefault(standard, []).append("the standard library of Rust (MIT)")
    parts = [f"{package} holds the programs below, under these licences.\n"]
    engine = next(crate for (name, _), crate in crates.items() if name == "mobilebert")
    names = chosen(engine["license"])
    for text in texts(ROOT, names):
        title = f"{engine['name']} {engine['version']}, with all its parts ({' AND '.join(names)})"
        parts.append("\n".join(["=" * 80, title, "-" * 80, text, ""]))
    for text, titles in sorted(groups.items(), key=lambda group: group[1]):
        parts.append("\n".join(["=" * 80, *titles, "-" * 80, text, ""]))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(parts), encoding="utf-8")
    print(f"{out}: {len(found)} crates, {len(groups)} texts, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
