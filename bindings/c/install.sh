#!/usr/bin/env sh
# Builds and installs the C library: `bindings/c/install.sh [--profile NAME] [--target TRIPLE] PREFIX`.
#
#   PREFIX/include/mobilebert.h
#   PREFIX/lib/libmobilebert.so.0.1.0       with the links libmobilebert.so.0 and libmobilebert.so
#   PREFIX/lib/libmobilebert.a
#   PREFIX/lib/pkgconfig/mobilebert.pc
#   PREFIX/share/doc/mobilebert/THIRD-PARTY-NOTICES.txt
#
# The profile is `dist`, which optimises over all parts and takes several minutes. `--profile mobile` is the same with a
# smaller library, for apps, and `--profile release` is faster to build. The files of the first two name no path of this
# machine. The target is this machine, or the one that cargo is configured for. The licences, and leaving out paths, need
# python3.
set -eu
profile=dist
triple=
prefix=
while [ $# -gt 0 ]; do
    case $1 in
        --profile) profile=${2:?"--profile needs a name, such as release"}; shift ;;
        --target) triple=${2:?"--target needs a name, such as aarch64-unknown-linux-gnu"}; shift ;;
        -*) printf 'unknown option %s\n' "$1" >&2; exit 2 ;;
        *) prefix=$1 ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    printf 'usage: bindings/c/install.sh [--profile NAME] [--target TRIPLE] PREFIX\n' >&2
    exit 2
fi
fail() { printf 'bindings/c/install.sh: %s\n' "$1" >&2; exit 1; }
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
cd "$(dirname "$0")/../.."
header=bindings/c/include/mobilebert.h
notices=$prefix/share/doc/mobilebert/THIRD-PARTY-NOTICES.txt
work=${CARGO_TARGET_DIR:-$(pwd)/target}
mkdir -p "$work"
work=$(cd "$work" && pwd)
python=
if command -v python3 > /dev/null; then
    python=python3
fi
host=$(rustc -vV | sed -n 's/^host: //p')
case $profile in
    dist | mobile) shipped=yes ;;
    *) shipped= ;;
esac

# What is shipped names no path of this machine. A flag of the caller stays.
if [ -n "$shipped" ] && [ -n "$python" ]; then
    flags=$("$python" bindings/shipped.py --flags)
    if [ -n "${CARGO_ENCODED_RUSTFLAGS:-}" ]; then
        flags=$(printf '%s\037%s' "$CARGO_ENCODED_RUSTFLAGS" "$flags")
    elif [ -n "${RUSTFLAGS:-}" ]; then
        flags=$(printf '%s\037%s' "$(printf %s "$RUSTFLAGS" | tr -s ' ' '\037')" "$flags")
    fi
    export CARGO_ENCODED_RUSTFLAGS="$flags"
fi

built=$work/mobilebert-c.built
natives=$work/mobilebert-c.libs

# Prints the file that was built whose name ends with one of these words.
made() {
    for ending in "$@"; do
        sed -n '/"reason":"compiler-artifact"/s/.*"name":"mobilebert_c".*"filenames":\[\([^]]*\)\].*/\1/p' "$built" |
            tr ',' '\n' | tr -d '"' | grep "mobilebert_c\\.$ending\$" | head -n 1
    done
}

# Builds the libraries. Cargo says what it made and where, which depends on the target, the profile and its
# configuration. The compiler writes the system's libraries that the static library needs into a file when it runs,
# and that file is kept beside the library for the times when it need not run.
build() {
    rm -f "$natives"
    cargo rustc --locked --lib --crate-type cdylib,staticlib "$@" --message-format json-render-diagnostics -- \
        --print "native-static-libs=$natives" > "$built"
    static=$(made a)
    shared=$(made so dylib)
    if [ ! -f "$static" ] || [ ! -f "$shared" ]; then
        fail "expected a static and a shared library for Unix among those that cargo made; see $built"
    fi
    [ ! -s "$natives" ] || cp "$natives" "$static.libs"
}
set -- -p mobilebert-c --profile "$profile" ${triple:+--target "$triple"}
build "$@"
if [ ! -s "$static.libs" ]; then
    cargo clean --locked --quiet "$@"
    build "$@"
fi
[ -s "$static.libs" ] || fail "the compiler has not written $natives; expected the names of the system's libraries"
# The folder of a build for a named target has its name.
folder=$(basename "$(dirname "$(dirname "$shared")")")

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
abi=$(sed -n 's/^#define MOBILEBERT_ABI_VERSION //p' "$header")
mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
cp "$header" "$prefix/include/"
cp "$static" "$prefix/lib/libmobilebert.a"
# A program that runs keeps the file that it has open, so old files are removed and not written to.
case $folder:$shared in
    *.dylib)
        rm -f "$prefix/lib/libmobilebert.$abi.dylib"
        cp "$shared" "$prefix/lib/libmobilebert.$abi.dylib"
        ln -sf "libmobilebert.$abi.dylib" "$prefix/lib/libmobilebert.dylib"
        ;;
    *-android*:*)
        rm -f "$prefix/lib/libmobilebert.so"
        cp "$shared" "$prefix/lib/libmobilebert.so"
        ;;
    *)
        rm -f "$prefix/lib/libmobilebert.so.$version"
        cp "$shared" "$prefix/lib/libmobilebert.so.$version"
        ln -sf "libmobilebert.so.$version" "$prefix/lib/libmobilebert.so.$abi"
        ln -sf "libmobilebert.so.$abi" "$prefix/lib/libmobilebert.so"
        ;;
esac
libraries=$(cat "$static.libs")
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" -e "s|@natives@|$libraries|" \
    bindings/c/mobilebert.pc.in > "$prefix/lib/pkgconfig/mobilebert.pc"

if [ -z "$python" ]; then
    printf '%s was not written, because there is no python3; pass nothing on without the licences\n' "$notices" >&2
else
    rustc --print cfg --target "$folder" > "$work/mobilebert-c.cfg" 2>&1 || folder=$host
    "$python" bindings/notices.py mobilebert-c "$notices" --target "$folder"
    if [ -n "$shipped" ]; then
        "$python" bindings/shipped.py "$shared" "$static" "$notices"
    fi
fi
printf 'installed mobilebert %s in %s\n' "$version" "$prefix"
