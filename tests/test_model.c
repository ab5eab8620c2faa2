#include "test.h"

#include "base/data.h"
#include "model/model.h"

#include <string.h>

static struct kvs_model *open_model(const char *name)
{
    struct kvs_model *model;
    struct kvs_err err = {0};
    if (kvs_model_open(name, &model, &err))
        fail_msg("%s", err.msg);
    return model;
}

/* From the models' published configurations: 2 * layers * KV heads * head dim * 2 bytes; MLA:
 * layers * (512 + 64) * 2 bytes. */
static void kv_bytes_of_a_token_are_exact(void **state)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } hand[] = {
        {"llama-3.1-8b", 131072},  {"llama-3.1-70b", 327680}, {"llama-3.1-405b", 516096},
        {"llama-3.2-3b", 114688},  {"llama-2-7b", 524288},    {"llama-2-13b", 819200},
        {"llama-2-70b", 327680},   {"llama-65b", 2621440},    {"mistral-7b", 131072},
        {"yi-34b", 245760},        {"codellama-34b", 196608}, {"qwen2.5-7b", 57344},
        {"qwen2.5-32b", 262144},   {"qwen2.5-72b", 327680},   {"qwen3-8b", 147456},
        {"qwen3-32b", 262144},     {"qwen3-30b-a3b", 98304},  {"qwen3-235b-a22b", 192512},
        {"gpt-oss-120b", 73728},   {"deepseek-v3", 70272},    {"smollm2-135m", 23040},
        {"llama-3.3-70b", 327680}, {"llama-3-8b", 131072},    {"llama-3-70b", 327680},
        {"llama-13b", 819200},     {"qwen3-4b", 147456},      {"qwen-72b", 2621440},
        {"internlm-20b", 1228800}, {"gpt-oss-20b", 49152},
    };
    (void)state;
    for (size_t i = 0; i < sizeof hand / sizeof *hand; i++) {
        uint64_t bytes;
        struct kvs_model *model = open_model(hand[i].name);
        assert_int_equal(kvs_model_kv_bytes(model, 1, &bytes, NULL), KVS_OK);
        assert_int_equal(bytes, hand[i].bytes);
        assert_int_equal(kvs_model_kv_bytes(model, 1000, &bytes, NULL), KVS_OK);
        assert_int_equal(bytes, 1000 * hand[i].bytes);
        assert_string_equal(kvs_model_name(model), hand[i].name);
        kvs_model_free(model);
    }
}

static void every_shape_that_comes_along_opens(void **state)
{
    unsigned n = 0;
    char **names = kvs_data_names("configs/models");
    (void)state;
    assert_non_null(names);
    for (; names[n]; n++)
        kvs_model_free(open_model(names[n]));
    assert_int_equal(n, 29);
    kvs_data_names_free(names);
}

/* Parameters as the model cards count them, in 16 bits; within 1 %. */
static void weights_match_the_model_cards(void **state)
{
    static const struct {
        const char *name;
        double bytes;
    } cards[] = {
        {"llama-3.1-8b", 16.06e9}, {"llama-3.1-70b", 141.1e9}, {"llama-3.1-405b", 811.7e9},
        {"llama-3.2-3b", 6.43e9},  {"llama-2-7b", 13.48e9},    {"llama-2-13b", 26.03e9},
        {"qwen3-30b-a3b", 61.1e9}, {"qwen3-235b-a22b", 470e9}, {"smollm2-135m", 0.269e9},
        {"mistral-7b", 14.5e9},    {"qwen3-4b", 8.04e9},       {"qwen-72b", 144.6e9},
        {"internlm-20b", 40.2e9},  {"llama-13b", 26.0e9},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        struct kvs_model *model = open_model(cards[i].name);
        double ratio = kvs_model_weight_bytes(model) / cards[i].bytes;
        if (!(ratio > 0.99 && ratio < 1.01))
            fail_msg("%s: %g of the model card's bytes", cards[i].name, ratio);
        kvs_model_free(model);
    }
}

static void a_windowed_layer_needs_only_its_window(void **state)
{
    struct kvs_model *model = open_model("gpt-oss-120b");
    (void)state;
    assert_int_equal(kvs_model_window_tok(model, 0), 128);
    assert_int_equal(kvs_model_window_tok(model, 1), 0);
    /* 18 layers hold 128 tokens, 18 hold all 1000; 2 * 8 * 64 * 2 bytes each */
    assert_true(kvs_model_kv_needed_bytes(model, 1000) == 18.0 * 2048 * (128 + 1000));
    assert_true(kvs_model_kv_needed_bytes(model, 100) == 36.0 * 2048 * 100);
    kvs_model_free(model);
}

static void each_rank_loads_at_least_one_kv_head(void **state)
{
    struct kvs_model *llama = open_model("llama-3.1-70b"), *mla = open_model("deepseek-v3");
    (void)state;
    assert_true(kvs_model_kv_share(llama, 1) == 1);
    assert_true(kvs_model_kv_share(llama, 4) == 0.25);
    assert_true(kvs_model_kv_share(llama, 16) == 0.125); /* 8 KV heads */
    assert_true(kvs_model_kv_share(mla, 8) == 1);
    kvs_model_free(llama);
    kvs_model_free(mla);
}

static void expect_error(const char *text, const char *message)
{
    struct kvs_doc *doc;
    struct kvs_model *model;
    struct kvs_err err = {0};
    if (!kvs_doc_parse("m.json", text, strlen(text), &doc, &err)) {
        assert_int_not_equal(kvs_model_from(doc, &model, &err), KVS_OK);
        assert_null(model);
    }
    if (!strstr(err.msg, message))
        fail_msg("\"%s\" does not hold \"%s\"", err.msg, message);
}

#define SHAPE(more)                                                                                \
    "{\"name\": \"m\", \"source\": \"s\", \"layers\": 2, \"hidden\": 64, \"heads\": 4, "           \
    "\"head_dim\": 16, \"ffn\": 128, \"vocab\": 100" more "}"

static void wrong_shapes_are_named(void **state)
{
    (void)state;
    expect_error(SHAPE(""), "missing key \"kv_heads\"");
    expect_error(SHAPE(", \"kv_heads\": 3"), "m.json: kv_heads: found 3, want a divisor of the 4");
    expect_error(SHAPE(", \"kv_heads\": 2, \"layer\": 3"), "\"layers\"");
    expect_error(SHAPE(", \"kv_heads\": 2, \"kv_bits\": \"x\""), "m.json: kv_bits");
    expect_error(SHAPE(", \"kv_heads\": 2, \"moe\": {\"experts\": 4, \"active\": 5, "
                       "\"expert_ffn\": 8}"),
                 "m.json: moe.active: 5 is more than the 4 experts");
    expect_error(SHAPE(", \"kv_heads\": 2, \"window\": {\"tokens\": 0}"), "m.json: window.tokens");
    expect_error(SHAPE(", \"kv_heads\": 2, \"mla\": {\"kv_lora\": 8}"), "m.json: mla: missing key");
    expect_error("[]", "m.json: ");
}

static void an_unknown_name_gets_the_nearest(void **state)
{
    struct kvs_model *model;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_model_open("llama-3.1-8", &model, &err), KVS_ERR_ARG);
    assert_null(model);
    assert_non_null(strstr(err.msg, "llama-3.1-8b"));
}

static void too_many_tokens_do_not_wrap(void **state)
{
    uint64_t bytes = 1;
    struct kvs_err err = {0};
    struct kvs_model *model = open_model("llama-65b");
    (void)state;
    assert_int_equal(kvs_model_kv_bytes(model, UINT64_MAX / 1000, &bytes, &err), KVS_ERR_RANGE);
    assert_int_equal(bytes, 0);
    kvs_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kv_bytes_of_a_token_are_exact),
        cmocka_unit_test(every_shape_that_comes_along_opens),
        cmocka_unit_test(weights_match_the_model_cards),
        cmocka_unit_test(a_windowed_layer_needs_only_its_window),
        cmocka_unit_test(each_rank_loads_at_least_one_kv_head),
        cmocka_unit_test(wrong_shapes_are_named),
        cmocka_unit_test(an_unknown_name_gets_the_nearest),
        cmocka_unit_test(too_many_tokens_do_not_wrap),
    };
    return cmocka_run_group_tests_name("model", tests, NULL, NULL);
}
