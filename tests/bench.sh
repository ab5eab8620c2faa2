#!/bin/sh
# usage: CC=cc bench.sh BUILD PROGRAM ...   runs every benchmark, one JSON line a result on standard
# output; first the machine it ran on, last the load and the seconds it took. A program gets
# BENCH_SECONDS (120) at most. Ends 1 if one fails to run; a figure that misses its goal is no failure.
set -u
shift
bad=0
start=$(date +%s)

of_cpu() {
    sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo 2>/dev/null | head -1
}

version_of() { # PACKAGE of pkg-config
    pkg-config --modversion "$1" 2>/dev/null || echo none
}

printf '{"bench": "machine", "cpu": "%s", "cpus": %s, "load_1_min": %s, "kernel": "%s", "compiler": "%s", ' \
    "$(of_cpu)" "$(nproc)" "$(cut -d' ' -f1 /proc/loadavg)" "$(uname -sr)" "$(${CC:-cc} --version | head -1)"
printf '"libc": "%s", "jansson": "%s", "zstd": "%s", "xxhash": "%s", "commit": "%s"}\n' \
    "$(getconf GNU_LIBC_VERSION 2>/dev/null)" "$(version_of jansson)" "$(version_of libzstd)" \
    "$(version_of libxxhash)" "$(git describe --always --dirty 2>/dev/null)"
for program in "$@"; do
    from=$(date +%s)
    timeout "${BENCH_SECONDS:-120}" "$program"
    status=$?
    if [ $status = 124 ]; then
        echo "bench: $program was stopped after ${BENCH_SECONDS:-120} s (BENCH_SECONDS)" >&2
        bad=1
    elif [ $status != 0 ]; then
        echo "bench: $program failed" >&2
        bad=1
    fi
    echo "bench: $(basename "$program") took $(($(date +%s) - from)) s" >&2
done
if [ -n "${KVSIM:-}" ]; then # the whole start-up of the program, fastest of 20
    best=999999999
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        at=$(date +%s%N)
        "$KVSIM" --help >/dev/null || bad=1
        took=$(($(date +%s%N) - at))
        [ $took -lt $best ] && best=$took
    done
    printf '{"bench": "kvsim --help", "figure": %d.%03d, "unit": "ms", "goal": 10}\n' $((best / 1000000)) $((best / 1000 % 1000))
fi
printf '{"bench": "end", "load_1_min": %s, "took_s": %d}\n' "$(cut -d' ' -f1 /proc/loadavg)" $(($(date +%s) - start))
exit $bad
