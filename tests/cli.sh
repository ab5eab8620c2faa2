#!/bin/sh
# kvsim run and plot as a user meets them: exit status, messages, what is left behind. Speaks TAP.
# usage: KVSIM=build/kvsim cli.sh
set -u
case ${KVSIM:-build/kvsim} in
/*) kvsim=$KVSIM ;;
*) kvsim=$PWD/${KVSIM:-build/kvsim} ;;
esac
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
cd "$here" || exit 1
n=0
seen= # what the last command printed, both streams

cat >w.json <<'END'
{
  "model": "llama-3.1-8b", "hardware": "h100-2gpu",
  "trace": {"generate": {"requests": 300, "rate": 2}},
  "tiers": [{"name": "dram", "capacity": "4GiB"}],
  "compare": ["recompute", "load"]
}
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

call() { # WANTED-STATUS COMMAND...: 0 if it ends so
    want=$1
    shift
    seen=$("$@" 2>&1 </dev/null)
    [ $? = "$want" ]
}

says() { # TEXT: 0 if the last command said so
    case $seen in *"$1"*) return 0 ;; esac
    seen="wanted: $1
$seen"
    return 1
}

call 2 "$kvsim" run w.json --set cluster.replica=2 && says 'kvsim run: w.json: cluster.replica: unknown key; did you mean "replicas"?' &&
    [ ! -e results ]
verdict $? wrong_setting_ends_2_and_writes_nothing

call 2 "$kvsim" run none.json && says 'none.json: no such file'
verdict $? workload_that_is_not_there_ends_2

call 2 "$kvsim" run && says 'found 0 workload files, want one' &&
    call 2 "$kvsim" run w.json --sede 3 && says '--sede: unknown option; did you mean --seed?' &&
    call 2 "$kvsim" run w.json --seed x && says '--seed: found "x", want a whole number' && [ ! -e results ]
verdict $? wrong_command_line_ends_2_and_writes_nothing

call 0 "$kvsim" run w.json --no-plots && says 'recompute' && says 'verdict' && says 'results: results/w' &&
    [ -f results/w/summary.json ] && [ ! -e results/w/plots/ttft_cdf.svg ]
verdict $? default_folder_is_results_and_the_workloads_name

call 2 "$kvsim" run w.json --no-plots && says 'results/w'
verdict $? earlier_results_stay

mkdir mine && echo precious >mine/file
call 2 "$kvsim" run w.json -o mine --overwrite --no-plots && [ "$(cat mine/file)" = precious ]
verdict $? folder_of_another_is_never_overwritten

call 0 "$kvsim" run w.json -o json --json --no-plots && [ "$(echo "$seen" | head -1)" = "{" ] &&
    echo "$seen" | cmp -s - json/summary.json
verdict $? json_prints_the_summary_alone

call 0 "$kvsim" run w.json -o warm --no-plots --set 'warmup={"cut":"requests","requests":100}' &&
    says 'the first 100 requests are left out as warm-up' &&
    call 0 "$kvsim" run w.json -o cut --no-plots --set 'warmup={"cut":"requests","requests":300}' &&
    says 'Every request was left out as warm-up'
verdict $? warm_up_is_told_and_one_that_leaves_nothing_too

call 0 "$kvsim" run w.json -o split --no-plots -q --set 'compare=["layer-split"]' \
    --set cluster.hbm_cache=false --set 'hardware_set={"links.pcie.read_bytes_per_s": "4GB/s"}' &&
    grep -q '[0-9]x1 [0-9]*x0,' split/plans.csv && ! grep -q 'x0\.' split/plans.csv
verdict $? a_layer_split_computes_whole_layers

commands=$("$kvsim" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p')
state=0
for command in $commands 'trace formats' 'trace stats' 'trace curve' 'trace generate' 'trace convert'; do
    # shellcheck disable=SC2086
    call 0 "$kvsim" $command --help && says "usage: kvsim $command" && case $seen in 'usage: usage'*) false ;; esac || {
        state=1
        break
    }
done
verdict $state every_command_has_its_help

call 0 "$kvsim" run w.json -o quiet -q --no-plots && [ -z "$seen" ]
verdict $? quiet_prints_nothing

call 0 "$kvsim" run w.json -o seed --seed 7 --no-plots --set 'compare=["load"]' --set cluster.replicas=2 -q &&
    grep -q '"seed": 7' seed/workload.json && grep -q '"replicas": 2' seed/workload.json
verdict $? settings_of_the_command_line_are_recorded

# a folder of programs without gnuplot
mkdir bin
for program in sh rm; do ln -s "$(command -v $program)" bin/; done
call 0 env PATH="$here/bin" "$kvsim" run w.json -o bare && says 'no figures: gnuplot is not there' &&
    [ -f bare/plots/ttft_cdf.csv ] && [ ! -e bare/plots/ttft_cdf.svg ] &&
    call 3 env PATH="$here/bin" "$kvsim" plot bare && says 'gnuplot is not there'
verdict $? without_gnuplot_the_run_goes_on_and_says_so

if command -v gnuplot >/dev/null; then
    call 0 "$kvsim" plot bare && says bare/plots/crossover.svg
    state=$?
    for figure in ttft_cdf ttft_stack hits_over_time busy_over_time crossover; do
        [ -s bare/plots/$figure.svg ] && [ -s bare/plots/$figure.png ] || state=1
    done
    verdict $state plot_draws_every_figure
    cp -r bare/plots first
    call 0 "$kvsim" plot bare && diff -r bare/plots first >/dev/null
    verdict $? same_data_give_the_same_drawings
else
    echo "# skip: no gnuplot"
    echo "ok $((n + 1)) - plot_draws_every_figure # SKIP"
    n=$((n + 1))
fi

call 2 "$kvsim" plot mine && says 'mine: no results folder of kvsim'
verdict $? plot_of_a_foreign_folder_ends_2

call 2 "$kvsim" trace generate --requests 10 -o t.txt && says 't.txt: the file'"'"'s ending tells no format; known: .jsonl, .kvt, .oracleGeneral' &&
    [ ! -e t.txt ] && call 2 "$kvsim" trace generate --requests 10 --to kvt -o /dev/null && says 'no regular file' &&
    ln -s real.kvt link.kvt && call 2 "$kvsim" trace generate --requests 10 -o link.kvt && says 'is a link to nothing' &&
    call 0 "$kvsim" trace generate --requests 10 -o real.kvt && call 0 "$kvsim" trace generate --requests 20 -o link.kvt &&
    [ -L link.kvt ] && "$kvsim" trace stats real.kvt --json | grep -q '"requests": 20'
verdict $? traces_are_written_where_and_how_it_is_clear

# a file-size limit stands for a full disk; its signal is ignored, so that writes fail
seen=$( (trap '' XFSZ; ulimit -f 8; exec "$kvsim" run w.json -o results/w --overwrite --no-plots) 2>&1 )
[ $? = 1 ] && says 'kvsim run: ' && [ -f results/w/summary.json ] && call 0 "$kvsim" plot --help
verdict $? full_disk_is_told_and_the_old_result_stays

# long enough to be killed in the middle
begin() { # FOLDER: runs in the background, waits until it writes, leaves its process in $run
    "$kvsim" run w.json -o "$1" --no-plots --set trace.generate.requests=3000000 >out 2>&1 </dev/null &
    run=$!
    tries=0
    while [ -z "$(ls -A | grep "^\.$1")" ] && [ $tries -lt 200 ]; do
        tries=$((tries + 1))
        sleep 0.05
    done
    sleep 0.2
}

begin killed
kill -9 $run
wait $run 2>/dev/null
seen=$(ls -A)
[ ! -e killed ] && ls -A | grep -q '^\.killed' && call 0 "$kvsim" run w.json -o killed --no-plots &&
    [ -f killed/summary.json ] && ! ls -A | grep -q '^\.killed'
verdict $? killed_run_leaves_no_result_and_the_next_clears_up

echo "1..$n"
