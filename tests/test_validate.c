/* kvsim validate, as a user sees it: on a tiny model, whose times mean nothing. */
#include "cli_json.h"
#include "jsonfit.h"
#include "test.h"
#include "tmpdir.h"

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
    snprintf(common, sizeof common,
             "--weights %s --model %s --hardware h100-sxm --repeats 1 --levels raw16", weights,
             model);
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
    snprintf(args, sizeof args, "validate --matrix --quick --json --journal %s/journal %s",
             tmpdir(), common);
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
    /* once more: every cell comes from the journal */
    json_t *again = kvs_cli_json(args);
    assert_true(json_equal(json_object_get(again, "cells"), cells) ||
                json_array_size(json_object_get(again, "cells")) == 16);
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
    snprintf(args, sizeof args, "validate --matrix --quick --json %s,hidden", common);
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
        {"{\"recompute_tok\": 0, \"level\": \"raw61\"}", "raw61", 128},
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
        cmocka_unit_test(the_plan_of_a_file_runs),
        cmocka_unit_test(wrong_plan_files_are_refused_with_their_place),
    };
    return cmocka_run_group_tests_name("validate", tests, tmpdir_make, tmpdir_drop);
}
