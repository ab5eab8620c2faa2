/* kvsim validate, as a user sees it: on a tiny model, whose times mean nothing. */
#include "cli_json.h"
#include "jsonfit.h"
#include "test.h"
#include "tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char common[1200], model[300];

/* The options that all calls share; false: the model is not there. */
static bool ready(void)
{
    const char *weights = kvs_shared("models/stories260K.bin");
    FILE *file;

    if (!weights)
        return false;
    snprintf(model, sizeof model, "%s/stories.json", tmpdir());
    file = fopen(model, "w");
    assert_non_null(file);
    fprintf(file, "{\"name\": \"stories\", \"source\": \"test\", \"layers\": 5, \"hidden\": 64, "
                  "\"heads\": 8, \"kv_heads\": 4, \"head_dim\": 8, \"ffn\": 172, \"vocab\": 512, "
                  "\"tied_embeddings\": true}");
    assert_int_equal(fclose(file), 0);
    snprintf(common, sizeof common, "--weights %s --model %s --hardware h100-sxm --repeats 1",
             weights, model);
    return true;
}

static json_t *schema(void)
{
    json_error_t why;
    json_t *v = json_load_file("configs/schema/validate.schema.json", 0, &why);

    if (!v)
        fail_msg("%s", why.text);
    return v;
}

static void cells_fit_their_schema_and_compute_what_full_prefill_does(void **state)
{
    char args[1600], why[256];
    json_t *fit;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(args, sizeof args,
             "validate --matrix --quick --json --levels raw16 --journal %s/journal %s", tmpdir(),
             common);
    json_t *got = kvs_cli_json(args), *cells = json_object_get(got, "cells");
    fit = schema();
    if (!jsonfit(fit, got, why))
        fail_msg("%s", why);
    json_decref(fit);
    assert_int_equal(json_array_size(cells), 16); /* recompute once, three policies at five rates */
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        assert_true(json_is_false(json_object_get(cell, "fell_back")));
        /* stored as the cache holds it: only sums in another order */
        assert_true(json_number_value(json_object_get(cell, "measured_nats")) <= 1e-6);
        assert_int_equal(json_integer_value(json_object_get(cell, "greedy_same")), 8);
    }
    /* once more: every quiet cell comes from the journal, of the noisy ones the last line counts */
    json_t *again = kvs_cli_json(args), *others = json_object_get(again, "cells");
    assert_int_equal(json_array_size(others), 16);
    for (size_t i = 0; i < 16; i++) {
        const json_t *cell = json_array_get(cells, i), *other = json_array_get(others, i);
        assert_true(json_equal(json_object_get(cell, "id"), json_object_get(other, "id")));
        assert_true(json_is_true(json_object_get(cell, "noisy")) ||
                    json_number_value(json_object_get(cell, "measured_ttft_s")) ==
                        json_number_value(json_object_get(other, "measured_ttft_s")));
    }
    json_decref(again);
    json_decref(got);
}

static void layers_loaded_as_hidden_states_compute_what_full_prefill_does(void **state)
{
    char args[1600];
    unsigned n_hcache = 0;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(args, sizeof args, "validate --matrix --quick --json --levels raw16,hidden %s",
             common);
    json_t *got = kvs_cli_json(args), *cells = json_object_get(got, "cells");
    assert_int_equal(json_array_size(cells), 16 + 20); /* four policies at five rates */
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        const char *policy = json_string_value(json_object_get(cell, "policy"));
        if (strcmp(json_string_value(json_object_get(cell, "level")), "hidden") != 0)
            continue;
        n_hcache += strcmp(policy, "hcache") == 0;
        assert_true(json_is_false(json_object_get(cell, "fell_back")));
        /* rounded to bf16 */
        assert_true(json_number_value(json_object_get(cell, "measured_nats")) <= 1e-4);
        /* 5 layers of 256 tokens of width 64, in blocks of 64, each half with its own pages */
        if (strcmp(policy, "load") == 0)
            assert_int_equal(json_integer_value(json_object_get(cell, "load_bytes")),
                             5 * 4 * 2 * 8192);
    }
    assert_int_equal(n_hcache, 5);
    json_decref(got);
}

static double nats_of(const json_t *cells, const char *id)
{
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        if (strcmp(json_string_value(json_object_get(cell, "id")), id) == 0)
            return json_number_value(json_object_get(cell, "mean_nats"));
    }
    fail_msg("no cell %s", id);
    return 0;
}

static void text_that_moved_is_turned_and_repaired(void **state)
{
    char args[1600], why[256];
    json_t *fit;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(args, sizeof args,
             "validate --matrix --quick --reuse content --levels raw16 --json %s", common);
    json_t *got = kvs_cli_json(args), *cells = json_object_get(got, "cells");
    fit = schema();
    if (!jsonfit(fit, got, why))
        fail_msg("%s", why);
    json_decref(fit);
    assert_int_equal(json_array_size(cells), 10); /* recompute; load, EPIC, CacheBlend, 3 rates */
    for (size_t i = 0; i < json_array_size(cells); i++) {
        const json_t *cell = json_array_get(cells, i);
        assert_true(json_is_false(json_object_get(cell, "fell_back")));
        /* no table says what moved text loses */
        assert_true(json_is_null(json_object_get(cell, "predicted_nats")));
    }
    assert_true(nats_of(cells, "c256-n16-any-b0/recompute") <= 1e-6);
    /* what was not attended to is missed; the more of it is computed again, the less */
    double load = nats_of(cells, "c256-n16-moved-raw16-r1/load");
    double epic = nats_of(cells, "c256-n16-moved-raw16-r1/epic");
    double blend = nats_of(cells, "c256-n16-moved-raw16-r1/cacheblend");
    if (!(load > 1e-3 && epic < load && blend < epic))
        fail_msg("load %g, epic %g, cacheblend %g", load, epic, blend);
    json_decref(got);
}

static void write_plan(const char *path, const char *layers, int context_tok)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file,
            "{\"model\": \"%s\", \"context_tok\": %d, \"new_tok\": 9, \"reuse\": \"prefix\", "
            "\"layers\": [%s]}",
            model, context_tok, layers);
    assert_int_equal(fclose(file), 0);
}

#define LAYER(tok) "{\"recompute_tok\": " #tok ", \"level\": \"raw16\"}"

static void the_plan_of_a_file_runs(void **state)
{
    char path[300], args[1800];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(path, sizeof path, "%s/plan.json", tmpdir());
    write_plan(path, LAYER(128) "," LAYER(128) "," LAYER(64) "," LAYER(64) "," LAYER(0), 128);
    snprintf(args, sizeof args, "validate %s --json --bandwidth 10MB/s -o %s/out --overwrite %s",
             path, tmpdir(), common);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    assert_string_equal(json_string_value(json_object_get(cell, "policy")), "plan");
    assert_true(json_is_false(json_object_get(cell, "fell_back")));
    assert_true(json_number_value(json_object_get(cell, "measured_nats")) <= 1e-6);
    /* 64 tokens in two layers and 128 in one: 64 tokens of K and V are 8 KiB, and a page or two */
    json_int_t bytes = json_integer_value(json_object_get(cell, "load_bytes"));
    assert_true(bytes >= 4 * 8192 && bytes <= 4 * 16384);
    json_decref(got);
    /* and with hidden states in a layer: as many bytes, the model's KV being as wide as it is */
    write_plan(path,
               LAYER(128) "," LAYER(128) "," LAYER(
                   64) ","
                       "{\"recompute_tok\": 64, \"level\": \"hidden\"}," LAYER(0),
               128);
    got = kvs_cli_json(args);
    cell = json_array_get(json_object_get(got, "cells"), 0);
    assert_true(json_is_false(json_object_get(cell, "fell_back")));
    assert_string_equal(json_string_value(json_object_get(cell, "level")), "mixed");
    double nats = json_number_value(json_object_get(cell, "measured_nats"));
    assert_true(nats <= 1e-4);
    assert_int_equal(json_integer_value(json_object_get(cell, "load_bytes")), bytes);
    json_decref(got);
}

/* 128 tokens in two moved blocks: the second one moved, 4 of its tokens repaired in two layers. */
static void the_plan_of_moved_text_runs(void **state)
{
    char path[300], args[1800];
    FILE *file;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(path, sizeof path, "%s/moved.json", tmpdir());
    file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "{\"model\": \"%s\", \"context_tok\": 128, \"new_tok\": 9, \"reuse\": \"content\", "
            "\"layers\": [%s,%s,%s,%s,%s]}",
            model, "{\"recompute_tok\": 128, \"repair_tok\": 0, \"level\": \"raw16\"}",
            "{\"recompute_tok\": 0, \"repair_tok\": 4, \"level\": \"raw16\"}",
            "{\"recompute_tok\": 0, \"repair_tok\": 4, \"level\": \"raw16\"}",
            "{\"recompute_tok\": 0, \"repair_tok\": 0, \"level\": \"raw16\"}",
            "{\"recompute_tok\": 0, \"repair_tok\": 0, \"level\": \"raw16\"}");
    assert_int_equal(fclose(file), 0);
    snprintf(args, sizeof args, "validate %s --json --bandwidth 10MB/s %s", path, common);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    assert_string_equal(json_string_value(json_object_get(cell, "reuse")), "content");
    assert_true(json_is_false(json_object_get(cell, "fell_back")));
    double nats = json_number_value(json_object_get(cell, "mean_nats"));
    if (!(nats > 1e-6 && nats < 3))
        fail_msg("%g nats", nats);
    json_decref(got);
}

/* A profile whose disk reads bytes_per_s with a latency. */
static void write_profile(const char *path, double bytes_per_s, double latency_s)
{
    json_error_t why;
    json_t *hw = json_load_file("configs/hardware/h100-sxm.json", 0, &why), *link;
    size_t i;

    assert_non_null(hw);
    json_array_foreach(json_object_get(hw, "links"), i, link)
    {
        if (strcmp(json_string_value(json_object_get(link, "name")), "nvme") != 0)
            continue;
        json_object_set_new(json_object_get(link, "read_bytes_per_s"), "value",
                            json_real(bytes_per_s));
        json_object_set_new(json_object_get(link, "latency_s"), "value", json_real(latency_s));
        json_object_set_new(json_object_get(link, "descriptor_s"), "value", json_real(0));
    }
    assert_int_equal(json_dump_file(hw, path, 0), 0);
    json_decref(hw);
}

static double predicted_link_s(const char *plan, const char *hw, const char *rate, double *bytes,
                               double *ttft_s)
{
    char args[1800];

    snprintf(args, sizeof args,
             "validate %s --json --bandwidth %s --weights %s --model %s --hardware %s --repeats 1",
             plan, rate, kvs_shared("models/stories260K.bin"), model, hw);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    double s = json_number_value(json_object_get(json_object_get(cell, "predicted_s"), "link"));
    *bytes = (double)json_integer_value(json_object_get(cell, "load_bytes"));
    *ttft_s = json_number_value(json_object_get(cell, "predicted_ttft_s"));
    json_decref(got);
    return s;
}

static void the_slower_of_bucket_and_disk_is_predicted(void **state)
{
    char plan[300], hw[300];
    double bytes, ttft_s;
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(plan, sizeof plan, "%s/load.json", tmpdir());
    write_plan(plan, LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0), 128);
    snprintf(hw, sizeof hw, "%s/hw.json", tmpdir());
    write_profile(hw, 4e6, .25);
    /* no bucket: the disk's rate; five layers, each rounded to ns */
    double disk = predicted_link_s(plan, hw, "0", &bytes, &ttft_s);
    assert_true(bytes > 50000 && fabs(disk - bytes / 4e6) < 1e-7);
    assert_true(ttft_s > .25 + disk && ttft_s < .26 + disk);
    double fast = predicted_link_s(plan, hw, "8MB/s", &bytes, &ttft_s);
    assert_true(fabs(fast - disk) < 1e-7);
    double slow = predicted_link_s(plan, hw, "2MB/s", &bytes, &ttft_s);
    assert_true(fabs(slow - 2 * disk) < 1e-7);
}

/* A table of two levels. */
static void write_quality(const char *path)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    fprintf(file, "{\"model\": \"stories\", \"about\": \"test\", \"levels\": [");
    for (int q = 0; q < 2; q++)
        fprintf(file,
                "%s{\"level\": \"%s\", \"k_nats\": [%g, %g, %g, %g, %g], \"v_nats\": [0, 0, 0, 0, "
                "0], \"joint_nats\": {\"value\": %g, \"source\": \"assumed\", \"ref\": \"test\"}, "
                "\"source\": \"assumed\", \"ref\": \"test\"}",
                q ? ", " : "", q ? "e2" : "e4", .01 + .1 * q, .02 + .1 * q, .03 + .1 * q,
                .04 + .1 * q, .05 + .1 * q, .6 * (.15 + .5 * q));
    fprintf(file, "]}");
    assert_int_equal(fclose(file), 0);
}

/* What kvsim plan prints is what kvsim validate reads, all of it. */
static void the_plan_that_kvsim_plan_prints_runs(void **state)
{
    char quality[300], path[300], args[1800];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(quality, sizeof quality, "%s/pairs.json", tmpdir());
    write_quality(quality);
    snprintf(args, sizeof args,
             "plan --json --model %s --hardware h100-sxm --context 128 --new 9 --block 64 "
             "--planner load "
             "--tier dram --codec cpu-avx512 --quality %s --budget 0.2 --levels e4,e4/e2",
             model, quality);
    json_t *plan = kvs_cli_json(args);
    snprintf(path, sizeof path, "%s/planned.json", tmpdir());
    assert_int_equal(json_dump_file(plan, path, 0), 0);
    snprintf(
        args, sizeof args,
        "validate %s --json --quality %s --weights %s --hardware h100-sxm --model %s --repeats 1",
        path, quality, kvs_shared("models/stories260K.bin"), model);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    assert_true(json_is_false(json_object_get(cell, "fell_back")));
    double told = json_number_value(json_object_get(cell, "predicted_nats"));
    double want = json_number_value(json_object_get(json_object_get(plan, "plan"), "loss_nats"));
    if (!(fabs(told - want) < 1e-6))
        fail_msg("validate predicts %g nats, the plan %g", told, want);
    json_decref(got);
    json_decref(plan);
}

/* The cell of `kvsim plan`'s plan of a prompt, run. */
static json_t *run_spans(const char *spans, const char *planner)
{
    char path[300], args[1800];

    snprintf(args, sizeof args,
             "plan --json --model %s --hardware h100-sxm --spans %s --block 64 --planner %s "
             "--tier dram --budget 0",
             model, spans, planner);
    json_t *plan = kvs_cli_json(args);
    snprintf(path, sizeof path, "%s/spans.json", tmpdir());
    assert_int_equal(json_dump_file(plan, path, 0), 0);
    json_decref(plan);
    snprintf(args, sizeof args, "validate %s --json %s", path, common);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    json_incref(cell);
    json_decref(got);
    assert_true(json_is_false(json_object_get(cell, "fell_back")));
    return cell;
}

/* What is held as it was computed here leaves the logits as they are, whatever stands between;
 * moved blocks do not, and fewer of them do less. 4 KiB hold a block's layer at 16 bits. */
static void prompts_of_several_spans_run(void **state)
{
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    json_t *two = run_spans("prefix:64,prefix:128,new:9", "load"),
           *hole = run_spans("prefix:64,new:64,prefix:64,new:9", "load"),
           *mixed = run_spans("prefix:64,content:64,prefix:64,new:9", "load"),
           *moved = run_spans("prefix:64,content:128,new:9", "load"),
           *again = run_spans("prefix:64,content:128,new:9", "recompute");
    double nats[] = {kvs_cli_number(two, "mean_nats"), kvs_cli_number(hole, "mean_nats"),
                     kvs_cli_number(mixed, "mean_nats"), kvs_cli_number(moved, "mean_nats"),
                     kvs_cli_number(again, "mean_nats")};

    if (!(nats[0] < 1e-4 && nats[1] < 1e-4 && nats[2] > 10 * nats[0] && nats[3] > nats[2] &&
          nats[4] < 1e-4))
        fail_msg("two %g, hole %g, mixed %g, moved %g, recomputed %g nats", nats[0], nats[1],
                 nats[2], nats[3], nats[4]);
    kvs_cli_expect(two, "{\"reuse\": \"prefix\", \"context_tok\": 192}");
    kvs_cli_expect(hole, "{\"reuse\": \"mixed\", \"context_tok\": 192, \"new_tok\": 9}");
    kvs_cli_expect(mixed, "{\"reuse\": \"mixed\"}");
    assert_true(3 * kvs_cli_number(hole, "load_bytes") == 2 * kvs_cli_number(two, "load_bytes"));
    json_decref(two);
    json_decref(hole);
    json_decref(mixed);
    json_decref(moved);
    json_decref(again);
}

/* A table of two levels: what a plan that mixes them loses is its own layers' sum, times what the
 * levels lose together over their sum: .6 of it, at both; V loses nothing in the table. */
static void a_mixed_plan_predicts_its_own_loss(void **state)
{
    char plan[300], quality[300], args[1800];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(quality, sizeof quality, "%s/quality.json", tmpdir());
    write_quality(quality);
    snprintf(plan, sizeof plan, "%s/levels.json", tmpdir());
    write_plan(plan,
               LAYER(0) ",{\"recompute_tok\": 0, \"level\": \"e4\"},"
                        "{\"recompute_tok\": 0, \"level\": \"e2\"},"
                        "{\"recompute_tok\": 0, \"level\": \"e2\"},"
                        "{\"recompute_tok\": 0, \"level\": \"e4/e2\"}",
               128);
    snprintf(args, sizeof args,
             "validate %s --json --quality %s --weights %s --model %s --hardware h100-sxm "
             "--repeats 1",
             plan, quality, kvs_shared("models/stories260K.bin"), model);
    json_t *got = kvs_cli_json(args), *cell = json_array_get(json_object_get(got, "cells"), 0);
    double told = json_number_value(json_object_get(cell, "predicted_nats"));
    double want = .6 * (.02 + .13 + .14 + .05),
           seen = json_number_value(json_object_get(cell, "mean_nats"));
    if (!(fabs(told - want) < 1e-9))
        fail_msg("predicted %g nats, want %g", told, want);
    assert_true(seen > 1e-6); /* something is lost */
    json_decref(got);
}

/* SIGTERM while a prompt is loaded, which takes a second or so: the blocks' folder goes. */
static void a_signal_ends_it_and_leaves_no_store(void **state)
{
    const char *kvsim = getenv("KVSIM");
    char path[300], command[2400];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(path, sizeof path, "%s/slow.json", tmpdir());
    write_plan(path, LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0), 128);
    snprintf(
        command, sizeof command,
        "mkdir %s/store && export TMPDIR=%s/store && { %s validate %s --bandwidth 80kB/s %s "
        ">/dev/null 2>&1 & } && p=$! && i=0 && "
        "while [ -z \"$(ls -A $TMPDIR)\" ] && [ $i -lt 200 ]; do sleep .05; i=$((i + 1)); done; "
        "[ $i -lt 200 ] && kill -TERM $p && { wait $p; [ $? = 143 ]; } && "
        "[ -z \"$(ls -A $TMPDIR)\" ]",
        tmpdir(), tmpdir(), kvsim ? kvsim : "build/kvsim", path, common);
    assert_int_equal(system(command), 0);
}

static void must_end_2(const char *args, const char *word)
{
    int status;
    const char *said = kvs_cli_error(args, &status);

    assert_int_equal(status, 2);
    if (!strstr(said, word))
        fail_msg("\"%s\" does not say \"%s\"", said, word);
}

static void wrong_plan_files_are_refused_with_their_place(void **state)
{
#define LAST "{\"kind\": \"new\", \"tok\": 9}"
    static const struct {
        const char *layers, *word;
        int context_tok;
    } cases[] = {
        {LAYER(0) "," LAYER(64), "layers[1].recompute_tok: found 64, more than in the layer before",
         128},
        {LAYER(63), "layers[0].recompute_tok: found 63, want whole blocks", 128},
        {LAYER(0), "context_tok: found 100, want whole blocks", 100},
        {LAYER(192), "layers[0].recompute_tok", 128},
        {"{\"recompute_tok\": 0}", "layers[0].level: missing", 128},
        {LAYER(0), "layers: found 1, the model has 5", 128},
        {"{\"recompute_tok\": 0, \"level\": \"raw61\"}", "level: unknown level \"raw61\"; did you",
         128},
        {"{\"recompute_tok\": 0, \"level\": \"e4/e9\"}", "level: unknown level \"e4/e9\"", 128},
        {"{\"recompute_tok\": 0, \"level\": \"e4*5\"}", "level: unknown level \"e4*5\"", 128},
        {"{\"recompute_tok\": 64, \"state_tok\": 64, \"level\": \"raw16\"}",
         "layers[0].state_tok: found 64", 128},
        {LAYER(0) "], \"spans\": [{}", "spans: found 1 spans, want cached ones, and new", 128},
        {LAYER(0) "], \"spans\": [{}, {}", "spans[1].kind: missing", 128},
        {LAYER(0) "], \"spans\": [{\"kind\": \"hbm\", \"tok\": 64}, " LAST,
         "spans[0].kind: found \"hbm\", want prefix, content or new", 128},
        {LAYER(0) "], \"spans\": [{\"kind\": \"prefix\", \"tok\": 60}, " LAST,
         "spans[0].tok: found 60, want whole blocks", 128},
    };
    char path[300], args[1800];
    (void)state;
    if (!ready())
        KVS_SKIP("models/stories260K.bin is not there");
    snprintf(path, sizeof path, "%s/wrong.json", tmpdir());
    snprintf(args, sizeof args, "validate %s %s", path, common);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_plan(path, cases[i].layers, cases[i].context_tok);
        must_end_2(args, cases[i].word);
    }
    snprintf(args, sizeof args, "validate %s --levels raw16 %s", path, common);
    must_end_2(args, "--levels: is of a matrix");
    write_plan(path, LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0), 128);
    snprintf(args, sizeof args, "validate %s --bandwidth 1 %s", path, common);
    must_end_2(args, "want an hour at most");
    snprintf(args, sizeof args, "validate --matrix --quick --bandwidth 1MB/s %s", common);
    must_end_2(args, "--bandwidth: is of a plan's path");
    write_plan(path, LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0) "," LAYER(0), 512);
    snprintf(args, sizeof args, "validate %s %s", path, common);
    must_end_2(args, "a prompt of 521 tokens, the model takes 512");
    snprintf(args, sizeof args, "validate %s", common);
    must_end_2(args, "found 0 plan files, want one");
    snprintf(args, sizeof args,
             "validate --matrix --model llama-3-8b --hardware h100-sxm "
             "--levels raw16 --weights %s",
             kvs_shared("models/stories260K.bin"));
    must_end_2(args, "--weights: 5 layers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_fit_their_schema_and_compute_what_full_prefill_does),
        cmocka_unit_test(layers_loaded_as_hidden_states_compute_what_full_prefill_does),
        cmocka_unit_test(text_that_moved_is_turned_and_repaired),
        cmocka_unit_test(the_plan_of_a_file_runs),
        cmocka_unit_test(the_plan_of_moved_text_runs),
        cmocka_unit_test(the_slower_of_bucket_and_disk_is_predicted),
        cmocka_unit_test(the_plan_that_kvsim_plan_prints_runs),
        cmocka_unit_test(prompts_of_several_spans_run),
        cmocka_unit_test(a_mixed_plan_predicts_its_own_loss),
        cmocka_unit_test(a_signal_ends_it_and_leaves_no_store),
        cmocka_unit_test(wrong_plan_files_are_refused_with_their_place),
    };
    return cmocka_run_group_tests_name("validate", tests, tmpdir_make, tmpdir_drop);
}
