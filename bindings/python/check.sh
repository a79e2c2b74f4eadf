# Builds the wheels and tests them as a user gets them: in a fresh environment, without a compiler and without network.
#
# `./check-bindings` reads this file and calls `check_python`. Three more checks take long and run on demand:
# `./check-bindings python-sdist` builds a wheel from the source distribution, `./check-bindings python-oldest`
# tests the wheel of the last run with the oldest packages that pyproject.toml admits, and `./check-bindings
# python-aarch64` builds a wheel for AArch64 and runs it under qemu.

# Prints the first Python that is new enough and can make environments.
find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python3.10}; do
        if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))' 2> /dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

# Prints PATH without the folders that hold a Rust compiler: a wheel must not need one.
path_without_rust() {
    left=
    IFS=:
    for folder in $PATH; do
        if [ ! -x "$folder/cargo" ] && [ ! -x "$folder/rustc" ]; then
            left="$left${left:+:}$folder"
        fi
    done
    unset IFS
    printf '%s\n' "$left"
}

# Sets `python`, the kept environment `tools`, and `alone`, which runs a command without network. Fails if pip does.
prepare_python() {
    work=$here/target/bindings/python
    python=$(find_python)
    if [ -z "$python" ]; then
        skip "$1" "no Python 3.10 or later with venv was found; install one, or name it in PYTHON"
        return 1
    fi
    mkdir -p "$work"
    tools=$work/tools
    pip="-m pip --quiet --disable-pip-version-check install --only-binary :all:"
    [ -x "$tools/bin/python" ] || run "$python" -m venv --clear "$tools"
    # The words of $pip are arguments.
    if ! run "$tools/bin/python" $pip 'maturin>=1.16,<2'; then
        skip "$1" "pip cannot install maturin; see above"
        return 1
    fi
    alone=
    if unshare --map-root-user --net true 2> /dev/null; then
        alone="$(command -v unshare) --map-root-user --net"
    else
        printf '\nNote: the system cannot take the network away; only sockets of Python are refused.\n'
    fi
}

# Makes a fresh environment, as a user has it: `fresh_venv FOLDER PACKAGE...`.
fresh_venv() {
    venv=$1
    shift
    rm -rf "$venv"
    run "$python" -m venv "$venv"
    run "$venv/bin/python" $pip "$@"
}

# Writes the licences of what is linked into the module to where maturin looks for them.
write_notices() {
    host=$(rustc -vV | sed -n 's/^host: //p')
    run "$python" bindings/notices.py mobilebert-python bindings/python/THIRD-PARTY-NOTICES.txt --target "$host"
}

# Runs Python in $venv as on a machine of a user: without a compiler and without network.
user() { env PATH="$bare" $alone "$venv/bin/python" "$@"; }

# Installs the wheels in $venv and runs the tests and the examples of these documents: `test_wheels NAME DOCUMENT...`.
test_wheels() {
    name=$1
    shift
    bare=$(path_without_rust)
    unset MOBILEBERT_MODELS PYTHONPATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE
    export PYTHONDONTWRITEBYTECODE=1 HF_HOME="$work/no-hub" MYPY_CACHE_DIR="$work/mypy"
    run user $pip --no-index --find-links "$work/wheels" 'mobilebert[qa,sentiment,ner,embed,sklearn]'
    if [ -x "$venv/bin/mypy" ]; then
        # It keeps its cache where it runs.
        (cd "$work" && run user -m mypy.stubtest mobilebert --mypy-config-file "$here/bindings/python/pyproject.toml")
        run user -m mypy --config-file bindings/python/pyproject.toml \
            bindings/python/tests bindings/python/examples bindings/python/models bindings/*.py
    fi
    printf '\n== pytest\n'
    status=0
    user -m pytest -p no:cacheprovider -q -rs --durations 5 bindings/python/tests "$@" \
        --doctest-glob 'python.md' --doctest-glob README.md -o doctest_optionflags=ELLIPSIS --doctest-modules --pyargs mobilebert.sklearn \
        > "$work/pytest.log" 2>&1 || status=$?
    cat "$work/pytest.log"
    [ "$status" -eq 0 ] || exit 1
    # The last line is such as "312 passed, 1 skipped in 80.12s".
    printf '\n%s: %s\n' "$name" "$(tail -n 1 "$work/pytest.log" | sed 's/=//g; s/ in [0-9].*//; s/^ *//')"
}

check_python() {
    prepare_python python || return 0
    # The environment that builds is kept; the one that tests is fresh.
    rm -rf "$work/wheels"
    if ! fresh_venv "$work/venv" numpy pytest mypy pyarrow polars pandas scikit-learn tqdm \
        huggingface-hub; then
        skip python "pip cannot install what the tests need; see above"
        return
    fi
    write_notices
    # The flags hold for a target that is named, so ordinary builds, which have none, keep what they compiled.
    flags=$("$python" bindings/shipped.py --flags)
    printf '\n== maturin build, with flags that leave out paths of this machine\n'
    PATH="$tools/bin:$PATH" CARGO_ENCODED_RUSTFLAGS=$flags maturin build --release --locked --target "$host" \
        -m bindings/python/Cargo.toml --interpreter "$venv/bin/python" --out "$work/wheels"
    run "$python" bindings/python/models/build.py "$work/wheels"
    set -- "$work"/wheels/mobilebert-*-cp310-abi3-*.whl
    if [ ! -f "$1" ]; then
        printf 'expected a wheel for cp310-abi3 in %s\n' "$work/wheels" >&2
        exit 1
    fi
    run "$python" bindings/shipped.py "$work"/wheels/*.whl
    test_wheels python docs/python.md README.md bindings/python/README.md
}

# Builds a wheel from the source distribution, where there is no checkout, no crate and no network, and asks it.
check_python_sdist() {
    prepare_python python-sdist || return 0
    rm -rf "$work/sdist"
    if ! fresh_venv "$work/sdist/venv" numpy; then
        skip python-sdist "pip cannot install NumPy; see above"
        return
    fi
    write_notices
    run env PATH="$tools/bin:$PATH" "$tools/bin/python" bindings/python/make_sdist.py "$work/sdist"
    run "$python" bindings/shipped.py "$work"/sdist/*.tar.gz
    run "$python" bindings/python/models/build.py "$work/sdist/wheels" qa
    elsewhere=$(mktemp -d)
    cp "$work"/sdist/*.tar.gz "$elsewhere"
    # rustup's programs look for the compiler in its home, and cargo finds no registry in an empty one.
    (cd "$elsewhere" && run env PATH="$tools/bin:$PATH" CARGO_HOME="$elsewhere/cargo" CARGO_NET_OFFLINE=true \
        RUSTUP_HOME="${RUSTUP_HOME:-$HOME/.rustup}" $alone "$tools/bin/python" -m pip wheel --verbose \
        --no-build-isolation --no-deps --no-index --wheel-dir "$work/sdist/wheels" "$elsewhere"/*.tar.gz)
    rm -rf "$elsewhere"
    bare=$(path_without_rust)
    unset MOBILEBERT_MODELS PYTHONPATH
    run user $pip --no-index --find-links "$work/sdist/wheels" 'mobilebert[qa]'
    question='import importlib.metadata
from mobilebert import pipeline
package = importlib.metadata.distribution("mobilebert")
assert "It finds answers in texts" in package.read_text("METADATA")
assert "tokenizers" in package.read_text("licenses/THIRD-PARTY-NOTICES.txt")
found = pipeline("question-answering")(question="Who built it?", context="It was built by Ada.")
assert found["answer"] == "Ada", found
print(found)'
    (cd "$work" && run user -c "$question")
    printf '\npython-sdist: 1 passed\n'
}

# Tests the wheels of the last run of `check_python` with the oldest packages that pyproject.toml admits.
check_python_oldest() {
    prepare_python python-oldest || return 0
    oldest=$(sed -n 's/.*"\(numpy\|scikit-learn\)>=\([0-9.]*\)".*/\1==\2.*/p' bindings/python/pyproject.toml)
    # Its words are packages.
    if ! fresh_venv "$work/oldest" pytest $oldest; then
        skip python-oldest "pip cannot install these; name a Python that is old enough for them in PYTHON"
        return
    fi
    # docs/python.md shows tables of pyarrow, which is not among the packages of this check.
    test_wheels python-oldest README.md bindings/python/README.md
}

# Builds a wheel for AArch64 and runs the vectors of all bindings with it, under qemu. That needs a folder with a
# Python of AArch64, such as one of Debian's packages python3.11-minimal, libpython3.11-stdlib, libc6 and what they
# depend on, unpacked by `dpkg-deb -x`: MOBILEBERT_AARCH64_ROOT names it.
check_python_aarch64() {
    prepare_python python-aarch64 || return 0
    target=aarch64-unknown-linux-gnu
    linker=aarch64-linux-gnu-gcc
    if ! command -v "$linker" > /dev/null || ! rustc --print target-libdir --target "$target" | xargs test -d; then
        skip python-aarch64 "there is no $linker, or rustup has no target $target"
        return
    fi
    folder=$work/aarch64
    rm -rf "$folder"
    write_notices
    flags=$("$python" bindings/shipped.py --flags)
    printf '\n== maturin build for %s\n' "$target"
    PATH="$tools/bin:$PATH" CARGO_ENCODED_RUSTFLAGS=$flags CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$linker \
        maturin build --release --locked --target "$target" -m bindings/python/Cargo.toml --out "$folder"
    run "$python" bindings/python/models/build.py "$folder"
    run "$python" bindings/shipped.py "$folder"/*.whl
    root=${MOBILEBERT_AARCH64_ROOT:-}
    other=$([ -z "$root" ] || ls "$root"/usr/bin/python3.1[0-9] 2> /dev/null | head -n 1)
    if [ -z "$other" ] || ! command -v qemu-aarch64 > /dev/null; then
        skip python-aarch64 "the wheel was built, but no qemu-aarch64 or no Python in MOBILEBERT_AARCH64_ROOT runs it"
        return
    fi
    version=${other##*python}
    run "$tools/bin/python" $pip --target "$folder/site" --implementation cp --python-version "$version" \
        --platform manylinux_2_34_aarch64 --platform manylinux_2_28_aarch64 --platform manylinux_2_17_aarch64 \
        --find-links "$folder" 'mobilebert[qa,sentiment,ner,embed]' numpy pytest
    printf '\n== pytest, under qemu\n'
    status=0
    PYTHONPATH="$folder/site" PYTHONDONTWRITEBYTECODE=1 qemu-aarch64 -L "$root" "$other" -m pytest \
        -p no:cacheprovider -q -rs bindings/python/tests/test_vectors.py > "$work/pytest.log" 2>&1 || status=$?
    cat "$work/pytest.log"
    [ "$status" -eq 0 ] || exit 1
    printf '\npython-aarch64: %s\n' "$(tail -n 1 "$work/pytest.log" | sed 's/=//g; s/ in [0-9].*//; s/^ *//')"
}
