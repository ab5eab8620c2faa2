#!/bin/sh
# kvsim sweep as a user meets it: killed and gone on, in shards, under mpirun. Speaks TAP.
# usage: KVSIM=build/kvsim sweep.sh
set -u
case ${KVSIM:-build/kvsim} in
/*) kvsim=$KVSIM ;;
*) kvsim=$PWD/${KVSIM:-build/kvsim} ;;
esac
root=$PWD
here=$(mktemp -d) || exit 1
trap 'rm -rf "$here"' EXIT
cd "$here" || exit 1
n=0
seen=

cat >w.json <<'END'
{
  "model": "llama-3.1-8b", "hardware": "h100-2gpu",
  "trace": {"generate": {"requests": 300, "rate": 2}},
  "tiers": [{"name": "dram", "capacity": "4GiB"}],
  "compare": ["load"]
}
END
cat >s.json <<'END'
{"workload": "w.json", "axes": [
  {"path": "cluster.replicas", "values": [1, 2]},
  {"path": "tiers[0].capacity", "log": {"from": "1GiB", "to": "64GiB", "points": 10}}
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

call() { # WANTED-STATUS COMMAND...: 0 if it ends so
    want=$1
    shift
    seen=$("$@" 2>&1 </dev/null)
    [ $? = "$want" ]
}

says() { # TEXT
    case $seen in *"$1"*) return 0 ;; esac
    seen="wanted: $1
$seen"
    return 1
}

call 0 "$kvsim" sweep s.json -o one --jobs 1 && says '20 points: 20 run, 0 kept from before, 0 failed' &&
    [ "$(wc -l <one/results.csv)" = 21 ] && call 0 "$kvsim" sweep s.json -o one -q && [ -z "$seen" ]
verdict $? sweep_leaves_a_row_a_point

# killed with all its workers, as a scheduler does, until it comes to its end
state=1
for try in 1 2 3 4 5 6 7 8 9 10 11 12; do
    setsid "$kvsim" sweep s.json -o killed --jobs 2 >out 2>&1 </dev/null &
    run=$!
    before=$(cat killed/points.journal 2>/dev/null | wc -l)
    for wait in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
        [ "$(cat killed/points.journal 2>/dev/null | wc -l)" -gt $((before + 2)) ] && break
        sleep 0.02
    done
    if [ $try -lt 6 ]; then
        kill -9 -- -$run 2>/dev/null
        wait $run 2>/dev/null
    else
        wait $run && state=0
        break
    fi
done
seen=$(cat out; diff one/results.csv killed/results.csv)
[ $state = 0 ] && cmp -s one/results.csv killed/results.csv
verdict $? killed_at_any_time_nothing_is_lost_or_counted_twice

call 0 "$kvsim" sweep s.json -o a --shard 1/2 && call 0 "$kvsim" sweep s.json -o b --shard 2/2 &&
    says 'kept in b' && call 0 "$kvsim" sweep merge a b -o all && cmp -s one/results.csv all/results.csv &&
    call 2 "$kvsim" sweep merge a -o none && says '10 of 20 points are missing' && [ ! -e none/results.csv ]
verdict $? shards_merge_to_the_same_table

call 2 "$kvsim" sweep s.json --shard 3/2 && says '--shard: found "3/2", want I/N' &&
    call 2 "$kvsim" sweep none.json && says 'none.json' && call 2 "$kvsim" sweep && says 'found 0 sweeps' &&
    call 2 "$kvsim" sweep quikc && says 'did you mean "quick"' && [ ! -e results ]
verdict $? wrong_command_line_ends_2_and_writes_nothing

call 2 "$kvsim" sweep s.json -o one --set seed=9 && says 'holds points of another sweep' &&
    call 0 "$kvsim" sweep s.json -o one --set seed=9 --overwrite && says '20 run' &&
    ! cmp -s one/results.csv all/results.csv
verdict $? folder_of_another_sweep_is_kept_unless_told

# under SAN=1: what an MPI does not give back at its end is not ours
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS

for mpi in openmpi mpich; do
    launch=$(command -v mpirun.$mpi)
    name=points_dealt_out_by_${mpi}_give_the_same_table
    if [ -z "$launch" ] || [ ! -f "$(dirname "$kvsim")/kvsim-mpi-$mpi.so" ]; then
        n=$((n + 1))
        echo "# skip: no $mpi"
        echo "ok $n - $name # SKIP"
        continue
    fi
    more=
    [ $mpi = openmpi ] && more="--allow-run-as-root --oversubscribe --mca btl self,vader"
    # shellcheck disable=SC2086
    call 0 $launch $more -n 4 "$kvsim" sweep s.json -o $mpi && says '20 points: 20 run' &&
        cmp -s all/results.csv $mpi/results.csv &&
        call 0 $launch $more -n 4 "$kvsim" sweep s.json -o $mpi && says '0 run, 20 kept'
    verdict $? $name
    # shellcheck disable=SC2086
    call 2 $launch $more -n 4 "$kvsim" sweep s.json -o $mpi --set sede=1 || [ $? != 0 ]
    says 'sede: unknown key'
    verdict $? wrong_sweep_ends_every_rank_of_$mpi
done

echo "1..$n"
