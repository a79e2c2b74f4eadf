# Builds the wheels and tests them as a user gets them: in a fresh environment, without a compiler and without network.
#
# `./check-bindings python` reads this file and calls `check_python`.

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

check_python() {
    work=$here/target/bindings/python
    python=$(find_python)
    if [ -z "$python" ]; then
        skip python "no Python 3.10 or later with venv was found; install one, or name it in PYTHON"
        return
    fi
    # The environment that builds is kept; the one that tests is fresh, as a user's is.
    rm -rf "$work/wheels" "$work/venv"
    mkdir -p "$work"
    [ -x "$work/tools/bin/python" ] || run "$python" -m venv --clear "$work/tools"
    run "$python" -m venv "$work/venv"
    pip="-m pip --quiet --disable-pip-version-check install --only-binary :all:"
    packages="numpy pytest mypy pyarrow polars pandas scikit-learn tqdm"
    # The words of $pip and $packages are arguments.
    if ! run "$work/tools/bin/python" $pip 'maturin>=1.16,<2' || ! run "$work/venv/bin/python" $pip $packages; then
        skip python "pip cannot install what the tests need; see above"
        return
    fi

    run env PATH="$work/tools/bin:$PATH" maturin build --release --locked -m bindings/python/Cargo.toml \
        --interpreter "$work/venv/bin/python" --out "$work/wheels"
    run "$python" bindings/python/models/build.py "$work/wheels"
    set -- "$work"/wheels/mobilebert-*-cp310-abi3-*.whl
    if [ ! -f "$1" ]; then
        printf 'expected a wheel for cp310-abi3 in %s\n' "$work/wheels" >&2
        exit 1
    fi
    # From here on there is no compiler, and, where the system can do it, no network.
    bare=$(path_without_rust)
    alone=
    if unshare --map-root-user --net true 2> /dev/null; then
        alone="$(command -v unshare) --map-root-user --net"
    else
        printf '\nNote: the system cannot take the network away; only sockets of Python are refused.\n'
    fi
    unset MOBILEBERT_MODELS PYTHONPATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE
    export PYTHONDONTWRITEBYTECODE=1 HF_HOME="$work/no-hub" MYPY_CACHE_DIR="$work/mypy"
    # $alone is several words or none.
    user() { env PATH="$bare" $alone "$work/venv/bin/python" "$@"; }
    run user $pip --no-index --find-links "$work/wheels" 'mobilebert[qa,sentiment,embed,sklearn]'
    # It keeps its cache where it runs.
    (cd "$work" && run user -m mypy.stubtest mobilebert --mypy-config-file "$here/bindings/python/pyproject.toml")
    run user -m mypy --config-file bindings/python/pyproject.toml \
        bindings/python/tests bindings/python/examples bindings/python/models
    printf '\n== pytest\n'
    status=0
    user -m pytest -p no:cacheprovider -q -rs --durations 5 bindings/python/tests docs/python.md README.md \
        --doctest-glob 'python.md' --doctest-glob README.md -o doctest_optionflags=ELLIPSIS \
        --doctest-modules --pyargs mobilebert.sklearn > "$work/pytest.log" 2>&1 || status=$?
    cat "$work/pytest.log"
    [ "$status" -eq 0 ] || exit 1
    # The last line is such as "312 passed, 1 skipped in 80.12s".
    printf '\npython: %s\n' "$(tail -n 1 "$work/pytest.log" | sed 's/=//g; s/ in [0-9].*//; s/^ *//')"
}
