#!/bin/sh
# usage: bench.sh BUILD PROGRAM ...   runs every benchmark, one JSON line a result on standard output.
# Ends 1 if one fails to run; a figure that misses its goal is no failure.
set -u
shift
bad=0
for program in "$@"; do
    "$program" || { echo "bench: $program failed" >&2; bad=1; }
done
exit $bad
