#!/bin/sh
# usage: load-aware.sh [TRACE...]          ragpulse, conversation, agentic; none: all three
#
# Every policy at 20 to 120 % of what recompute sustains, on four machines: the rows of README.md's
# table, and what they come to. What recompute sustains is the highest rate, to 5 %, at which its mean
# TTFT is at most three times that of an idle machine; that time is the TTFT bound of goodput too. The
# bound: each request alone on the machine, one every 1000 s, the optimal plan, Belady's evictions.
#
# A queue is chaotic: a rate 0.1 % higher moves a row's p99 by 1 to 9 % and, at 120 %, its mean by up to
# 11 %, whatever the policy. So a figure is the mean of REPEATS runs at rates 0.2 % apart, and a gain
# has its standard error.
#
# OTHERS are all that kvsim run can replay: load-bulk, Cake's own run and CacheGen's go by token groups
# and are kvsim plan's only; a hidden state of this model is twice its K and V, so HCache would be load.
# CacheBlend and EPIC repair text that moved, which there is with content reuse only (ragpulse, where all
# repair within 0.05 nats); elsewhere they are load.
#
# LOADS: percents; OTHERS: policies; MACHINES: which; REPEATS: runs of a row (5); JOBS: runs at once (1);
# ROUTER: of all policies (least-ttft); RATE: what recompute sustains, if known.
# KVSIM: the program (build/kvsim); KVS_SHARED: folder of traces/ (../shared).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
KVSIM=$(realpath "${KVSIM:-$root/build/kvsim}")
traces=${KVS_SHARED:-$root/../shared}/traces
LOADS=${LOADS:-20 40 60 80 100 110 120}
REPEATS=${REPEATS:-5}
JOBS=${JOBS:-1}
ROUTER=${ROUTER:-least-ttft}
OTHERS=${OTHERS:-recompute load token-split layer-split best optimal careful cacheflow cacheflow-v2}
REPAIRERS=${REPAIRERS:-cacheblend epic}
export LC_ALL=C
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

path_of() {
    case $1 in
    ragpulse) echo "$traces/ragpulse/0_trace.jsonl" ;;
    conversation) echo "$traces/mooncake/conversation_trace.jsonl" ;;
    agentic) echo "$traces/agentic_cc/sessions_a.jsonl.zst" ;;
    *) echo "load-aware.sh: unknown trace \"$1\": ragpulse, conversation or agentic" >&2; exit 2 ;;
    esac
}

planner_of() { [ "$1" != ragpulse ] || echo '"planner": {"repair": "deviation", "budget": 0.05},'; }

others_of() { [ "$1" = ragpulse ] && echo "$OTHERS $REPAIRERS" || echo "$OTHERS"; }

reuse_of() { [ "$1" = ragpulse ] && echo content || echo prefix; }

hardware_of() {
    case $1 in
    drive) echo "$here/machines/h100-one-drive.json" ;;
    network) echo "$here/machines/h100-25gbe.json" ;;
    volume) echo "$here/machines/h100-volume.json" ;;
    dram) echo h100-2gpu ;;
    *) echo "load-aware.sh: unknown machine \"$1\": drive, network, dram or volume" >&2; exit 2 ;;
    esac
}

tier_of() { # MACHINE EVICT
    case $1 in
    drive | volume) echo "{\"name\": \"nvme\", \"capacity\": \"4TiB\", \"evict\": \"$2\"}" ;;
    network) echo "{\"name\": \"remote\", \"capacity\": \"32TiB\", \"evict\": \"$2\"}" ;;
    dram) echo "{\"name\": \"dram\", \"capacity\": \"1TiB\", \"evict\": \"$2\"}" ;;
    esac
}

# TRACE MACHINE RATE EVICT POLICIES SLO [ARRIVALS]: lines "policy mean p99 goodput in-slo"
run() {
    policies=$(printf '"%s", ' $5 | sed 's/, $//')
    dir=$(mktemp -d "$tmp/run.XXXXXX")
    cat >"$dir/w.json" <<W
{"model": "llama-3.1-8b", "hardware": "$(hardware_of "$2")",
 "trace": {"path": "$(path_of "$1")", "rate": $3},
 "cluster": {"replicas": 2, "reuse": "$(reuse_of "$1")", "hbm_evict": "$4", "router": "$ROUTER"},
 "tiers": [$(tier_of "$2" "$4")],
 "slo": {"ttft": $6, "tpot": "100ms"}, $(planner_of "$1") ${7:-}
 "compare": [$policies],
 "output": {"plots": false, "timeline_requests": 0}}
W
    "$KVSIM" run "$dir/w.json" -o "$dir/r" --overwrite >/dev/null
    awk -F'[:,]' '
        /"policy":/ { gsub(/[" ]/, "", $2); policy = $2; ttft = 0 }
        /"goodput_req_per_s":/ { goodput = $2 }
        /"in_slo_frac":/ { share = $2 }
        /"ttft_s": \{/ { ttft = 1 }
        ttft && /"mean":/ { mean = $2 }
        ttft && /"p99":/ { print policy, mean + 0, $2 + 0, goodput + 0, share + 0; ttft = 0 }
        ' "$dir/r/summary.json"
    rm -r "$dir"
}

mean_at() { run "$1" dram "$2" lru recompute 10 | awk '{ print $2 }'; }

less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

sustained() { # TRACE IDLE: a rate
    low=0.001 high=100000
    while less "$(awk -v l=$low 'BEGIN { print l * 1.05 }')" "$high"; do
        mid=$(awk -v l=$low -v h="$high" 'BEGIN { printf "%.6g", sqrt(l * h) }')
        if less "$(mean_at "$1" "$mid")" "$(awk -v i="$2" 'BEGIN { print 3 * i }')"; then
            low=$mid
        else
            high=$mid
        fi
    done
    echo "$low"
}

# One row from its runs' lines. bound: mean, p99 and share within the SLO.
row='
function show(p) { return sprintf("%.4g", m[p, 2]) }
# mean and variance of the mean
function sums(p, f,  v) {
    m[p, f] = sum[p, f] / n[p]
    v = square[p, f] / n[p] - m[p, f] ^ 2
    var[p, f] = n[p] > 1 && v > 0 ? v / (n[p] - 1) : 0
}
function best_by(f,  b, p, i) {
    for (i = 1; i <= n_policy; i++) {
        p = policy[i]
        if (p != "online" && (b == "" || (f < 4 ? m[p, f] < m[b, f] : m[p, f] > m[b, f]))) b = p
    }
    return b
}
# sets gain[f], error[f] and possible[f], in percent
function compare(f,  b, g, v) {
    b = best_by(f)
    if (m["online", f] * m[b, f] == 0) { gain[f] = error[f] = possible[f] = 0; return }
    g = f < 4 ? m[b, f] / m["online", f] : m["online", f] / m[b, f]
    v = var[b, f] / m[b, f] ^ 2 + var["online", f] / m["online", f] ^ 2
    gain[f] = 100 * (g - 1)
    error[f] = 100 * sqrt(v)
    possible[f] = 100 * ((f < 4 ? m[b, f] / bound[f - 1] : bound[3] / m[b, 5]) - 1)
}
{
    if (!n[$1]++) policy[++n_policy] = $1
    for (f = 2; f <= 5; f++) { sum[$1, f] += $f; square[$1, f] += $f ^ 2 }
}
END {
    split(bounds, bound, " ")
    split("x mean p99 goodput", name, " ")
    for (i = 1; i <= n_policy; i++) for (f = 2; f <= 5; f++) sums(policy[i], f)
    for (f = 2; f <= 4; f++) {
        compare(f)
        gains = gains sprintf("%s%+.1f (%.1f)", f > 2 ? " / " : "", gain[f], error[f])
        can = can sprintf("%s%+.0f", f > 2 ? " / " : "", possible[f])
        if (gain[f] < -1)
            missed = missed (missed ? ", " : "") name[f] (gain[f] > -1 - 2 * error[f] ? "?" : "")
    }
    all = m["recompute", 2]
    reached = all > 0 ? sprintf("%.0f %%", 100 * (all - m["online", 2]) / (all - bound[1])) : "-"
    printf("| %s | %s | %d %% |", trace, machine, load)
    for (i = 1; i <= n_policy; i++) printf(" %s |", show(policy[i]))
    printf(" %s | %s | %s | %s | %s |\n", best_by(2), gains, can, reached, missed ? "missed: " missed : "met")
    printf("%s %s %d %g %g %g %g %g %g %s\n", trace, machine, load, gain[3], error[3], possible[3], \
           gain[4], error[4], possible[4], missed ? "missed" : "met") >>rows
}'

# What the rows of a trace come to.
sum_up='
{
    met += $10 == "met"
    if (NR == 1 || $4 > p99) { p99 = $4; p99_at = sprintf("%s at %d %% (error %.1f, bound %+.0f)", $2, $3, $5, $6) }
    if (NR == 1 || $7 > good) { good = $7; good_at = sprintf("%s at %d %% (error %.1f, bound %+.0f)", $2, $3, $8, $9) }
    if ($6 > can) can = $6
    if ($9 > could) could = $9
}
END {
    printf("\n%s: goal met in %d of %d rows; greatest gain in p99 %+.1f %%, %s; in goodput %+.1f %%, %s; ", \
           trace, met, NR, p99, p99_at, good, good_at)
    printf("the bound is at most %+.0f %% (p99) and %+.0f %% (goodput) ahead of the best other.\n\n", can, could)
}'

alone='"arrivals": {"process": "gamma", "cv": 0.01, "rate": 0.001},'
echo "Mean TTFT in s; gain: of online over the best other policy, each figure's own best, in mean TTFT /"
echo "p99 TTFT / goodput, in percent, and its standard error; bound: what each request alone on the"
echo "machine would gain over it; reached: the share of the bound's gain in mean TTFT over recompute."
echo "Llama 3.1 8B on 2 x H100, router $ROUTER; machines: drive (one NVMe drive for both), network"
echo "(25 Gb/s to a shared cache), volume (one cloud volume for both, 1,000 MiB/s), dram (1 TiB). Simulated."
for trace in ${*:-ragpulse conversation agentic}; do
    if [ ! -e "$(path_of "$trace")" ]; then
        echo "$trace: skipped, no $(path_of "$trace")"
        continue
    fi
    idle=$(mean_at "$trace" 0.001)
    [ "$idle" ] || exit 1
    slo=$(awk -v i="$idle" 'BEGIN { printf "%.4g", 3 * i }')
    rate=${RATE:-$(sustained "$trace" "$idle")}
    rm -f "$tmp/rows"
    echo
    echo "$trace: recompute sustains $rate times the trace's own rate; goodput: TTFT $slo s, TPOT 100 ms"
    echo
    echo "| trace | machine | load | $(echo "$(others_of "$trace")" online | sed 's/ / | /g') | best | gain | bound | reached | goal |"
    echo "| --- | --- | --- |$(for p in $(others_of "$trace") online; do printf ' --- |'; done) --- | --- | --- | --- | --- |"
    for machine in ${MACHINES:-drive network dram volume}; do
        bound=$(run "$trace" "$machine" 1 belady optimal "$slo" "$alone" | awk '{ print $2, $3, $5 }')
        for load in $LOADS; do
            for k in $(seq "$REPEATS"); do # rates 0, +1, -1, +2, -2 times 0.2 % off
                run "$trace" "$machine" "$(awk -v r="$rate" -v l="$load" -v k="$k" 'BEGIN {
                    print r * l / 100 * (1 + .002 * int(k / 2) * (k % 2 ? -1 : 1)) }')" \
                    lru "$(others_of "$trace") online" "$slo" >"$tmp/run.$k" &
                [ $((k % JOBS)) -ne 0 ] || wait
            done
            wait
            for k in $(seq "$REPEATS"); do
                [ -s "$tmp/run.$k" ] || exit 1 # its error is on the screen
            done
            for k in $(seq "$REPEATS"); do cat "$tmp/run.$k"; done |
                awk -v trace="$trace" -v machine="$machine" -v load="$load" -v bounds="$bound" \
                    -v rows="$tmp/rows" "$row"
        done
    done
    awk -v trace="$trace" "$sum_up" "$tmp/rows"
done
