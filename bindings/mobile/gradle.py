#!/usr/bin/env python3
"""Checks that the files of Gradle name what is there, and say the same as the build script and docs/mobile.md.

Gradle and the Android plug-in are not needed, so this finds no wrong name of theirs. It finds what no longer fits: a folder
that the build script does not write, other processors, another version of Android, a class that the manifest starts and
nobody wrote. It prints the number of facts that hold, or fails at the first that does not.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = ROOT / "bindings/mobile/android"
ANDROID = "{http://schemas.android.com/apk/res/android}"
#: The first version of JNA whose libraries load where pages have 16 KB.
JNA = (5, 17)

held = 0


def same(what: str, found: object, expected: object) -> None:
    """Fails if two places say different things."""
    global held
    if found != expected:
        raise SystemExit(f"{what}: found {found!r}, expected {expected!r}")
    held += 1


def there(path: Path) -> None:
    """Fails if a file or folder that another file names is missing."""
    same(
        f"{path.relative_to(ROOT)}, which a file of Gradle or a manifest names, is there", path.exists(), True
    )


def one(text: str, pattern: str, where: str) -> str:
    """Returns what a pattern finds in a text. It fails unless all places where it is found say the same."""
    found = sorted({match if isinstance(match, str) else match[0] for match in re.findall(pattern, text)})
    if len(found) != 1:
        raise SystemExit(f"{where}: expected one value for {pattern}, found {found}")
    return str(found[0])


def words(text: str) -> list[str]:
    """Returns the quoted words of a list."""
    return sorted(re.findall(r'"([^"]+)"', text))


def main() -> None:
    build = (ROOT / "bindings/mobile/build").read_text()
    check = (ROOT / "bindings/mobile/check.sh").read_text()
    docs = (ROOT / "docs/mobile.md").read_text()
    settings = (PROJECT / "settings.gradle.kts").read_text()
    included = re.findall(r'":(\w+)"', one(settings, r"\ninclude\((.*)\)", "settings.gradle.kts"))
    same("the modules of settings.gradle.kts", sorted(included), ["mobilebert", "sample"])
    modules = {name: (PROJECT / name / "build.gradle.kts").read_text() for name in included}
    library, sample = modules["mobilebert"], modules["sample"]

    # Versions that are said in several places.
    for name, module in modules.items():
        where = f"{name}/build.gradle.kts"
        least = one(module, r"minSdk = (\d+)", where)
        same(f"minSdk of {where} and of cargo-ndk", one(build, r"--platform (\d+)", "build"), least)
        same(
            f"minSdk of {where} and of docs/mobile.md", one(docs, r"`minSdk` (\d+)", "docs/mobile.md"), least
        )
        java = one(module, r"JavaVersion\.VERSION_(\d+)", where)
        same(f"Java's version in {where} and in build", one(build, r"-jvm-target (\d+)", "build"), java)
        same(f"Java's version in {where} and in check.sh", one(check, r"-jvm-target (\d+)", "check.sh"), java)
        for shown in (module, docs):
            same(f"braces of {where} or docs/mobile.md", shown.count("{"), shown.count("}"))
    compiled = {one(module, r"compileSdk = (\d+)", name) for name, module in modules.items()}
    same("compileSdk of both modules and targetSdk", compiled, {one(sample, r"targetSdk = (\d+)", "sample")})
    plugins = (PROJECT / "build.gradle.kts").read_text()
    declared = one(plugins, r'version "([\d.]+)"', "build.gradle.kts")
    same("the plug-in of docs/mobile.md", one(docs, r'version "([\d.]+)"', "docs/mobile.md"), declared)
    used = {one(module, r'id\("([\w.]+)"\)', name) for name, module in modules.items()}
    same("the plug-ins of the modules", used, set(re.findall(r'id\("([\w.]+)"\)', plugins)))
    jna = one(library, r"net\.java\.dev\.jna:jna:([\d.]+)@aar", "mobilebert/build.gradle.kts")
    same("JNA is new enough for pages of 16 KB", tuple(map(int, jna.split(".")))[:2] >= JNA, True)
    coroutines = r"kotlinx-coroutines-(?:core|android):([\d.]+)"
    same(
        "the coroutines of both modules",
        one(library, coroutines, "module"),
        one(sample, coroutines, "sample"),
    )

    # Files that are named.
    there(PROJECT / "mobilebert" / one(library, r'consumerProguardFiles\("([^"]+)"\)', "mobilebert"))
    sources = one(library, r'kotlin\.srcDir\("([^"]+)"\)', "mobilebert")
    same(
        "where build writes Kotlin",
        one(build, r'generate kotlin "\$module/(generated[\w/]*)"', "build"),
        sources[4:],
    )
    same(
        "where checkNative looks for it",
        one(library, r'generated = .*dir\("([^"]+)"\)', "mobilebert"),
        sources,
    )
    native = one(library, r'native = .*dir\("([^"]+)"\)', "mobilebert")
    same("where build writes libraries", one(build, r'-o "\$module/([\w/]+)"', "build"), native[4:])
    for name in included:
        manifest = PROJECT / name / "src/main/AndroidManifest.xml"
        there(manifest)
        namespace = one(modules[name], r'namespace = "([\w.]+)"', name)
        for activity in xml.etree.ElementTree.parse(manifest).iter("activity"):
            kotlin = (namespace + activity.get(f"{ANDROID}name", "")).replace(".", "/")
            there(manifest.parent / "kotlin" / f"{kotlin}.kt")

    # What else the app has to match.
    processors = sorted(re.findall(r"-t ([\w-]+)", build))
    same(
        "abiFilters of the sample", words(one(sample, r"abiFilters \+= listOf\((.*)\)", "sample")), processors
    )
    same(
        "abiFilters of docs/mobile.md", words(one(docs, r"abiFilters \+= listOf\((.*)\)", "docs")), processors
    )
    copied = one(build, r"for file in ([\w. ]+);", "build").split()
    kept = one(sample, r'noCompress \+= "(\w+)"', "sample")
    same(
        "the weights, which stay uncompressed",
        [file for file in copied if file.endswith(f".{kept}")],
        copied[-1:],
    )
    same("noCompress of docs/mobile.md", one(docs, r'noCompress \+= "(\w+)"', "docs/mobile.md"), kept)
    print(f"{held} passed")


if __name__ == "__main__":
    main()
