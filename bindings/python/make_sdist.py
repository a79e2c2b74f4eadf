#!/usr/bin/env python3
"""Makes a source distribution that builds offline: `make_sdist.py OUT`.

It is what `maturin sdist` makes, plus the sources of all crates that the module needs on Linux, macOS and
Windows, in the versions of the lock file. Crates that only other platforms, the command, or tests need are empty,
because cargo wants every package of the lock file to be there before it builds any.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

HERE = Path(__file__).resolve().parent
PACKAGE = "mobilebert-python"
TARGETS = [
    "x86_64-unknown-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
    "aarch64-apple-darwin",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-msvc",
    "aarch64-pc-windows-msvc",
]


def output(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def needed(root: Path) -> set[tuple[str, str]]:
    """Returns names and versions of the packages that the module is built from."""
    packages = set()
    for target in TARGETS:
        tree = ["cargo", "tree", "--locked", "--offline", "-p", PACKAGE, "-e", "normal,build"]
        tree += ["--target", target, "--prefix", "none", "--format", "{p}"]
        for line in output(*tree, cwd=root).splitlines():
            name, version = line.split()[:2]
            packages.add((name, version.removeprefix("v")))
    return packages


def empty(crate: Path) -> None:
    """Leaves nothing of a crate but its manifest and the files that the manifest names."""
    manifest = (crate / "Cargo.toml").read_text(encoding="utf-8")
    content = tomllib.loads(manifest)
    checksum = json.loads((crate / ".cargo-checksum.json").read_text())
    shutil.rmtree(crate)
    crate.mkdir()
    (crate / "Cargo.toml").write_text(manifest, encoding="utf-8")
    (crate / ".cargo-checksum.json").write_text(json.dumps({"files": {}, "package": checksum["package"]}))
    targets = [content.get("lib", {})]
    for kind in ("bin", "example", "test", "bench"):
        targets += content.get(kind, [])
    paths = {target.get("path", "src/lib.rs") for target in targets} | {"src/lib.rs"}
    build = content["package"].get("build")
    if isinstance(build, str):
        paths.add(build)
    for path in paths:
        file = crate / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("")


def main() -> None:
    out = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        subprocess.run(["maturin", "sdist", "--out", str(work)], cwd=HERE, check=True)
        (plain,) = work.glob("*.tar.gz")
        with tarfile.open(plain) as archive:
            archive.extractall(work, filter="data")
        root = work / plain.name.removesuffix(".tar.gz")
        # The library's README has the same place there, and would be what an index shows.
        shutil.copyfile(HERE / "README.md", root / "README.md")
        # The lock file also names packages of the command. Cargo leaves those out and changes no version.
        output("cargo", "metadata", "--format-version", "1", cwd=root)
        config = output("cargo", "vendor", "--locked", "vendor", cwd=root)
        keep = needed(root)
        for crate in sorted((root / "vendor").iterdir()):
            package = tomllib.loads((crate / "Cargo.toml").read_text(encoding="utf-8"))["package"]
            if (package["name"], package["version"]) not in keep:
                empty(crate)
        (root / ".cargo").mkdir()
        (root / ".cargo" / "config.toml").write_text(config)
        out.mkdir(parents=True, exist_ok=True)
        made = out / plain.name
        with tarfile.open(made, "w:gz") as archive:
            archive.add(root, arcname=root.name)
        print(f"{made}: {made.stat().st_size} bytes, {len(keep)} packages")


if __name__ == "__main__":
    main()
