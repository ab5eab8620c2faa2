/* kvsim codec as a user meets it: there and back, what it tells, what it refuses. */
#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Runs a shell script with $k as kvsim in a fresh folder that holds kv.raw: 2 layers, 100 tokens, 2
 * heads of 32; its exit status. */
static int run(const char *script)
{
    static char command[4096];
    const char *kvsim = getenv("KVSIM");
    char *full = realpath(kvsim ? kvsim : "build/kvsim", NULL);
    assert_non_null(full);
    snprintf(command, sizeof command,
             "k='%s'; d=$(mktemp -d) && cd \"$d\" || exit 99; trap 'rm -rf \"$d\"' EXIT; "
             "i=0; while [ $i -lt 800 ]; do printf 'keys and values, %%04d, of 64 bytes "
             "............................\\n' $i; i=$((i + 1)); done | head -c 51200 >kv.raw; "
             "s='--layers 2 --kv-heads 2 --head-dim 32 --type f16'; %s",
             full, script);
    free(full);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void raw16_comes_back_byte_for_byte(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level raw16 >/dev/null && "
                         "$k codec decode a -o b >/dev/null && cmp kv.raw b"),
                     0);
}

static void inspect_tells_levels_and_bytes(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level e4/p4 >/dev/null && "
                         "$k codec inspect a --against kv.raw --json >j && "
                         "grep -q '\\[\"e4\", \"p4\"\\]' j && grep -q '\"tokens\": 100,' j && "
                         "grep -q '\"snr_db\"' j && $k codec inspect a | grep -q '^payload'"),
                     0);
}

/* As `kvsim store put` takes them. */
static void levels_are_told_of_all_of_k_and_v_or_layer_by_layer(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level p8/e4,raw16 >/dev/null && "
                         "$k codec inspect a --against kv.raw --json >j && "
                         "grep -q '{\"layer\": 0, \"k\": {\"level\": \"p8\"' j && "
                         "grep -q '\"v\": {\"level\": \"e4\"' j && "
                         "grep -q '{\"layer\": 1, \"k\": {\"level\": \"raw16\"' j"),
                     0);
    /* what inspect says is what encode takes */
    for (const char *const *level = (const char *[]){"p8/e4,e3/e3", "e4/p4*2", NULL}; *level;
         level++) {
        char command[256];
        snprintf(command, sizeof command,
                 "$k codec encode kv.raw -o a $s --level '%s' >/dev/null && $k codec inspect a | "
                 "grep -qxF 'levels K/V by layer: %s'",
                 *level, *level);
        assert_int_equal(run(command), 0);
    }
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level p8*3 2>e; s=$?; "
                         "grep -q 'names 3 layers, the model has 2' e && exit $s; exit 98"),
                     2);
}

/* Of the file, of K and V, of each layer: what needs no model. */
static void inspect_tells_every_error_there_is(void **state)
{
    (void)state;
    assert_int_equal(
        run("$k codec encode kv.raw -o a $s --level e4/p4 >/dev/null && "
            "$k codec inspect a --against kv.raw --json >j && for m in max_abs max_over_step "
            "rel_l2 snr_db snr_db_p5 not_finite_wrong logit_rms output_rel_l2 output_cosine; do "
            "test $(grep -o \"\\\"$m\\\"\" j | wc -l) -ge 3 || exit 97; done && "
            "for m in payload sinks parameters streams escapes tables head padding "
            "coded_over_entropy; do grep -q \"\\\"$m\\\"\" j || exit 98; done && "
            "grep -q '\"layers_apart\"' j && grep -q '{\"layer\": 1, \"k\": {\"level\": \"e4\"' j "
            "&& "
            "$k codec inspect a --against kv.raw | grep -q 'over its step'"),
        0);
}

static void inspect_tells_the_same_with_and_without_json(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level e4 >/dev/null && "
                         "$k codec inspect a --json >j && for m in bits_per_element payload_bits "
                         "coded_over_entropy escapes k_bits_without_padding; do "
                         "grep -q \"\\\"$m\\\": [0-9]\" j || exit 98; done && "
                         "grep -q '\"level\": \"e4\"' j && ! grep -q snr_db j && "
                         "$k codec inspect a | grep -q '^without padding: K ' && "
                         "$k codec inspect a --against kv.raw --json | "
                         "{ ! grep -q weighted_rel_mse; }"),
                     0);
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level p4 --weights m 2>e; s=$?; "
                         "grep -q 'level has none: p4' e && exit $s; exit 98"),
                     2);
}

/* Keys of text, values of nothing. */
static void bench_tells_bits_of_k_and_v_where_they_differ(void **state)
{
    (void)state;
    assert_int_equal(
        run("for l in 0 1; do head -c 12800 kv.raw; head -c 12800 /dev/zero; done >z.raw; "
            "$k codec encode z.raw -o z $s --level raw16 >/dev/null && "
            "$k codec bench --rounds 1 --input z >t && grep -q 'b/el K  b/el V' t && "
            "$k codec bench --rounds 1 --tokens 4096 --layers 1 --channels 64 >t && ! grep -q "
            "'b/el K' t"),
        0);
}

static void bench_takes_the_elements_of_a_file(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level raw16 --sinks 7 >/dev/null && "
                         "$k codec bench --input a --block 64 --rounds 1 --json >j && "
                         "grep -q '\"type\": \"f16\", \"layers\": 2, \"tokens\": 100, "
                         "\"block_tokens\": 64, \"channels\": 64,' j && "
                         "grep -q '\"level\": \"e1.5\"' j && ! grep -q '\"lx\"' j"),
                     0);
    assert_int_equal(run("$k codec encode kv.raw -o a $s --block 32 >/dev/null && "
                         "$k codec bench --input a --rounds 1 --json | "
                         "grep -q '\"block_tokens\": 32,' || exit 98; "
                         "$k codec bench --input a --tokens 64 2>e; s=$?; "
                         "grep -q -e '--tokens: is of made-up elements' e && exit $s; exit 97"),
                     2);
    assert_int_equal(run("$k codec bench --input kv.raw 2>e; s=$?; "
                         "grep -q 'is no codec file' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k codec bench --weights m.bin 2>e; s=$?; "
                         "grep -q 'wants --input' e && exit $s; exit 98"),
                     2);
}

static void broken_files_and_wrong_shapes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s >/dev/null && printf x | "
                         "dd of=a bs=1 seek=20 conv=notrunc 2>/dev/null; "
                         "$k codec decode a -o b 2>e; s=$?; grep -q checksum e && "
                         "test ! -e b && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k codec encode kv.raw -o a --layers 2 --kv-heads 2 --head-dim 31 2>e; "
                         "s=$?; grep -q 'want a multiple of' e && test ! -e a && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level e7 2>e; s=$?; "
                         "grep -q 'unknown level \"e7\"' e && exit $s; exit 98"),
                     2);
}

static void attention_is_exact_if_elements_are(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec encode kv.raw -o a $s --level raw16 >/dev/null && "
                         "$k codec inspect a --against kv.raw --json >j && "
                         "grep -q '\"queries\": \"keys\", \"queries_per_head\": 16, "
                         "\"logit_rms\": 0, \"output_rel_l2\": 0, \"output_cosine\": 1}' j && "
                         "$k codec encode kv.raw -o a $s --level e2 >/dev/null && "
                         "$k codec inspect a --against kv.raw >j && "
                         "grep -q '^attention, 16 keys a head for queries' j"),
                     0);
}

static void weights_of_another_shape_are_refused(void **state)
{
    (void)state;
    /* llama2.c's header: dim 8, ffn 16, 1 layer, 2 heads, 2 KV heads, vocabulary 4, context 4;
     * enough bytes for all tensors, zeros */
    const char *model = "{ printf '\\10\\0\\0\\0\\20\\0\\0\\0\\1\\0\\0\\0\\2\\0\\0\\0'; "
                        "printf '\\2\\0\\0\\0\\4\\0\\0\\0\\4\\0\\0\\0'; "
                        "head -c 2848 /dev/zero; } >m.bin; ";
    char script[2048];
    snprintf(script, sizeof script,
             "%s $k codec encode kv.raw -o a $s --weights m.bin 2>e; s=$?; cat e >&2; "
             "grep -q 'm.bin has 1 layers of 2 KV heads of 4, the elements 2 of 2 of 32' e && "
             "test ! -e a && exit $s; exit 98",
             model);
    assert_int_equal(run(script), 2);
    assert_int_equal(run("$k codec encode kv.raw -o a $s >/dev/null && "
                         "$k codec inspect a --weights m.bin 2>e; s=$?; "
                         "grep -q 'wants --against' e && exit $s; exit 98"),
                     2);
}

static void bench_prints_what_was_promised(void **state)
{
    (void)state;
    assert_int_equal(run("$k codec bench --json --tokens 64 --channels 32 --layers 1 --rounds 1 >j "
                         "&& grep -q '\"memcpy_gb_per_s\"' j && grep -q '\"level\": \"e1.5\"' j && "
                         "grep -q '\"level\": \"lx\".*\"type\": \"bf16\"' j && "
                         "grep -q '\"decode_gb_per_s\"' j && grep -q '\"bits_per_element\"' j && "
                         "grep -q '\"bytes\": {\"payload\"' j && grep -q '\"logit_rms\"' j"),
                     0);
}

/* What is no regular file is refused before it is opened: nobody writes into this pipe. */
static void pipes_are_refused_not_waited_for(void **state)
{
    (void)state;
    assert_int_equal(run("mkfifo ff; timeout 10 $k codec encode ff -o q $s 2>e; s=$?; "
                         "grep -q 'ff: is no file' e && test ! -e q && exit $s; exit 98"),
                     2);
    assert_int_equal(run("mkfifo ff; $k codec encode kv.raw -o a $s >/dev/null; "
                         "timeout 10 $k codec inspect a --against ff 2>e; s=$?; "
                         "grep -q 'ff: is no file' e && exit $s; exit 98"),
                     2);
}

static void the_input_stays_and_json_is_json(void **state)
{
    (void)state;
    assert_int_equal(
        run("cp kv.raw keep; ln kv.raw same; $k codec encode kv.raw -o same $s 2>e; s=$?; "
            "grep -q 'which is the input' e && cmp -s kv.raw keep && exit $s; exit 98"),
        2);
    assert_int_equal(run("$k codec encode . -o a $s 2>e; s=$?; grep -q 'is no file' e && exit $s; "
                         "exit 98"),
                     2);
    /* the largest bf16 numbers, 0x7f7f, whose products are no floats */
    assert_int_equal(run("head -c 6000 /dev/zero | tr '\\000' '\\177' | "
                         "dd of=kv.raw bs=1 seek=4000 conv=notrunc 2>/dev/null; "
                         "$k codec encode kv.raw -o a ${s%f16}bf16 --level e4 >/dev/null && "
                         "$k codec inspect a --against kv.raw --json >j && grep -q 'null' j && "
                         "! grep -q -e ': -*nan' -e ': -*inf' j"),
                     0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw16_comes_back_byte_for_byte),
        cmocka_unit_test(inspect_tells_levels_and_bytes),
        cmocka_unit_test(levels_are_told_of_all_of_k_and_v_or_layer_by_layer),
        cmocka_unit_test(inspect_tells_every_error_there_is),
        cmocka_unit_test(inspect_tells_the_same_with_and_without_json),
        cmocka_unit_test(bench_tells_bits_of_k_and_v_where_they_differ),
        cmocka_unit_test(bench_takes_the_elements_of_a_file),
        cmocka_unit_test(broken_files_and_wrong_shapes_are_refused),
        cmocka_unit_test(attention_is_exact_if_elements_are),
        cmocka_unit_test(weights_of_another_shape_are_refused),
        cmocka_unit_test(bench_prints_what_was_promised),
        cmocka_unit_test(pipes_are_refused_not_waited_for),
        cmocka_unit_test(the_input_stays_and_json_is_json),
    };
    return cmocka_run_group_tests_name("kvsim codec", tests, NULL, NULL);
}
