#!/usr/bin/env sh
# Checks that shared libraries can be loaded where pages have 16 KB: `pages.sh LIBRARY...`.
#
# Every LOAD segment of an ELF file names its alignment, which must be a multiple of the size of a page.
set -eu
page=16384

# Prints the number of `size` bytes at `offset`, the lowest first: `number FILE OFFSET SIZE`.
number() {
    value=0 factor=1
    for byte in $(od -An -v -t u1 -j "$2" -N "$3" "$1"); do
        value=$((value + byte * factor))
        factor=$((factor * 256))
    done
    printf '%s\n' "$value"
}

for library; do
    if [ "$(number "$library" 0 4)" != 1179403647 ]; then
        printf '%s is not an ELF file\n' "$library" >&2
        exit 1
    fi
    # The fields of files for 64 bits and for 32 bits are of other sizes.
    if [ "$(number "$library" 4 1)" = 2 ]; then
        word=8 table=32 sizes=54 align=48
    else
        word=4 table=28 sizes=42 align=28
    fi
    row=$(number "$library" "$table" "$word")
    size=$(number "$library" "$sizes" 2)
    count=$(number "$library" $((sizes + 2)) 2)
    loads=0
    while [ "$count" -gt 0 ]; do
        if [ "$(number "$library" "$row" 4)" = 1 ]; then
            loads=$((loads + 1))
            found=$(number "$library" $((row + align)) "$word")
            if [ "$found" -eq 0 ] || [ $((found % page)) -ne 0 ]; then
                printf '%s: a LOAD segment is aligned to %s bytes; expected a multiple of %s, which the\n' \
                    "$library" "$found" "$page" >&2
                printf 'linker gives with -z max-page-size=%s\n' "$page" >&2
                exit 1
            fi
        fi
        row=$((row + size))
        count=$((count - 1))
    done
    if [ "$loads" -eq 0 ]; then
        printf '%s has no LOAD segments\n' "$library" >&2
        exit 1
    fi
    printf '%s: %s LOAD segments, aligned to %s bytes\n' "$library" "$loads" "$page"
done
