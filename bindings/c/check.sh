# Installs the C library into the target folder and tests it as a C programmer gets it.
#
# `./check-bindings c` and `c-races` read this file and call its functions.

# Finds a tool, or installs its Debian package where that is possible without asking anybody.
have_tool() {
    command -v "$1" > /dev/null && return
    if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
        printf '\n== apt-get install %s\n' "$2"
        { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$2"; } > "$work/apt.log" 2>&1 ||
            cat "$work/apt.log" >&2
    fi
    command -v "$1" > /dev/null
}

# Compares two lists of words, and prints the lines in which they differ.
same_words() {
    printf '%s\n' $2 | sort -u > "$work/first"
    printf '%s\n' $3 | sort -u > "$work/second"
    diff "$work/first" "$work/second" && return
    printf '%s\n' "$1" >&2
    exit 1
}

# Runs a program of tests, and adds the number that it prints last.
count_tests() {
    printf '\n== %s\n' "$*"
    status=0
    "$@" > "$work/tests.log" || status=$?
    tail -n 1 "$work/tests.log"
    [ "$status" -eq 0 ] || exit 1
    passed=$((passed + $(tail -n 1 "$work/tests.log" | sed 's/ passed$//')))
}

# Checks what the example printed.
is_ada() {
    if [ "$1" != 'Ada  (bytes 16 to 19, score 0.98)' ]; then
        printf 'the example printed: %s\n' "$1" >&2
        exit 1
    fi
    passed=$((passed + 1))
}

check_c() {
    work=$here/target/bindings/c
    tests=bindings/c/tests
    passed=0
    mkdir -p "$work"
    cc=${CC:-cc}
    if ! command -v "$cc" > /dev/null; then
        skip c "no C compiler was found; install one, or name it in CC"
        return
    fi
    for tool in pkg-config make readelf; do
        if ! have_tool "$tool" "$(printf %s "$tool" | sed 's/readelf/binutils/')"; then
            skip c "$tool was not found; install it"
            return
        fi
    done
    run cargo clippy --locked -p mobilebert-binding-tools --features c --all-targets -- -D warnings
    run cargo run --locked --quiet -p mobilebert-binding-tools --features c --bin c-header -- --check
    rm -rf "$work/prefix"
    run bindings/c/install.sh --profile "${C_PROFILE:-release}" "$work/prefix"

    export PKG_CONFIG_PATH="$work/prefix/lib/pkgconfig"
    version=$(pkg-config --modversion mobilebert)
    flags="-Wall -Wextra -Werror -pedantic -O1 -g -pthread -DPACKAGE_VERSION=\"$version\" -I$tests"
    libs="$(pkg-config --cflags --libs mobilebert) -Wl,-rpath,$work/prefix/lib"
    # Words of $flags and $libs are arguments. The header has to compile alone, too.
    printf '#include <mobilebert.h>\n' > "$work/alone.c"
    run "$cc" -std=c11 $flags -c -o "$work/alone.o" "$work/alone.c" $(pkg-config --cflags mobilebert)
    for program in vectors contract leaks; do
        run "$cc" -std=c11 $flags -o "$work/$program" "$tests/$program.c" $libs
    done
    functions=$(grep -v '^static inline\|^ \*' "$work/prefix/include/mobilebert.h" |
        grep -o '\bmobilebert_[a-z0-9_]*(' | tr -d '(')
    same_words "the header has functions (<) that leaks.c does not call" "$functions" \
        "$(printf '%s\n' $functions | while read -r name; do
            ! grep -q "\b$name(" "$tests/leaks.c" || printf '%s\n' "$name"
        done)"
    passed=$((passed + 1))
    count_tests "$work/vectors" "$here"
    count_tests "$work/contract" "$here"

    # A library of the same name with the same functions, and a backend of its own, in the place of the other.
    profile=${C_PROFILE:-release}
    run cargo build --locked --profile "$profile" -p mobilebert-example-product
    product=${CARGO_TARGET_DIR:-target}/$(printf %s "$profile" | sed 's/^dev$/debug/')/libexample_product.so
    mkdir -p "$work/own"
    for name in "libmobilebert.so.$(sed -n 's/^#define MOBILEBERT_ABI_VERSION //p' "$work/prefix/include/mobilebert.h")" \
        libmobilebert.so; do
        cp "$product" "$work/own/$name"
    done
    for program in product contract; do
        run "$cc" -std=c11 $flags -Iexamples/product -o "$work/$program-own" "$tests/$program.c" \
            $(pkg-config --cflags mobilebert) -L"$work/own" -lmobilebert -Wl,-rpath,"$work/own"
        count_tests "$work/$program-own" "$here"
    done

    cxx=${CXX:-c++}
    if command -v "$cxx" > /dev/null; then
        run "$cxx" -std=c++17 $flags -o "$work/raii" "$tests/raii.cpp" $libs
        count_tests "$work/raii" "$here"
    else
        skip "c (its part in C++)" "no C++ compiler was found; install one, or name it in CXX"
    fi

    static=$(pkg-config --static --cflags --libs mobilebert | sed 's/-lmobilebert\b/-l:libmobilebert.a/')
    run "$cc" -std=c11 $flags -o "$work/static" "$tests/contract.c" $static
    if readelf -d "$work/static" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' > "$work/needed" &&
        [ -s "$work/needed" ] && ! grep mobilebert "$work/needed"; then
        passed=$((passed + 1))
    else
        printf 'the program that was linked statically needs the shared library, or readelf does not say\n' >&2
        exit 1
    fi
    count_tests "$work/static" "$here"

    library=$work/prefix/lib/libmobilebert.so
    abi=$(sed -n 's/^#define MOBILEBERT_ABI_VERSION //p' "$work/prefix/include/mobilebert.h")
    same_words "the library's own name (<) is not that of its interface (>)" \
        "$(readelf -d "$library" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')" "libmobilebert.so.$abi"
    same_words "the library exports (<) other names than the functions of the header (>)" \
        "$(nm -D --defined-only "$library" | sed 's/.* //')" \
        "$functions"
    passed=$((passed + 2))

    run env CFLAGS="-Werror -pedantic" make -s -C examples/c clean answer
    answer=$(examples/c/answer models/qa 'Who built it?' 'It was built by Ada.')
    make -s -C examples/c clean
    is_ada "$answer"
    # The lines of README.md as they stand there, but for the prefix, and with the program in the target folder.
    sed -n '/^## C and C++/,/^## Kotlin/{/^export PKG/p;/^cc /p;/^\.\/answer /p;}' README.md |
        sed -e "s|PREFIX|$work/prefix|g" -e "s|-o answer |-o $work/answer |" -e "s|^\./answer |$work/answer |" \
            > "$work/readme.sh"
    [ "$(wc -l < "$work/readme.sh")" -eq 3 ] || is_ada "README.md has no such lines"
    printf '\n== the lines of README.md\n'
    is_ada "$(env -u PKG_CONFIG_PATH -u LD_LIBRARY_PATH sh -e "$work/readme.sh")"

    if command -v python3 > /dev/null; then
        grep -q '^mobilebert ' "$work/prefix/share/doc/mobilebert/THIRD-PARTY-NOTICES.txt"
        grep -q '^serde_json ' "$work/prefix/share/doc/mobilebert/THIRD-PARTY-NOTICES.txt"
        passed=$((passed + 1))
    else
        skip "c (its licences)" "python3 was not found; install it"
    fi

    if have_tool valgrind valgrind; then
        count_tests valgrind --quiet --leak-check=full --error-exitcode=99 \
            --suppressions="$tests/valgrind.supp" "$work/leaks" "$here"
    else
        skip "c (its leaks)" "valgrind was not found; install it"
    fi
    printf '\nc: %s passed\n' "$passed"
}

# Checks on demand, with ThreadSanitizer, that threads which share objects of the library do not race. The tool sees only
# what it has compiled, so nightly Rust compiles the library and its own standard library anew.
check_c_races() {
    work=$here/target/bindings/c/races
    tests=bindings/c/tests
    mkdir -p "$work"
    cc=${CC:-cc}
    if ! command -v "$cc" > /dev/null; then
        skip c-races "no C compiler was found; install one, or name it in CC"
        return
    fi
    if ! sysroot=$(rustc +nightly --print sysroot 2> /dev/null); then
        skip c-races "there is no nightly Rust; run: rustup toolchain install nightly"
        return
    fi
    host=$(rustc +nightly -vV | sed -n 's/^host: //p')
    runtime=$sysroot/lib/rustlib/$host/lib/librustc-nightly_rt.tsan.a
    if [ ! -f "$runtime" ]; then
        skip c-races "nightly Rust has no ThreadSanitizer for $host"
        return
    fi
    if [ ! -f "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]; then
        skip c-races "the source of Rust's library is missing; run: rustup component add rust-src --toolchain nightly"
        return
    fi
    run env RUSTFLAGS=-Zsanitizer=thread cargo +nightly rustc --locked -Zbuild-std=std,panic_unwind --target "$host" \
        --target-dir "$work" -p mobilebert-c --lib --crate-type staticlib
    flags="-std=c11 -Wall -Wextra -Werror -pedantic -O1 -g -pthread -fsanitize=thread"
    # Words of $flags are arguments. The tool's runtime is that of Rust, which compiled most of the program.
    run "$cc" $flags -I$tests -Ibindings/c/include -c -o "$work/races.o" "$tests/races.c"
    run "$cc" -pthread -o "$work/races" "$work/races.o" "$work/$host/debug/libmobilebert_c.a" "$runtime" -ldl -lm
    export TSAN_OPTIONS="halt_on_error=1 exitcode=66"
    passed=0
    count_tests "$work/races" "$here"
    # A program that breaks a promise of the header, which the tool has to see.
    status=0
    "$work/races" "$here" broken > "$work/broken.log" 2>&1 || status=$?
    if [ "$status" -ne 66 ] || ! grep -q 'data race' "$work/broken.log"; then
        cat "$work/broken.log" >&2
        printf 'a model was freed under a thread, and ThreadSanitizer did not report it\n' >&2
        exit 1
    fi
    passed=$((passed + 1))
    printf '\nc-races: %s passed\n' "$passed"
}
