#!/bin/sh
# Every path that a README or a comment names is there: links of Markdown, and words that look like a
# file of this project. Speaks TAP; names in capitals (plan_NAME.c, PROFILE.json) stand for any.
set -u
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find . \( -name .git -o -type d -name 'build*' -o -name results -o -path './models' -o -path ./workloads/data \) -prune -o \
    -type f -print | sed 's|^\./||' >"$work/files"
grep '\.md$' "$work/files" >"$work/readmes"
grep -E '(\.(c|h|cu|cc|sh|mk|md|gp|py)|^Makefile)$' "$work/files" | grep -vE '^tests/(golden|fuzz)/|^tests/links\.sh$' >"$work/texts"

n=0
failed=0
# tell NAME: ok if nothing was found missing; what was is in $work/missing
tell() {
    n=$((n + 1))
    if [ -s "$work/missing" ]; then
        echo "not ok $n - $1"
        sed 's/^/# /' "$work/missing"
        failed=1
    else
        echo "ok $n - $1"
    fi
}

echo 1..4

# [text](path)
while read -r file; do
    grep -noE '\]\([^)#: ]+' "$file" | while IFS=: read -r line link; do
        [ -e "$(dirname "$file")/${link#??}" ] || echo "$file:$line: ${link#??}"
    done
done <"$work/readmes" >"$work/missing"
tell links_of_readmes_lead_somewhere

# `file.c`, `folder/file`, in the README's folder, below it, or from the root
while read -r file; do
    grep -noE '`[^`]+`' "$file" | tr '`' ' ' | awk -F: '{
        n = split($2, word, " ")
        for (i = 1; i <= n; i++)
            if (word[i] ~ /^[a-z0-9.\/][a-z0-9_.\/-]*\.(c|h|cu|cc|sh|gp|mk|md)$/ ||
                word[i] ~ /^[a-z0-9_.\/-]+\/[a-z0-9_.-]+\.(json|yaml|sbatch|txt|py)$/)
                print $1, word[i]
    }' | while read -r line word; do
        [ -e "$(dirname "$file")/$word" ] || [ -e "$word" ] || [ -e "sim/$word" ] ||
            grep -qE "/${word#../}\$" "$work/files" || echo "$file:$line: $word"
    done
done <"$work/readmes" >"$work/missing"
tell files_named_in_readmes_are_there

# sim/plan/plan.h, tests/bench_plan and their like, wherever they are written; what tests make up is
# not meant, nor where downloads go
grep -v '^tests/' "$work/texts" | xargs grep -noE \
    '(^|[^A-Za-z0-9_/.$-])(sim|kernels|probes|tests|configs|workloads)/[a-z0-9_/.-]*[a-z0-9_]' |
    sed -E 's/^([^:]*:[0-9]+):[^a-z]?/\1:/' | grep -v ':workloads/data/' |
    while IFS=: read -r file line path; do
        ls -d "$path"* "sim/$path" >"$work/any" 2>/dev/null
        [ -s "$work/any" ] || echo "$file:$line: $path"
    done >"$work/missing"
tell paths_named_in_sources_are_there

# README.md and its like: documents of ours have names in capitals
xargs grep -noE '\b[A-Z]+\.md\b' <"$work/texts" |
    while IFS=: read -r file line name; do
        grep -qE "(^|/)$name\$" "$work/files" || echo "$file:$line: $name"
    done >"$work/missing"
tell documents_named_anywhere_are_there

exit "$failed"
