#!/bin/sh
# kvprobe as a user meets it: exit statuses, messages, an interrupt. Speaks TAP.
set -u
kvprobe=${KVPROBE:-build/kvprobe}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
# hwloc's pci plugin scans with libpciaccess, which leaks, and unloads it: no suppression can name it
case $kvprobe in *-san/*) export HWLOC_COMPONENTS=-pci ;; esac
echo 1 2 3 >"$dir/short.tok"
n=0
check() { # NAME, then a command that must succeed
    name=$1
    shift
    n=$((n + 1))
    if "$@" >"$dir/log" 2>&1; then echo "ok $n - $name"; else
        echo "not ok $n - $name"
        sed 's/^/# /' "$dir/log"
    fi
}

refused() { # STATUS TEXT ARGUMENT...: ends so, and says so
    status=$1 text=$2
    shift 2
    "$kvprobe" "$@" >"$dir/out" 2>"$dir/err"
    got=$?
    cat "$dir/err"
    [ $got = "$status" ] && grep -q -- "$text" "$dir/err"
}

interrupted() {
    mkdir -p "$dir/int"
    "$kvprobe" storage --standard --dir "$dir/int" --size 64MiB -o "$dir/partial.json" >"$dir/out" 2>&1 &
    pid=$!
    i=0
    while [ ! -s "$dir/partial.json" ] && [ $i -lt 200 ]; do
        sleep 0.1
        i=$((i + 1))
    done
    sleep 0.5
    kill -INT $pid
    wait $pid || return 1
    grep -q '"complete": false' "$dir/partial.json" && grep -q PARTIAL "$dir/partial.json" &&
        [ -z "$(ls -A "$dir/int")" ] && "$kvprobe" show "$dir/partial.json" >/dev/null
}

memory_profile() {
    "$kvprobe" memory --name here -o "$dir/mem.json" && "$kvprobe" show "$dir/mem.json" | grep -q memory.copy &&
        "$kvprobe" compare "$dir/mem.json" "$dir/mem.json" | grep -q 'x 1.000'
}

# On the fake driver that the tests build: what runs on a device, without one.
device_section() {
    KVS_FAKE_CUFILE=on "$kvprobe" copy --vendor-libs "$(dirname "$kvprobe")/tests/fake" --dir "$dir" --size 64MiB \
        >"$dir/copies" || return 1
    cat "$dir/copies"
    grep -q '^copy.both gpu0 16.0 MiB x 1 pinned storage.read 1 MiB x 16, network.read 1 MiB x 16 ' "$dir/copies" &&
        grep -q '^copy.gds gpu0 1.00 MiB x 1 ' "$dir/copies" && ! grep -q 'not measured\|error' "$dir/copies"
}

# With the small model: a profile whose processor computes, and kvsim plans with it.
prefill_profile() {
    shared=${KVS_SHARED:-../shared}
    "$kvprobe" prefill --device cpu --model "$shared/models/stories260K.bin" --name tiny -o "$dir/cpu.json" \
        >"$dir/prefill" || return 1
    cat "$dir/prefill"
    ! grep -q 'not measured\|error\|want' "$dir/prefill" && grep -q '^prefill.layer cpu .* rows 512 context 1024 ' "$dir/prefill" &&
        grep -q '"model": "stories260K"' "$dir/cpu.json" && "$kvprobe" show "$dir/cpu.json" | grep -q prefill.kv &&
        "$kvprobe" merge "$dir/mem.json" "$dir/cpu.json" -o "$dir/machine.json" &&
        "$(dirname "$kvprobe")/kvsim" plan --model smollm2-135m --hardware "$dir/machine.json" --context 4096 --tier dram \
            --bandwidth 1GB/s || return 1
    # a GPU's profile takes the links, not the processor's layers; the same device again is one entry
    "$kvprobe" merge configs/hardware/h100-sxm.json "$dir/cpu.json" -o "$dir/gpu.json" &&
        ! grep -q '"compute"' "$dir/gpu.json" &&
        "$kvprobe" merge "$dir/machine.json" "$dir/cpu.json" -o "$dir/again.json" &&
        [ "$(grep -c '"linear_s"' "$dir/again.json")" = 1 ]
}

# Files of levels beside the profile, that kvsim plans with.
level_profiles() {
    shared=${KVS_SHARED:-../shared}
    for section in codec quality; do
        "$kvprobe" $section --device cpu --model "$shared/models/stories260K.bin" --name tiny -o "$dir/l$section.json" ||
            return 1
    done
    grep -q '"section_s": {' "$dir/lcodec.codec.json" && grep -q '"agreement": {' "$dir/lquality.quality.json" &&
        "$kvprobe" show "$dir/lcodec.json" | grep -q 'codec.decode.*prefill.layer' &&
        "$kvprobe" quality --model smollm2-135m | grep -q 'seeded weights say nothing' &&
        "$(dirname "$kvprobe")/kvsim" plan --model llama-3-8b --hardware h100-sxm --budget 0.01 \
            --codec "$dir/lcodec.codec.json" --quality llama-3-8b
}

check "an unknown command is refused with the nearest name" refused 2 'did you mean "storage"' storge
check "two levels at once are refused" refused 2 'want one of them' --quick --full
check "an option of another section is refused" refused 2 'peer: has no meaning for prefill' prefill --peer x
check "a folder that is not there is refused" refused 2 'none: No such file' storage --dir "$dir/none"
check "the help of a section has its options" sh -c "'$kvprobe' memory --help >'$dir/h' && ! grep -q model '$dir/h'"
check "destroying nothing is refused" refused 2 'wants a --target' storage --destroy
check "a file of others is never destroyed" refused 2 'only to files that it made' \
    storage --target "$kvprobe" --destroy
check "a profile that is not there is an error" refused 2 'No such file' show "$dir/none.json"
check "show wants a profile" refused 2 'usage' show
check "a measured profile can be shown and compared" memory_profile
check "a measured profile lies over a published one" \
    "$kvprobe" merge configs/hardware/h100-sxm.json "$dir/mem.json" -o "$dir/both.json"
check "the merged profile keeps the GPU and takes the memory" \
    sh -c "grep -q 'NVIDIA H100 data sheet' '$dir/both.json' && grep -q 'kvprobe memory.copy' '$dir/both.json'"
if [ -e "$(dirname "$kvprobe")/tests/fake/libcuda.so.1" ]; then
    check "copies run both ways, beside disk and network, and from a file to the device" device_section
else
    echo "ok $((n = n + 1)) - copies on a fake device # skip: no fake driver beside $kvprobe"
fi
check "an unknown device is refused" refused 2 'device: ' prefill --device abacus
if [ -r "${KVS_SHARED:-../shared}/models/stories260K.bin" ]; then
    check "the processor is measured as a device, and kvsim plans with it" prefill_profile
    check "levels are timed and scored, and kvsim plans with them" level_profiles
    check "a text that is too short is refused" refused 2 'found 3 tokens, want 64' \
        quality --model "${KVS_SHARED:-../shared}/models/stories260K.bin" --tokens "$dir/short.tok"
else
    echo "ok $((n = n + 1)) - the processor measured as a device # skip: no models/stories260K.bin"
fi
check "an interrupt leaves a partial profile and no file" interrupted
echo "1..$n"
