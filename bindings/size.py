#!/usr/bin/env python3
"""Says how large a library is once it is stripped, and which crates that is: `size.py LIBRARY [MOST_BYTES]`.

The library has to have its symbols: build it with CARGO_PROFILE_MOBILE_STRIP=none. Code that the compiler has made of a
generic function is counted for the crate that wrote the function or its first type outside of Rust's own library. It
fails if the stripped library has more than MOST_BYTES. It needs binutils, and those of the library's machine.
"""

from __future__ import annotations

import collections
import re
import subprocess
import sys
import tempfile
from pathlib import Path

#: Rust's own library.
RUST = {"alloc", "core", "std", "compiler_builtins", "gimli", "addr2line", "miniz_oxide", "rustc_demangle", "object"}
#: The first bytes of a file that say for which machine it is, and how its tools begin.
MACHINES = {62: ("x86_64-linux-gnu-", ""), 183: ("aarch64-linux-gnu-", "")}
CRATE = re.compile(r"(?<![\w:.])([A-Za-z_]\w*)(?:\[[0-9a-f]+\])?::")


def tool(name: str, library: Path) -> str:
    """Returns the tool that knows the library's machine."""
    machine = int.from_bytes(library.read_bytes()[18:20], "little")
    for prefix in MACHINES.get(machine, ("",)):
        if subprocess.run(["sh", "-c", f"command -v {prefix}{name}"], capture_output=True).returncode == 0:
            return prefix + name
    raise SystemExit(f"there is no {name} for {library}; install binutils")


def crate(symbol: str) -> str:
    """Returns the crate that a symbol belongs to, or "other" for one that is not of Rust."""
    crates: list[str] = CRATE.findall(symbol)
    ours = [name for name in crates if name not in RUST]
    if crates and symbol.lstrip("<&*([ ").startswith(tuple(RUST)) and ours:
        # A function of Rust's library for a type of a crate.
        return ours[0]
    return "Rust's library" if crates and not ours else ours[0] if ours else "other"


def sizes(library: Path) -> collections.Counter[str]:
    """Returns the bytes of each crate's symbols."""
    listed = subprocess.run(
        [tool("nm", library), "--print-size", "--demangle", library], capture_output=True, text=True, check=True
    )
    found: collections.Counter[str] = collections.Counter()
    for line in listed.stdout.splitlines():
        symbol = re.match(r"[0-9a-f]+ ([0-9a-f]+) [tTrRdDwWvV] (.*)", line)
        if symbol:
            found[crate(symbol[2])] += int(symbol[1], 16)
    return found


def stripped(library: Path) -> int:
    """Returns the size of the library without symbols."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / library.name
        subprocess.run([tool("strip", library), "-o", out, library], check=True)
        return out.stat().st_size


def main() -> int:
    if len(sys.argv) not in (2, 3):
        print(__doc__, file=sys.stderr)
        return 2
    library = Path(sys.argv[1])
    total, found = stripped(library), sizes(library)
    if not found:
        print(f"{library} has no symbols; build it with CARGO_PROFILE_MOBILE_STRIP=none", file=sys.stderr)
        return 1
    print(f"| {library.name} | kB |\n|---|---|")
    rest = total - sum(found.values())
    shown = [(name, size) for name, size in found.most_common() if size >= 20_000]
    small = sum(found.values()) - sum(size for _, size in shown)
    for name, size in [*shown, ("smaller crates", small), ("tables without names", rest)]:
        print(f"| {name} | {size / 1000:.0f} |")
    print(f"| stripped | {total / 1000:.0f} |")
    if len(sys.argv) == 3 and total > int(sys.argv[2]):
        print(f"{library} has {total} bytes once it is stripped; expected at most {sys.argv[2]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
