#!/usr/bin/env python3
"""Fails if a file that is shipped names a place of the machine that built it: `shipped.py FILE...`.

It looks for the checkout, the home folder, and the folders of cargo and rustup, in a file as it is or in the members
of a wheel or an archive. Such a path is of no use elsewhere, differs from build to build, and tells who built it.
`shipped.py --flags` prints the compiler flags that leave them out, for CARGO_ENCODED_RUSTFLAGS. The compiler is the
one in use, which RUSTC may name.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: No path, or one that others have too, is shorter.
SHORTEST = 4


def places() -> dict[Path, str]:
    """Returns the folders of this machine that no file may name, and what the compiler writes in their place."""
    home = Path.home()
    sysroot = subprocess.run(
        [os.environ.get("RUSTC") or "rustc", "--print", "sysroot"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = {
        home: "/home",
        Path(os.environ.get("RUSTUP_HOME", home / ".rustup")): "/rustup",
        Path(sysroot.stdout.strip()): "/rust",
        Path(os.environ.get("CARGO_HOME", home / ".cargo")): "/cargo",
        ROOT: "/mobilebert",
    }
    both = {place: name for short, name in found.items() for place in (short, short.resolve())}
    return {place: name for place, name in both.items() if len(str(place)) > SHORTEST}


def contents(file: Path) -> Iterator[tuple[str, bytes]]:
    """Returns the names and the bytes of the members of an archive, or of a file as it is."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                yield f"{file.name}: {name}", archive.read(name)
    elif file.name.endswith((".tar.gz", ".tgz")):
        with tarfile.open(file) as archive:
            for member in archive:
                if stream := archive.extractfile(member):
                    yield f"{file.name}: {member.name}", stream.read()
    else:
        yield file.name, file.read_bytes()


def named(content: bytes, place: Path) -> list[str]:
    """Returns the paths below a place that the bytes hold, or the place itself if it is the checkout.

    A path that a program joins with others has no separator behind it, and in a program the next text follows at
    once. Only the checkout's path is long enough to be looked for like this.
    """
    found, at = [], 0
    wanted = os.fsencode(place if place in (ROOT, ROOT.resolve()) else f"{place}{os.sep}")
    while (at := content.find(wanted, at)) >= 0:
        end = next((i for i in range(at, min(at + 200, len(content))) if not 32 < content[i] < 127), at + 200)
        found.append(content[at:end].decode("ascii", "replace"))
        at += len(wanted)
    return found


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    if sys.argv[1:] == ["--flags"]:
        # The compiler uses the last that fits, so the folder inside another stands behind it.
        inner_last = sorted(places().items(), key=lambda item: len(str(item[0])))
        print("\x1f".join(f"--remap-path-prefix={place}={name}" for place, name in inner_last), end="")
        return
    problems = []
    for file in map(Path, sys.argv[1:]):
        for name, content in contents(file):
            paths = sorted({path for place in places() for path in named(content, place)})
            problems += [f"{name}: {path}" for path in paths[:10]]
    if problems:
        raise SystemExit("\n".join(["paths of this machine are in what is shipped:", *problems]))
    print(f"no path of this machine is in {', '.join(sys.argv[1:])}")


if __name__ == "__main__":
    main()
