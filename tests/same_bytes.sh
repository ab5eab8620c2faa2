#!/bin/sh
# usage: KVSIM=program same_bytes.sh   runs in the working folder, and prints checksums of what it wrote.
# Every build must write the same: gcc, clang, sanitizers, any -O (same.sh).
cat >w.json <<'EOF'
{
  "model": "llama-3.1-8b", "hardware": "h100-2gpu", "seed": 5,
  "trace": {"generate": {"requests": 500, "rate": 5}},
  "cluster": {"replicas": 2},
  "tiers": [{"name": "dram", "capacity": "20GiB"}, {"name": "nvme", "capacity": "200GiB"}],
  "compare": ["recompute", "load", "token-split", "layer-split", "best", "optimal"],
  "output": {"plots": false}
}
EOF
sums() { # FOLDER
    for file in summary.json requests.csv plans.csv timeline.json plots/ttft_cdf.csv plots/ttft_stack.csv plots/hits_over_time.csv \
        plots/busy_over_time.csv plots/crossover.csv; do
        printf '%s  %s\n' "$(sha256sum <"$1/$file" | cut -c1-16)" "$1/$file"
    done
}
"$KVSIM" run w.json -o plain -q && sums plain
"$KVSIM" run w.json -o content -q --set 'cluster.reuse="content"' --set trace.generate.rate=40 --set 'compare=["load","best"]' && sums content
"$KVSIM" run w.json -o wide -q --set 'model="llama-3.1-70b"' --set cluster.tp=2 --set cluster.replicas=1 --set trace.generate.rate=1 \
    --set trace.generate.requests=100 --set 'tiers[0].evict="gdsf"' --set 'tiers[1].evict="s3fifo"' && sums wide
"$KVSIM" trace generate --requests 1000 --seed 3 | sha256sum
