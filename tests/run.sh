#!/bin/sh
# usage: run.sh BUILD PROGRAM ...   runs every test program and sums up. Ends 1 if anything failed.
# A program speaks TAP on standard output (cmocka does, asked by its environment variable). One that
# dies, or runs no test, is a failure.
set -u
build=$1
shift
export CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1}
passed=0 failed=0 skipped=0
log=$build/test.log
: >"$log"

count() { # NAME STATUS OUTPUT-FILE
    p=$(grep -c '^ok ' "$3")
    s=$(grep -c '# SKIP' "$3")
    f=$(grep '^not ok ' "$3" | grep -vc '# SKIP')
    p=$((p - $(grep '^ok ' "$3" | grep -c '# SKIP')))
    if [ "$2" != 0 ] && [ "$f" = 0 ] || [ $((p + s + f)) = 0 ]; then
        f=$((f + 1))
        echo "not ok - $1 ended with status $2 after $((p + s)) tests"
    fi
    if [ "$f" != 0 ]; then
        echo "FAILED $1"
        grep -v '^ok ' "$3" | head -60
    else
        printf '%-36s %4d passed' "$1" "$p"
        [ "$s" = 0 ] || printf ', %d SKIPPED: %s' "$s" "$(grep -h '^# skip: ' "$3" | sed 's/^# skip: //' | sort -u | head -3 | paste -sd';')"
        echo
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
}

for program in "$@"; do
    name=$(basename "$program")
    timeout 600 "$program" >"$build/test.out" 2>&1 </dev/null
    status=$?
    cat "$build/test.out" >>"$log"
    count "$name" $status "$build/test.out"
done
for script in tests/golden.sh tests/cli.sh tests/kill.sh tests/sweep.sh tests/report.sh tests/kvprobe.sh; do
    [ -f "$script" ] || continue
    timeout 600 sh "$script" >"$build/test.out" 2>&1 </dev/null
    status=$?
    cat "$build/test.out" >>"$log"
    count "$(basename "$script" .sh)" $status "$build/test.out"
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
