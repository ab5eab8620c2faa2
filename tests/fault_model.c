#include "test.h"

#include "fault.h"

#include "model/codec.h"
#include "model/cost.h"
#include "model/quality.h"

#include <string.h>

static enum kvs_code compute(enum kvs_code code, struct kvs_model *model, struct kvs_hw *hw,
                             struct kvs_err *err)
{
    struct kvs_cost *cost = NULL;
    if (!code)
        code = kvs_cost_new(model, hw, 1, &cost, err);
    if (!code)
        assert_true(kvs_cost_prefill_s(cost, 0, 100, 0) > 0);
    kvs_cost_free(cost);
    kvs_hw_free(hw);
    kvs_model_free(model);
    return code;
}

static enum kvs_code open_both(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_model *model = NULL;
    struct kvs_hw *hw = NULL;
    enum kvs_code code = kvs_model_open("gpt-oss-120b", &model, err);
    if (!code)
        code = kvs_hw_open("h200", &hw, err);
    return compute(code, model, hw, err);
}

static enum kvs_code open_levels(void *ctx, struct kvs_err *err)
{
    (void)ctx;
    struct kvs_codec *codec = NULL;
    struct kvs_quality *quality = NULL;
    enum kvs_code code = kvs_codec_open("gpu-published", &codec, err);
    if (!code)
        code = kvs_quality_open("llama-3-8b", 32, &quality, err);
    kvs_codec_free(codec);
    kvs_quality_free(quality);
    return code;
}

static void failed_reads_are_reported(void **state)
{
    (void)state;
    kvs_fault_every(KVS_FAULT_IO, false, open_both, NULL);
    kvs_fault_every(KVS_FAULT_IO, false, open_levels, NULL);
}

static struct kvs_doc *parse(const char *text)
{
    struct kvs_doc *doc = NULL;
    if (kvs_doc_parse("made.json", text, strlen(text), &doc, NULL))
        fail();
    return doc;
}

/* Parsed before the fault: Jansson's lexer asserts when it finds no memory inside a string. */
static struct kvs_doc *model_doc, *hw_doc;

static enum kvs_code read_both(struct kvs_err *err)
{
    struct kvs_model *model = NULL;
    struct kvs_hw *hw = NULL;
    enum kvs_code code = kvs_model_from(model_doc, &model, err);
    if (code)
        kvs_doc_free(hw_doc);
    else
        code = kvs_hw_from(hw_doc, &hw, err);
    return compute(code, model, hw, err);
}

#define FIG(key, value) "\"" key "\": {\"value\": " value ", \"source\": \"assumed\"}"
#define FIGS                                                                                       \
    FIG("memory_bytes", "1e12")                                                                    \
    "," FIG("peak_flop_per_s", "1e12") "," FIG("mem_bytes_per_s", "1e12") "," FIG(                 \
        "usable_frac", "1") "," FIG("gemm_eff", "1") "," FIG("gemm_half_rows",                     \
                                                             "1") "," FIG("mem_eff", "1")
#define COMPUTE                                                                                    \
    "\"compute\": [{\"model\": \"x\", \"device\": \"x\", \"source\": \"assumed\", \"ref\": "       \
    "\"x\", "                                                                                      \
    "\"layer\": {\"hidden\": 1, \"heads\": 1, \"kv_heads\": 1, \"head_dim\": 1, \"ffn\": 1, "      \
    "\"vocab\": 1}, \"row_tok\": [1], \"context_tok\": [0, 1], \"linear_s\": [1], "                \
    "\"attention_s\": [[1, 2]], \"kv_s\": [1], \"begin_s\": [1], \"out_row\": [1], "               \
    "\"head_s\": [1]}]"
static void readers_report_no_memory(void **state)
{
    static const char model[] =
        "{\"name\": \"m\", \"source\": \"-\", \"layers\": 2, \"hidden\": 64, \"heads\": 4, "
        "\"kv_heads\": 2, \"head_dim\": 16, \"ffn\": 128, \"vocab\": 100, \"moe\": {\"experts\": "
        "4, \"active\": 2, \"expert_ffn\": 8}, \"window\": {\"tokens\": 8}}";
    static const char hw[] =
        "{\"schema\": \"kvsim.profile\", \"schema_version\": \"1.0.0\", \"name\": \"h\", "
        "\"gpus_per_host\": 1, \"links\": [{\"name\": \"l\", \"scope\": \"host\", " FIG(
            "read_bytes_per_s",
            "1e9") ", " FIG("write_bytes_per_s",
                            "1e9") ", " FIG("latency_s",
                                            "0") ", " FIG("descriptor_s",
                                                          "0") "}], \"tiers\": [{\"name\": \"t\", "
                                                               "\"scope\": \"host\", "
                                                               "\"route\": [\"l\"]}], \"gpu\": "
                                                               "{" FIGS
                                                               "," FIG("launch_s", "0") "," FIG(
                                                                   "moe_eff",
                                                                   "1") ", " FIG("attn_eff",
                                                                                 "1") ", " FIG("att"
                                                                                               "n_"
                                                                                               "hal"
                                                                                               "f_"
                                                                                               "row"
                                                                                               "s",
                                                                                               "1") ", " FIG("attn_tail_tok",
                                                                                                             "1") "}, " COMPUTE
                                                                                                                  "}";
    unsigned n = 1, n_failed = 0;
    (void)state;
    for (bool more = true; more; n++) {
        struct kvs_err err = {0};
        model_doc = parse(model);
        hw_doc = parse(hw);
        kvs_fault_at(KVS_FAULT_MEM, n);
        enum kvs_code code = read_both(&err);
        more = kvs_fault_end();
        if (code && code != KVS_ERR_NOMEM)
            fail_msg("call %u: code %d, \"%s\"", n, code, err.msg);
        if (!more)
            assert_int_equal(code, KVS_OK);
        n_failed += code != KVS_OK;
    }
    assert_true(n_failed >= 3); /* the shape, the profile, its GPU and layers, the cost model */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_reads_are_reported),
        cmocka_unit_test(readers_report_no_memory),
    };
    return cmocka_run_group_tests_name("fault_model", tests, NULL, NULL);
}
