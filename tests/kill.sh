#!/bin/sh
# Killed at any moment (kill -9), a command leaves the old result or the new one, whole, and the next
# one clears up; asked to end (INT, TERM, HUP), it leaves nothing and says by which signal. Speaks TAP.
# usage: KVSIM=build/kvsim kill.sh
set -u
case ${KVSIM:-build/kvsim} in
/*) kvsim=$KVSIM ;;
*) kvsim=$PWD/${KVSIM:-build/kvsim} ;;
esac
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
cd "$here" || exit 1
n=0

verdict() { # 0-OR-1 NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}

cat >w.json <<'END2'
{
  "model": "llama-3.1-8b", "hardware": "h100-2gpu",
  "trace": {"generate": {"requests": 800, "rate": 2}},
  "tiers": [{"name": "dram", "capacity": "4GiB"}],
  "compare": ["recompute", "load"]
}
END2

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

run_new() {
    exec "$kvsim" run w.json -o out --overwrite --no-plots -q --seed 2
}

same_run() { # FOLDER: 0 if out is it
    for file in summary.json requests.csv plans.csv timeline.json workload.json; do
        cmp -s "$1/$file" "out/$file" || return 1
    done
}

convert_new() {
    exec "$kvsim" trace convert new.jsonl out.kvt 2>/dev/null
}

same_file() { # FILE: 0 if out.kvt is it
    cmp -s "$1" out.kvt
}

restore_run() {
    rm -rf out
    cp -r old out
}

# kill_often WORK SAME OLD NEW RESTORE: kills WORK after longer and longer, to half past its end
kill_often() {
    $5
    start=$(now_ms)
    ("$1") || { echo "# the work failed by itself"; return 1; }
    took=$(($(now_ms) - start))
    "$2" "$4" || { echo "# unkilled, the work makes another result"; return 1; }
    old=0 new=0
    for i in $(seq 0 29); do
        $5
        "$2" "$3" || { echo "# the old result did not come back"; return 1; }
        ("$1") &
        wait_us=$((i * took * 3 / 2 * 1000 / 30))
        sleep "$((wait_us / 1000000)).$(printf %06d $((wait_us % 1000000)))"
        kill -9 $! 2>/dev/null
        wait $! 2>/dev/null
        if "$2" "$3"; then
            old=$((old + 1))
        elif "$2" "$4"; then
            new=$((new + 1))
        else
            echo "# kill $i of $took ms left neither the old result nor the new one"
            return 1
        fi
    done
    echo "# $old kills of 0 to $((took * 3 / 2)) ms left the old result, $new the new one"
    [ $old -gt 0 ] && ("$1") && [ -z "$(ls -A | grep '^\.')" ]
}

"$kvsim" run w.json -o old --no-plots -q && "$kvsim" run w.json -o new --no-plots -q --seed 2
kill_often run_new same_run old new restore_run
verdict $? killed_run_leaves_the_old_results_or_the_new_ones

"$kvsim" trace generate --requests 300 -o old.kvt 2>/dev/null
"$kvsim" trace generate --requests 20000 -o new.jsonl 2>/dev/null
"$kvsim" trace convert new.jsonl new.kvt 2>/dev/null
restore_file() {
    cp old.kvt out.kvt
}
kill_often convert_new same_file old.kvt new.kvt restore_file
verdict $? killed_conversion_leaves_the_old_file_or_the_new_one

# PATTERN COMMAND...: runs it until a hidden file of PATTERN is there
begin() {
    pattern=$1
    shift
    "$@" >out.txt 2>&1 </dev/null &
    run=$!
    tries=0
    while [ -z "$(ls -A | grep "$pattern")" ] && [ $tries -lt 300 ]; do
        tries=$((tries + 1))
        sleep 0.02
    done
}

state=0
for signal in INT:130 TERM:143 HUP:129; do
    begin '^\.stopped' "$kvsim" run w.json -o stopped --no-plots --set trace.generate.requests=3000000
    kill -"${signal%:*}" $run
    wait $run
    got=$?
    [ $got = "${signal#*:}" ] && grep -q interrupted out.txt && [ ! -e stopped ] &&
        [ -z "$(ls -A | grep '^\.stopped')" ] || { echo "# ${signal%:*} ended the run with $got"; state=1; }
done
verdict $state asked_to_end_a_run_leaves_nothing_and_tells_the_signal

state=0
for signal in INT:130 TERM:143 HUP:129; do
    begin '^\.s\.kvt' "$kvsim" trace generate --requests 30000000 -o s.kvt
    kill -"${signal%:*}" $run
    wait $run
    got=$?
    [ $got = "${signal#*:}" ] && grep -q interrupted out.txt && [ ! -e s.kvt ] &&
        [ -z "$(ls -A | grep '^\.s')" ] || { echo "# ${signal%:*} ended it with $got"; state=1; }
done
verdict $state asked_to_end_a_generator_leaves_nothing_and_tells_the_signal

begin '^\.stopped' nohup "$kvsim" run w.json -o stopped --no-plots --set trace.generate.requests=3000000
kill -HUP $run
sleep 0.1
kill -0 $run 2>/dev/null
state=$?
kill -TERM $run
wait $run
verdict $state nohup_keeps_a_run_going

echo "1..$n"
