#!/bin/sh
# The floors of the house: an include goes down, never up, and a folder's headers never in a circle.
# Prints each include that breaks the rule; ends 1 if there is one. tests/ may include everything.
set -eu
git ls-files -co --exclude-standard '*.c' '*.h' '*.cu' '*.cuh' | grep -v '^tests/' | while read -r file; do
    [ -f "$file" ] || continue
    sed -n 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*"\([^"]*\)".*/\1/p' "$file" |
    while read -r include; do
        found=
        for at in "$(dirname "$file")/$include" "sim/$include" "$include"; do
            if [ -f "$at" ]; then
                found=$(realpath --relative-to=. "$at")
                break
            fi
        done
        echo "$file ${found:-?$include}"
    done
done | awk '
function room(path) {
    if (match(path, /^sim\/[a-z]+\//)) return substr(path, 1, RLENGTH - 1)
    split(path, part, "/")
    return part[1]
}
BEGIN {
    # what each room may include besides itself
    may["sim/base"] = " "
    may["workloads"] = " sim/base "
    may["sim/model"] = " sim/base "
    may["sim/store"] = " sim/base sim/model "
    may["sim/plan"] = " sim/base sim/model "
    may["sim/engine"] = " sim/base sim/model workloads sim/store sim/plan "
    may["sim/report"] = may["sim/engine"] "sim/engine "
    may["sim/study"] = may["sim/report"] "sim/report "
    may["kernels"] = " sim/base sim/model sim/plan sim/store "
    may["probes"] = " sim/base sim/model kernels "
    may["sim/cli"] = may["sim/study"] "sim/study kernels probes "
}
{
    from = room($1); to = room($2)
    if ($2 ~ /^\?/) { print $1 ": include of unknown file " substr($2, 2); bad = 1; next }
    if (!(from in may)) { print $1 ": no floor is known for " from; bad = 1; next }
    if (from != to && index(may[from], " " to " ") == 0) {
        print $1 ": includes " $2 ", which runs up the house"; bad = 1
    }
    if ($1 ~ /\.h$/ && $2 ~ /\.h$/) needs[$1] = needs[$1] " " $2
}
function visit(h,    list, n, i) {
    if (state[h] == 2) return
    if (state[h] == 1) { print h ": included in a circle"; bad = 1; return }
    state[h] = 1
    n = split(needs[h], list, " ")
    for (i = 1; i <= n; i++) visit(list[i])
    state[h] = 2
}
END { for (h in needs) visit(h); exit bad }'
