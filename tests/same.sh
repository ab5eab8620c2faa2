#!/bin/sh
# usage: same.sh [COMPILER:FLAGS | KVSIM ...]   builds kvsim each way (default: gcc and clang, -O0 to -O3,
# and with sanitizers), or takes one that is built, and compares what it writes, byte for byte, with what
# the first one does. Objects lie in build-same.
set -u
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- gcc:-O2 gcc:-O0 "gcc:-O3 -march=native" clang:-O2 \
    "clang:-O3 -march=native" "gcc:-O1 -fsanitize=address,undefined -fno-sanitize-recover=all"
bad=0 first= here=$PWD
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
for way in "$@"; do
    cc=${way%%:*} flags=${way#*:} kvsim=$way
    if [ "$cc" != "$way" ]; then
        command -v "$cc" >/dev/null || { echo "# skip: no $cc"; continue; }
        build=build-same/$(echo "$way" | tr -c 'A-Za-z0-9\n' '_') kvsim=$build/kvsim
        make -j2 CC="$cc" CFLAGS="$flags" BUILD="$build" "$kvsim" >/dev/null || exit 1
    elif [ ! -x "$kvsim" ]; then
        echo "same.sh: $kvsim: found no such program, want COMPILER:FLAGS or a built kvsim" >&2
        exit 2
    fi
    rm -rf "$tmp/cwd" && mkdir "$tmp/cwd" && cd "$tmp/cwd" || exit 1
    KVSIM=$here/$kvsim sh "$here/tests/same_bytes.sh" >"$tmp/sums" 2>&1 </dev/null
    cd "$here" || exit 1
    if [ -z "$first" ]; then
        first=$way
        mv "$tmp/sums" "$tmp/want"
        echo "$(wc -l <"$tmp/want") files of $way"
    elif diff "$tmp/want" "$tmp/sums" >"$tmp/diff"; then
        echo "ok - $way writes the same bytes"
    else
        echo "not ok - $way writes other bytes:"
        cat "$tmp/diff"
        bad=1
    fi
done
exit $bad
