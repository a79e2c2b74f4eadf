#!/usr/bin/env sh
# Builds and installs the C library: `bindings/c/install.sh [--profile NAME] PREFIX`.
#
#   PREFIX/include/mobilebert.h
#   PREFIX/lib/libmobilebert.so.0.1.0       with the links libmobilebert.so.0 and libmobilebert.so
#   PREFIX/lib/libmobilebert.a
#   PREFIX/lib/pkgconfig/mobilebert.pc
#
# The profile is `dist`, which optimises over all parts and takes several minutes. `--profile release` is
# faster to build.
set -eu
profile=dist
prefix=
while [ $# -gt 0 ]; do
    case $1 in
        --profile) profile=${2:?"--profile needs a name, such as release"}; shift ;;
        -*) printf 'unknown option %s\n' "$1" >&2; exit 2 ;;
        *) prefix=$1 ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    printf 'usage: bindings/c/install.sh [--profile NAME] PREFIX\n' >&2
    exit 2
fi
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
cd "$(dirname "$0")/../.."
header=bindings/c/include/mobilebert.h
target=${CARGO_TARGET_DIR:-$(pwd)/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

# The compiler writes the system's libraries that the static library needs into a file beside the build.
natives=$target/mobilebert-c-$profile.libs
cargo rustc --locked -p mobilebert-c --lib --profile "$profile" -- --print "native-static-libs=$natives"

case $profile in
    dev) built=$target/debug ;;
    *) built=$target/$profile ;;
esac
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
abi=$(sed -n 's/^#define MOBILEBERT_ABI_VERSION //p' "$header")
mkdir -p "$prefix/include" "$prefix/lib/pkgconfig"
cp "$header" "$prefix/include/"
cp "$built/libmobilebert_c.a" "$prefix/lib/libmobilebert.a"
if [ "$(uname -s)" = Darwin ]; then
    cp "$built/libmobilebert_c.dylib" "$prefix/lib/libmobilebert.$abi.dylib"
    ln -sf "libmobilebert.$abi.dylib" "$prefix/lib/libmobilebert.dylib"
else
    # A program that runs keeps the file that it has open.
    rm -f "$prefix/lib/libmobilebert.so.$version"
    cp "$built/libmobilebert_c.so" "$prefix/lib/libmobilebert.so.$version"
    ln -sf "libmobilebert.so.$version" "$prefix/lib/libmobilebert.so.$abi"
    ln -sf "libmobilebert.so.$abi" "$prefix/lib/libmobilebert.so"
fi
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" -e "s|@natives@|$(cat "$natives")|" \
    bindings/c/mobilebert.pc.in > "$prefix/lib/pkgconfig/mobilebert.pc"
printf 'installed mobilebert %s in %s\n' "$version" "$prefix"
