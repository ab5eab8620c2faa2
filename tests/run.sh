#!/bin/sh
# usage: run.sh BUILD PROGRAM ...   runs every test program and script, as many at once as there are
# processors, and sums up. Ends 1 if anything failed.
# A program speaks TAP on standard output (cmocka does, asked by its environment variable). One that
# dies, or runs no test, is a failure.
set -u

# one OUT PROGRAM: runs it, leaves OUT/NAME.out, and counts into OUT/NAME.count: passed, failed, skipped
one() {
    name=$(basename "$2" .sh)
    out=$1/$name.out
    began=$(date +%s)
    case $2 in
    *.sh) timeout 900 sh "$2" ;;
    *) timeout 900 "$2" ;;
    esac >"$out" 2>&1 </dev/null
    status=$?
    took=$(($(date +%s) - began))
    s=$(grep -c '# SKIP' "$out")
    f=$(grep '^not ok ' "$out" | grep -vc '# SKIP')
    p=$(grep '^ok ' "$out" | grep -vc '# SKIP')
    {
        if [ "$status" != 0 ] && [ "$f" = 0 ] || [ $((p + s + f)) = 0 ]; then
            f=$((f + 1))
            echo "not ok - $name ended with status $status after $((p + s)) tests"
        fi
        if [ "$f" != 0 ]; then
            echo "FAILED $name"
            grep -v '^ok ' "$out" | head -60
        else
            printf '%-36s %4d passed' "$name" "$p"
            [ "$s" = 0 ] || printf ', %d SKIPPED: %s' "$s" "$(grep -h '^# skip: ' "$out" | sed 's/^# skip: //' | sort -u | head -3 | paste -sd';')"
            [ "$took" -lt 5 ] || printf ' (%d s)' "$took"
            echo
        fi
    } >"$1/$name.said"
    echo "$p $f $s" >"$1/$name.count"
    cat "$1/$name.said"
}

if [ "$1" = --one ]; then
    one "$2" "$3"
    exit 0
fi

out=$1/test
shift
rm -rf "$out"
mkdir -p "$out"
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
# the scripts first: they take longest
printf '%s\n' tests/kvprobe.sh tests/report.sh tests/sweep.sh tests/kill.sh tests/cli.sh tests/golden.sh tests/links.sh "$@" >"$out/programs"
xargs -P "$(nproc)" -I{} sh "$0" --one "$out" {} <"$out/programs"
cat "$out"/*.out >"$out/log"
[ "$(cat "$out"/*.count | wc -l)" = "$(wc -l <"$out/programs")" ] || { echo "not every test program was counted"; exit 1; }
cat "$out"/*.count | awk '{ p += $1; f += $2; s += $3 } END { print p " passed, " f+0 " failed, " s+0 " skipped"; exit f > 0 }'
