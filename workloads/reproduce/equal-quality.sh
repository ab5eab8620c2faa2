#!/bin/sh
# usage: equal-quality.sh
#
# Content reuse with repair beside exact prefixes at the same budget of loss: RAGPulse's first 4,000
# requests on the sample workload's machine. With prefixes nothing is lost but by the levels that tiers
# hold: of raw16 and LEVELS the one with the least mean TTFT whose plans lose no more than the budget in
# the mean. Both by `online`. Prints mean TTFT, what plans lose in the mean, and tokens hit of all input.
#
# KVSIM: the program (build/kvsim); KVS_SHARED: folder of traces/ (../shared).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
KVSIM=$(realpath "${KVSIM:-$root/build/kvsim}")
trace=${KVS_SHARED:-$root/../shared}/traces/ragpulse/0_trace.jsonl
LEVELS=${LEVELS:-e5 e4 e3}
export LC_ALL=C
if [ ! -e "$trace" ]; then
    echo "equal-quality.sh: skipped, no $trace"
    exit 0
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# REUSE REPAIR BUDGET LEVEL: "mean loss hit"
run() {
    "$KVSIM" run "$root/workloads/ragpulse.json" -o "$tmp/r" --overwrite \
        --set trace.path="\"$trace\"" --set trace.limit=4000 --set cluster.reuse="\"$1\"" \
        --set planner.repair="\"$2\"" --set planner.budget="$3" --set "tiers[0].level=\"$4\"" \
        --set "tiers[1].level=\"$4\"" --set 'compare=["online"]' --set output.plots=false >/dev/null
    awk -F, '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        {
            ttft += $at["ttft_ns"]; loss += $at["predicted_loss_nats"]; n++
            input += $at["input_tok"]; new += $at["new_tok"]
        }
        END { printf "%.4g %.4f %.0f\n", 1e-6 * ttft / n, loss / n, 100 * (1 - new / input) }
        ' "$tmp"/r/requests.csv
}

echo "| budget, nats | content: TTFT, ms | loses | hit | prefix: TTFT, ms | loses | hit | level | ratio |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
for budget in 0.02 0.05 0.1; do
    content=$(run content deviation "$budget" raw16)
    for level in raw16 $LEVELS; do
        echo "$(run prefix none "$budget" "$level") $level"
    done | awk -v most="$budget" '$2 <= most' | sort -g | head -1 >"$tmp/best"
    echo "$budget $content $(cat "$tmp/best")" | awk '{
        printf "| %s | %s | %s | %s %% | %s | %s | %s %% | %s | %.2f |\n", \
               $1, $2, $3, $4, $5, $6, $7, $8, $5 / $2 }'
done
