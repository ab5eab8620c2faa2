#!/bin/sh
# usage: load-aware.sh [TRACE...]          ragpulse, conversation, agentic; none: all three
#
# Every policy at 20 to 120 % of what recompute sustains, on four machines: mean and p99 TTFT and
# goodput, the best other policy beside `online`, and the bound. What recompute sustains is the highest
# rate, to 5 %, at which its mean TTFT is at most three times that of an idle machine. The bound: each
# request alone on the machine, one every 1000 s, the optimal plan, Belady's evictions.
#
# A queue is chaotic: a rate 0.1 % higher moves a row's p99 by 1 to 9 % and, at 120 %, its mean by up to
# 11 %, whatever the policy. So a figure is the mean of REPEATS runs at rates 0.2 % apart, and a gain
# has its standard error.
#
# LOADS: percents; OTHERS: policies; MACHINES: which; REPEATS: runs of a row (5); RATE: what recompute
# sustains, if known.
# KVSIM: the program (build/kvsim); KVS_SHARED: folder of traces/ (../shared).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
KVSIM=$(realpath "${KVSIM:-$root/build/kvsim}")
traces=${KVS_SHARED:-$root/../shared}/traces
LOADS=${LOADS:-20 40 60 80 100 120}
REPEATS=${REPEATS:-5}
OTHERS=${OTHERS:-recompute load token-split layer-split best optimal careful}
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

reuse_of() { [ "$1" = ragpulse ] && echo content || echo prefix; }

hardware_of() {
    case $1 in
    drive) echo "$here/machines/h100-one-drive.json" ;;
    network) echo "$here/machines/h100-25gbe.json" ;;
    volume) echo "$here/machines/h100-volume.json" ;;
    dram) echo h100-2gpu ;;
    esac
}

tier_of() { # MACHINE EVICT
    case $1 in
    drive | volume) echo "{\"name\": \"nvme\", \"capacity\": \"4TiB\", \"evict\": \"$2\"}" ;;
    network) echo "{\"name\": \"remote\", \"capacity\": \"32TiB\", \"evict\": \"$2\"}" ;;
    dram) echo "{\"name\": \"dram\", \"capacity\": \"1TiB\", \"evict\": \"$2\"}" ;;
    esac
}

# TRACE MACHINE RATE EVICT POLICIES [ARRIVALS]: lines "policy mean p99 goodput"
run() {
    policies=$(printf '"%s", ' $5 | sed 's/, $//')
    cat >"$tmp/w.json" <<W
{"model": "llama-3.1-8b", "hardware": "$(hardware_of "$2")",
 "trace": {"path": "$(path_of "$1")", "rate": $3},
 "cluster": {"replicas": 2, "reuse": "$(reuse_of "$1")", "hbm_evict": "$4"},
 "tiers": [$(tier_of "$2" "$4")],
 "slo": {"ttft": "2s", "tpot": "100ms"}, ${6:-}
 "compare": [$policies],
 "output": {"plots": false, "timeline_requests": 0}}
W
    "$KVSIM" run "$tmp/w.json" -o "$tmp/r" --overwrite >/dev/null
    awk -F'[:,]' '
        /"policy":/ { gsub(/[" ]/, "", $2); policy = $2; ttft = 0 }
        /"goodput_req_per_s":/ { goodput = $2 }
        /"ttft_s": \{/ { ttft = 1 }
        ttft && /"mean":/ { mean = $2 }
        ttft && /"p99":/ { print policy, mean + 0, $2 + 0, goodput + 0; ttft = 0 }' "$tmp/r/summary.json"
}

mean_at() { run "$1" dram "$2" lru recompute | awk '{ print $2 }'; }

less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; }

sustained() { # TRACE: a rate
    idle=$(mean_at "$1" 0.001)
    low=0.001 high=100000
    while less "$(awk -v l=$low 'BEGIN { print l * 1.05 }')" "$high"; do
        mid=$(awk -v l=$low -v h="$high" 'BEGIN { printf "%.6g", sqrt(l * h) }')
        if less "$(mean_at "$1" "$mid")" "$(awk -v i="$idle" 'BEGIN { print 3 * i }')"; then
            low=$mid
        else
            high=$mid
        fi
    done
    echo "$low"
}

alone='"arrivals": {"process": "gamma", "cv": 0.01, "rate": 0.001},'
echo "mean TTFT / p99 TTFT / requests per second within the SLO (TTFT 2 s, TPOT 100 ms); Llama 3.1 8B"
echo "on 2 x H100; machines: drive (one NVMe drive for both), network (25 Gb/s to a shared cache),"
echo "volume (one cloud volume for both, 1,000 MiB/s), dram (1 TiB). gain: of online over the best"
echo "other policy, by each figure, and its standard error; reached: the share of the bound's gain in"
echo "mean TTFT over recompute."
echo "Simulated."
for trace in ${*:-ragpulse conversation agentic}; do
    if [ ! -e "$(path_of "$trace")" ]; then
        echo "$trace: skipped, no $(path_of "$trace")"
        continue
    fi
    rate=${RATE:-$(sustained "$trace")}
    echo
    echo "$trace: recompute sustains $rate times the trace's own rate"
    for machine in ${MACHINES:-drive network volume dram}; do
        bound=$(run "$trace" $machine 1 belady optimal "$alone" | awk '{ print $2 " " $3 }')
        echo "  $machine; bound: ${bound% *} s mean, ${bound#* } s p99"
        for load in $LOADS; do
            for k in $(seq "$REPEATS"); do # rates 0, +1, -1, +2, -2 times 0.2 % off
                run "$trace" $machine "$(awk -v r="$rate" -v l="$load" -v k="$k" 'BEGIN {
                    print r * l / 100 * (1 + .002 * int(k / 2) * (k % 2 ? -1 : 1)) }')" \
                    lru "$OTHERS online"
            done | awk -v load="$load" -v bound="${bound% *}" '
                function show(p) { return sprintf("%s %.4g/%.4g/%.4g", p, m[p, 2], m[p, 3], m[p, 4]) }
                # mean and variance of the mean
                function sums(p, f,  v) {
                    m[p, f] = sum[p, f] / n[p]
                    v = square[p, f] / n[p] - m[p, f] ^ 2
                    var[p, f] = n[p] > 1 && v > 0 ? v / (n[p] - 1) : 0
                }
                function gain(f,  b, p, i, g, v) {
                    for (i = 1; i <= n_policy; i++) {
                        p = policy[i]
                        if (p == "online") continue
                        if (b == "" || (f < 4 ? m[p, f] < m[b, f] : m[p, f] > m[b, f])) b = p
                    }
                    if (m["online", f] * m[b, f] == 0) return "+0.0 (0.0)"
                    g = f < 4 ? m[b, f] / m["online", f] : m["online", f] / m[b, f]
                    v = var[b, f] / m[b, f] ^ 2 + var["online", f] / m["online", f] ^ 2
                    return sprintf("%+.1f (%.1f)", 100 * (g - 1), 100 * sqrt(v))
                }
                {
                    if (!n[$1]++) policy[++n_policy] = $1
                    for (f = 2; f <= 4; f++) { sum[$1, f] += $f; square[$1, f] += $f ^ 2 }
                }
                END {
                    for (i = 1; i <= n_policy; i++) {
                        for (f = 2; f <= 4; f++) sums(policy[i], f)
                        line = line "  " show(policy[i])
                    }
                    printf("    %3d %%%s  gain %s / %s / %s %%", load, line, gain(2), gain(3), gain(4))
                    all = m["recompute", 2]
                    if (all > 0) printf("  reached %.0f %%", 100 * (all - m["online", 2]) / (all - bound))
                    print ""
                }'
        done
    done
done
