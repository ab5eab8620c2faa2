#!/bin/sh
# kvsim plot of a sweep and kvsim report, opened in headless Chromium. Speaks TAP.
# usage: KVSIM=build/kvsim report.sh
set -u
case ${KVSIM:-build/kvsim} in
/*) kvsim=$KVSIM ;;
*) kvsim=$PWD/${KVSIM:-build/kvsim} ;;
esac
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
cd "$here" || exit 1
n=0
seen=

cat >w.json <<'END'
{
  "about": "<script>alert(1)</script> & more",
  "model": "llama-3.1-8b", "hardware": "h100-2gpu",
  "trace": {"generate": {"requests": 200, "rate": 4}},
  "tiers": [{"name": "dram", "capacity": "4GiB"}],
  "compare": ["recompute", "load", "best"]
}
END
cat >s.json <<'END'
{"workload": "w.json", "axes": [
  {"path": "trace.rate", "values": [1, 2, 4]},
  {"name": "kind's", "choices": [{"name": "a_b", "set": {}}, {"name": "small", "set": {"hardware_set": {"gpu.memory_bytes": "8GB"}}}]},
  {"path": "tiers[0].capacity", "values": ["1GiB", "2GiB"]}
]}
END

verdict() { # 0-OR-1 NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        echo "$seen" | head -20 | sed 's/^/# /'
    fi
}

says() { # TEXT
    case $seen in *"$1"*) return 0 ;; esac
    seen="wanted: $1
$seen"
    return 1
}

skip() { # WHY NAME
    n=$((n + 1))
    echo "# skip: $1"
    echo "ok $n - $2 # SKIP"
}

call() { # WANTED-STATUS COMMAND...
    want=$1
    shift
    seen=$("$@" 2>&1 </dev/null)
    [ $? = "$want" ]
}

call 0 "$kvsim" run w.json -q -o run && call 0 "$kvsim" sweep s.json -q -o sweep
verdict $? run_and_sweep_are_there

# what recommend said is said again, by a folder that has no pages
call 0 "$kvsim" recommend w.json --slo ttft.p99=10s -q -o rec; said=$seen
call 0 "$kvsim" report rec && [ -n "$seen" ] && { [ "$seen" = "$said" ] || ! command -v gnuplot >/dev/null; } &&
    call 2 "$kvsim" report rec -o rec.html && says 'is of kvsim recommend, whose answer is printed'
verdict $? report_of_recommend_says_it_again

if command -v gnuplot >/dev/null; then
    call 0 "$kvsim" plot sweep && [ -s sweep/plots/sweep_axes.svg ] && [ -s sweep/plots/sweep_heat.svg ] &&
        [ -s sweep/plots/sweep_rate.svg ]
    verdict $? plot_draws_a_sweep
else
    skip "no gnuplot" plot_draws_a_sweep
fi

call 0 "$kvsim" report run && call 0 "$kvsim" report sweep -o sweep.html && [ -s run/report.html ] &&
    ! grep -qE '(src|href)="?(http|//|\.)' run/report.html sweep.html && ! grep -q '<script>alert' run/report.html &&
    [ "$(grep -c '<tr><td class="t">gpu\.' run/report.html)" -gt 10 ]
verdict $? report_needs_no_network_and_trusts_no_text

call 2 "$kvsim" report . && call 2 "$kvsim" report && [ ! -e report.html ]
verdict $? foreign_folder_ends_2_and_leaves_nothing

# a request's parts are told for each policy, and sum to its TTFT; numbers are the engine's business
call 0 "$kvsim" explain request run 150 && says 'request 150: came at' && says 'recompute: TTFT' && says 'best: TTFT' &&
    says 'Most of it is' && call 2 "$kvsim" explain request run 200 && says 'run: holds no request 200' &&
    call 2 "$kvsim" explain request run x && call 2 "$kvsim" explain run
verdict $? explain_tells_a_request_under_each_policy

call 0 "$kvsim" run w.json -q --no-plots -o other --set 'tiers[0].capacity="1GiB"' --set 'compare=["load", "best"]' &&
    call 0 "$kvsim" compare run other && says 'tiers[0].capacity: 4294967296 -> 1073741824' && says 'compare: ' &&
    call 0 "$kvsim" compare run run && says '  nothing' && says '+0.0%' &&
    call 2 "$kvsim" compare run && call 2 "$kvsim" compare run none
verdict $? compare_tells_what_differs_and_what_it_changes

browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
dom() { # FILE#HASH: the page after its script ran
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$here/profile" \
        --dump-dom "file://$here/$1" 2>/dev/null
}
if [ -n "$browser" ] && dom run/report.html >dom && [ -s dom ]; then
    grep -q '&lt;script&gt;alert(1)' dom && grep -q '<h2>In words</h2>' dom
    seen=$(head -c 2000 dom)
    verdict $? browser_shows_the_report
    # by TTFT p50, column 2: values rise
    dom "run/report.html#policies.2" >dom
    seen=$(sed -n '/id="policies"/,/<\/table>/p' dom | sed 's/<tr>/\n<tr>/g' | grep '^<tr><td' | sed 's/<td data-v="\([^"]*\)">[^<]*<\/td>/ \1/g' | awk '{print $3}')
    [ "$(echo "$seen" | wc -l)" = 3 ] && [ "$seen" = "$(echo "$seen" | sort -g)" ]
    verdict $? tables_sort
    dom "sweep.html" >dom
    seen=$(head -c 1500 dom)
    [ "$(sed -n '/id="points"/,/<\/table>/p' dom | grep -c '^<tr><td')" = 24 ]
    verdict $? sweep_report_has_every_row
else
    skip "no chromium" browser_shows_the_report
    skip "no chromium" tables_sort
    skip "no chromium" sweep_report_has_every_row
fi
echo "1..$n"
