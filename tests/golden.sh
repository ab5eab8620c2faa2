#!/bin/sh
# usage: golden.sh [rewrite]
# For each tests/golden/NAME/: runs the shell line `cmd` in an empty folder and compares exit status,
# standard output and standard error with the files status, stdout and stderr; speaks TAP. `rewrite`
# writes these files anew. The line may use $KVSIM (the program) and $ROOT (the repository, which
# reads "$ROOT" in the outputs too, so that they are the same in every checkout).
set -u
cd "$(dirname "$0")/.." || exit 1
ROOT=$(pwd -P)
KVSIM=$(realpath "${KVSIM:-build/kvsim}")
export ROOT KVSIM
unset KVSIM_DATA
export LC_ALL=C
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
n=0 bad=0

stable() { # FILE: the checkout's path becomes $ROOT
    sed -i "s|$ROOT|\$ROOT|g" "$1"
}

for dir in tests/golden/*/; do
    dir=${dir%/}
    [ -f "$dir/cmd" ] || continue
    n=$((n + 1))
    name=$(basename "$dir")
    mkdir "$tmp/$name" "$tmp/$name/cwd"
    got=$tmp/$name
    (cd "$got/cwd" && timeout 120 sh "$ROOT/$dir/cmd" >"$got/stdout" 2>"$got/stderr" </dev/null)
    echo $? >"$got/status"
    stable "$got/stdout"
    stable "$got/stderr"
    if [ "${1:-}" = rewrite ]; then
        cp "$got/status" "$got/stdout" "$got/stderr" "$dir/"
        continue
    fi
    what=
    for file in status stdout stderr; do
        diff -u "$dir/$file" "$got/$file" >"$got/diff" 2>&1 || {
            what="$what $file"
            sed 's/^/# /' "$got/diff"
        }
    done
    if [ -n "$what" ]; then
        bad=$((bad + 1))
        echo "not ok $n - golden $name differs in$what"
    else
        echo "ok $n - golden $name"
    fi
done
echo "1..$n"
[ "$bad" = 0 ]
