/* kvsim store as a user meets it: put, ls, get, check; what it refuses; killed, full. */
#include "test.h"

#include "kernels/store/levels.h"
#include "store_lab.h"
#include "tmpdir.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char place[160]; /* of a Redis server, if there is one */

/* Runs a shell script with $k as kvsim, $m as a small model, $r as a Redis server, in a fresh
 * folder that holds t: prompts of 40, 64 and 10 tokens; its exit status. */
static int run(const char *script)
{
    static char command[4096];
    const char *kvsim = getenv("KVSIM");
    char *full = realpath(kvsim ? kvsim : "build/kvsim", NULL);
    char *model = realpath(kvs_shared("models/stories260K.bin"), NULL);
    assert_non_null(full);
    assert_non_null(model);
    snprintf(command, sizeof command,
             "k='%s'; m='%s'; r='%s'; d=$(mktemp -d) && cd \"$d\" || exit 99; "
             "trap 'rm -rf \"$d\"' EXIT; { echo '# prompts'; seq -s ' ' 1 40; seq -s ' ' 1 64; "
             "echo; seq -s , 1 10; } >t; %s",
             full, model, place, script);
    free(full);
    free(model);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define NEEDS_MODEL()                                                                              \
    do {                                                                                           \
        if (!kvs_shared("models/stories260K.bin"))                                                 \
            KVS_SKIP("no ../shared/models/stories260K.bin");                                       \
    } while (0)

static void prompts_are_stored_block_by_block_and_shared(void **state)
{
    (void)state;
    NEEDS_MODEL();
    assert_int_equal(
        run("$k store put s -m \"$m\" -t t --block 16 --level raw16 >o || exit 1; "
            "grep -q '^t:2: 40 tokens: 2 blocks stored, 0 were there, 8 tokens left out' o && "
            "grep -q '^t:3: 64 tokens: 2 blocks stored, 2 were there, 0 tokens left out' o && "
            "grep -q '^t:5: 10 tokens: 0 blocks stored, 0 were there, 10 tokens left out' o && "
            "$k store ls s >l && grep -q '^4 blocks' l && grep -q '16 tokens  raw16$' l && "
            "$k store put s -m \"$m\" -t t --block 16 --level raw16 | grep -q 't:3:.* 0 blocks "
            "stored, 4 were there' && $k store check s | grep -q '^4 blocks, 0 broken$'"),
        0);
}

static void levels_are_given_layer_by_layer_and_listed(void **state)
{
    (void)state;
    NEEDS_MODEL();
    assert_int_equal(run("$k store put s -m \"$m\" -t t --block 32 --level p8/e4*2,e3*3 >/dev/null "
                         "&& $k store ls s >l && grep -q 'p8/e4\\*2,e3\\*3$' l && "
                         "$k store ls s --json | python3 -c 'import json, sys; "
                         "b = json.load(sys.stdin); assert b[\"n\"] == 2; "
                         "assert b[\"blocks\"][0][\"levels\"] == \"p8/e4*2,e3*3\"'"),
                     0);
}

static void block_comes_back_as_elements(void **state)
{
    (void)state;
    NEEDS_MODEL();
    /* 5 layers, K and V, 16 tokens of 4 heads of 8: 10240 bytes */
    assert_int_equal(run("$k store put s -m \"$m\" -t t --block 16 --level raw16 >/dev/null && "
                         "b=$($k store ls s | head -1 | cut -d' ' -f1) && "
                         "$k store get s $b -o x >/dev/null && test $(stat -c %s x) = 10240 && "
                         "$k codec decode s/*/$b.kvf -o y >/dev/null && cmp x y"),
                     0);
}

static void hidden_states_are_stored_of_the_layers_that_are_named(void **state)
{
    (void)state;
    NEEDS_MODEL();
    /* 5 layers of 16 tokens of width 64: 10240 bytes; they lie beside K and V of the same block */
    assert_int_equal(run("$k store put s -m \"$m\" -t t --block 16 --hidden all >/dev/null && "
                         "$k store put s -m \"$m\" -t t --block 16 --hidden 1-2 >o && "
                         "grep -q '4 blocks stored\\|2 blocks stored' o && "
                         "$k store put s -m \"$m\" -t t --block 16 --level raw16 >/dev/null && "
                         "$k store ls s >l && grep -q '^12 blocks' l && "
                         "grep -q 'hidden states of layers 0-4: raw16$' l && "
                         "grep -q '.hidden-1-2 .*hidden states of layers 1-2: raw16$' l && "
                         "$k store check s | grep -q '^12 blocks, 0 broken$' && "
                         "b=$(grep '\\.hidden ' l | head -1 | cut -d' ' -f1) && "
                         "$k store get s $b -o x | grep -q 'layers 0 to 4, width 64' && "
                         "test $(stat -c %s x) = 10240 && c=${b%.hidden}.hidden-1-2 && "
                         "$k store get s $c -o y >/dev/null && tail -c +2049 x | head -c 4096 | "
                         "cmp - y"),
                     0);
    assert_int_equal(run("$k store put s -m \"$m\" -t t --hidden 3-5 2>e; s=$?; "
                         "grep -q 'want layers from 0 to 4' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k store put s -m \"$m\" -t t --hidden last 2>e; s=$?; "
                         "grep -q 'found \"last\", want all, A-B or A' e && exit $s; exit 98"),
                     2);
}

static void check_names_what_is_broken(void **state)
{
    (void)state;
    NEEDS_MODEL();
    assert_int_equal(run("$k store put s -m \"$m\" -t t --block 16 --level e4 >/dev/null || exit 1;"
                         "f=$(ls s/*/*.kvf | head -1); "
                         "printf XXXX | dd of=$f bs=1 seek=20500 conv=notrunc 2>/dev/null; "
                         "$k store check s >o 2>e; s=$?; grep -q \"$f.*checksum\" o && "
                         "grep -q '^4 blocks, 1 broken$' o && grep -q '1 of 4' e && exit $s; "
                         "exit 98"),
                     1);
    assert_int_equal(run("$k store put s -m \"$m\" -t t --block 16 --level e4 >/dev/null || exit 1;"
                         "f=$(ls s/*/*.kvf | head -1); truncate -s 5000 $f; "
                         "$k store ls s | grep -q 'broken$' && $k store check s >o 2>e; s=$?; "
                         "grep -q '^4 blocks, 1 broken$' o && exit $s; exit 98"),
                     1);
    /* dropped, it can be stored anew */
    assert_int_equal(run("p='store put s -t t --block 16 --level e4'; $k $p -m \"$m\" >/dev/null; "
                         "f=$(ls s/*/*.kvf | head -1); cp $f whole; truncate -s 5000 $f; "
                         "$k store check s --drop >o && test ! -e $f && "
                         "grep -q '^4 blocks, 1 broken, 1 of them dropped$' o && "
                         "$k $p -m \"$m\" >/dev/null && cmp whole $f && $k store check s >o"),
                     0);
}

static void wrong_input_is_refused_by_name(void **state)
{
    (void)state;
    NEEDS_MODEL();
    assert_int_equal(run("$k store put s -m \"$m\" -t t --level e7 2>e; s=$?; "
                         "grep -q 'unknown level \"e7\"' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k store put s -m \"$m\" -t t --level e4*2,p4 2>e; s=$?; "
                         "grep -q 'names 3 layers, the model has 5' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("echo '1 2 x3' >u; $k store put s -m \"$m\" -t u 2>e; s=$?; "
                         "grep -q 'u:1: found \"x3\"' e && exit $s; exit 98"),
                     2);
    /* nothing is stored, not even a folder; also if no whole block holds the token */
    assert_int_equal(run("(cat t; echo '1 2 99999') >u; $k store put s -m \"$m\" -t u --block 2 "
                         "2>e; s=$?; test ! -e s && "
                         "grep -q 'u:6: found token 99999, want one below 512' e && exit $s; "
                         "exit 98"),
                     2);
    assert_int_equal(run("seq -s ' ' 0 511 >u; seq -s ' ' 1 511 >v; echo 1 2 >>v; "
                         "$k store put s -m \"$m\" -t u >/dev/null || exit 97; "
                         "(cat u; tr '\\n' ' ' <v) >w; $k store put r -m \"$m\" -t w 2>e; s=$?; "
                         "test ! -e r && grep -q 'w:2: found 513 tokens, the model takes 512' e && "
                         "exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k store put s -m . -t t 2>e; s=$?; test ! -e s && "
                         "grep -q 'is no regular file' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("mkfifo f; timeout 20 $k store put s -m f -t t 2>e; s=$?; "
                         "grep -q 'is no regular file' e && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k store put s -m \"$m\" -t t --hidden all --level e4 2>e; s=$?; "
                         "grep -q -e '--level: hidden states are stored raw' e && exit $s; "
                         "exit 98"),
                     2);
    assert_int_equal(run("$k store ls none 2>e; s=$?; grep -q 'none: No such' e && exit $s; "
                         "exit 98"),
                     1);
    assert_int_equal(run("mkdir s; $k store get s abc -o x 2>e; s=$?; "
                         "grep -q 'want KEY.TAG' e && test ! -e x && exit $s; exit 98"),
                     2);
    assert_int_equal(run("$k store putt s 2>e; s=$?; grep -q 'did you mean \"put\"' e && exit $s; "
                         "exit 98"),
                     2);
}

static void full_disk_ends_put_and_leaves_whole_blocks(void **state)
{
    (void)state;
    NEEDS_MODEL();
    /* no file may grow beyond 4 KiB: the first block's does not fit */
    assert_int_equal(run("trap '' XFSZ; (ulimit -f 8; $k store put s -m \"$m\" -t t --block 16 "
                         "--level raw16 >o 2>e); s=$?; grep -q 'File too large' e && "
                         "test -z \"$(find s -type f)\" && $k store check s >/dev/null && exit $s; "
                         "exit 98"),
                     1);
}

static void killed_put_leaves_whole_blocks_or_none(void **state)
{
    (void)state;
    NEEDS_MODEL();
    assert_int_equal(
        run("i=0; while [ $i -lt 60 ]; do seq -s ' ' $i $((i + 63)); i=$((i + 1)); done >u; "
            "n=0; for wait in 0.01 0.03 0.05 0.08 0.12 0.2 0.3 0.4; do "
            "$k store put s -m \"$m\" -t u --block 8 >/dev/null & sleep $wait; "
            "kill -9 $! 2>/dev/null; wait $! 2>/dev/null; "
            "[ -d s ] || continue; $k store check s >o || exit 1; "
            "test -z \"$(find s -name '.*' -type f)\" || exit 2; n=$((n + 1)); done 2>/dev/null; "
            "$k store put s -m \"$m\" -t u --block 8 >/dev/null && $k store check s >/dev/null && "
            "$k store ls s | grep -q '^480 blocks' && test $n -gt 0"),
        0);
}

static void redis_takes_the_same_commands(void **state)
{
    const char *why_not;
    (void)state;
    NEEDS_MODEL();
    pid_t server = lab_redis(tmpdir(), place, sizeof place, &why_not);
    if (!server)
        KVS_SKIP("%s", why_not);
    int status =
        run("$k store put $r -m \"$m\" -t t --block 16 --level raw16 >/dev/null && "
            "$k store put s -m \"$m\" -t t --block 16 --level raw16 >/dev/null && "
            "$k store ls $r >a && $k store ls s >b && cmp a b && "
            "b=$(head -1 a | cut -d' ' -f1) && $k store get $r $b -o x >/dev/null && "
            "$k store get s $b -o y >/dev/null && cmp x y && $k store check $r >/dev/null && "
            /* somebody else's key of a block's name is a broken block, not the end of all */
            "c=$(command -v redis-cli || command -v valkey-cli) && $c -s ${r#redis:} lpush "
            "kvs:$(printf '%032d' 0).e4 x >/dev/null && "
            "$k store ls $r | grep -q '^0*\\.e4 .*broken$' && ! $k store check $r >o 2>&1 && "
            "grep -q ':0*\\.e4: holds no string' o && grep -q '^5 blocks, 1 broken' o");
    (void)kill(server, SIGKILL);
    (void)waitpid(server, NULL, 0);
    assert_int_equal(status, 0);
}

static void levels_read_back_as_they_were_written(void **state)
{
    static const char *const texts[] = {"e4", "p8/e4", "raw16*2,p8/e4*3", "e4,p4,e4,p4/e3*2"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint8_t level[10];
        char *text = NULL;
        size_t n;
        struct kvs_err err = {0};
        if (kvs_levels_parse("x", texts[i], 5, level, &err))
            fail_msg("%s", err.msg);
        FILE *to = open_memstream(&text, &n);
        kvs_levels_print(to, level, 5);
        assert_int_equal(fclose(to), 0);
        assert_string_equal(text, texts[i]);
        free(text);
    }
    static const char *const wrong[] = {
        "",      "e4,",    ",e4",    "e4*",    "e4*0,e4*5",
        "e4*-5", "e4*5x",  "e4/",    "/e4",    "e4*4",
        "e4*6",  "e4*5,*", "e4/p4/", "e4*1*4", "e4*99999999999999999999",
        "e4 *5"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint8_t level[10];
        struct kvs_err err = {0};
        if (kvs_levels_parse("x", wrong[i], 5, level, &err) != KVS_ERR_ARG)
            fail_msg("\"%s\" is taken", wrong[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_stored_block_by_block_and_shared),
        cmocka_unit_test(levels_are_given_layer_by_layer_and_listed),
        cmocka_unit_test(block_comes_back_as_elements),
        cmocka_unit_test(hidden_states_are_stored_of_the_layers_that_are_named),
        cmocka_unit_test(check_names_what_is_broken),
        cmocka_unit_test(wrong_input_is_refused_by_name),
        cmocka_unit_test(full_disk_ends_put_and_leaves_whole_blocks),
        cmocka_unit_test(killed_put_leaves_whole_blocks_or_none),
        cmocka_unit_test(redis_takes_the_same_commands),
        cmocka_unit_test(levels_read_back_as_they_were_written),
    };
    return cmocka_run_group_tests_name("kvsim store", tests, tmpdir_make, tmpdir_drop);
}
