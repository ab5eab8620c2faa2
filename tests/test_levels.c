#include "test.h"

#include "plan/levels.h"
#include "plan/menu.h"

#include <math.h>
#include <string.h>

/* Two layers of one KV head of 64; hidden states of 32 are a quarter of K and V. */
static const char shape[] =
    "{\"name\": \"m\", \"source\": \"-\", \"layers\": 2, \"hidden\": 32, \"heads\": 1, "
    "\"kv_heads\": 1, \"head_dim\": 64, \"ffn\": 64, \"vocab\": 10}";
#define FIG(v) "{\"value\": " v ", \"source\": \"assumed\"}"
#define LEVEL(name, bits, rate)                                                                    \
    "{\"name\": \"" name "\", \"k_bits\": " FIG(bits) ", \"v_bits\": " FIG(                        \
        bits) ", \"encode_bytes_per_s\": null, \"decode_bytes_per_s\": " rate "}"
static const char codec_text[] = "{\"name\": \"c\", \"decoder\": \"host\", \"levels\": [" LEVEL(
    "p8", "8", FIG("2e9")) ", " LEVEL("p4", "4",
                                      FIG("1e9")) ", " LEVEL("p2", "2",
                                                             "null") ", "
                                                                     "" LEVEL("p1", "1",
                                                                              FIG("1e9")) "]}";
static const char quality_text[] =
    "{\"model\": \"m\", \"levels\": ["
    "{\"level\": \"p8\", \"k_nats\": [0.002, 0.001], \"v_nats\": [0.001, 0.001], \"source\": "
    "\"measured\", \"ref\": \"r\"}, "
    "{\"level\": \"p4\", \"k_nats\": [0.2, 0.1], \"v_nats\": [0.05, 0.05], \"source\": "
    "\"measured\", \"ref\": \"r\"}, "
    "{\"level\": \"p2\", \"k_nats\": [1, 1], \"v_nats\": [1, 1], \"source\": \"measured\", "
    "\"ref\": \"r\"}]}";

struct setup {
    struct kvs_model *model;
    struct kvs_codec *codec;
    struct kvs_quality *quality;
    struct kvs_levels_config config;
};

static struct kvs_doc *parse(const char *text)
{
    struct kvs_doc *doc;
    struct kvs_err err = {0};

    if (kvs_doc_parse("made.json", text, strlen(text), &doc, &err))
        fail_msg("%s", err.msg);
    return doc;
}

static struct setup setup(void)
{
    struct setup s;
    struct kvs_err err = {0};

    if (kvs_model_from(parse(shape), &s.model, &err) ||
        kvs_codec_from(parse(codec_text), &s.codec, &err) ||
        kvs_quality_from(parse(quality_text), 2, &s.quality, &err))
        fail_msg("%s", err.msg);
    s.config = (struct kvs_levels_config){.model = s.model,
                                          .codec = s.codec,
                                          .quality = s.quality,
                                          .n_decoder = 2,
                                          .n_frac = 3,
                                          .load_s_per_byte = 1e-8};
    return s;
}

static void end(struct setup *s)
{
    kvs_quality_free(s->quality);
    kvs_codec_free(s->codec);
    kvs_model_free(s->model);
}

static void a_pair_has_the_sizes_rates_and_losses_of_its_halves(void **state)
{
    struct setup s = setup();
    const struct kvs_strs names = {1, {"p8/p4"}};
    struct kvs_levels *levels;
    struct kvs_err err = {0};

    (void)state;
    s.config.names = &names;
    if (kvs_levels_new(&s.config, &levels, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(levels->n, 2);
    const struct kvs_table_level *level = &levels->level[1];
    assert_string_equal(level->name, "p8/p4");
    assert_true(levels->bits[1] == 6 && level->k_ratio == .5 && level->v_ratio == .25);
    /* a raw byte: half at 2 GB/s, half at 1 GB/s, by two threads: 0.375 ns */
    assert_true(fabs(level->decode_bytes_per_s - 1 / .375e-9) < 1);
    assert_false(level->on_gpu);
    /* layer 0: 0.002 + 0.05 nats with nothing exact, half of that with half */
    assert_int_equal(level->distortion[0], 52000000);
    assert_int_equal(level->distortion[1], 26000000);
    assert_int_equal(level->distortion[2], 0);
    assert_int_equal(level->distortion[3], 51000000);
    kvs_levels_free(levels);
    end(&s);
}

/* p2 has no rate, p1 no loss: left are the four pairs of p8 and p4 and those with raw16. */
/* 64 channels of 64 tokens: 2 KiB at 4 bits and 4 KiB at 8, and a page holds both. 16 times as many
 * tokens: 32 and 64 KiB; at 4 bits 8 pages, whole. */
static void a_section_is_whole_pages(void **state)
{
    static const char *const names[] = {"p4"};
    struct kvs_strs wanted = {.n = 1, .v = {names[0]}};
    struct setup s = setup();
    struct kvs_levels *levels;
    struct kvs_err err = {0};

    (void)state;
    struct kvs_codec_level one = {.k_bits = {.value = 1}, .v_bits = {.value = 2}};

    assert_true(kvs_codec_section_bytes(&one, false, 1, 1) == 4096);
    assert_true(kvs_codec_section_bytes(&one, false, 256, 128) == 4096);
    assert_true(kvs_codec_section_bytes(&one, false, 256, 129) == 8192);
    assert_true(kvs_codec_section_bytes(&one, true, 256, 128) == 8192);
    /* 8 of the 32 bytes that 256 tokens of a channel take are there for 1 token, too: 8.09 */
    one.channel_bytes = (struct kvs_figure){.value = 8, .known = true};
    assert_true(kvs_codec_section_bytes(&one, false, 256, 128) == 4096);
    assert_true(kvs_codec_section_bytes(&one, false, 1, 506) == 4096);
    assert_true(kvs_codec_section_bytes(&one, false, 1, 507) == 8192);
    s.config.names = &wanted;
    s.config.block_tok = 64;
    assert_int_equal(kvs_levels_new(&s.config, &levels, &err), KVS_OK);
    assert_true(levels->level[0].k_ratio == 1);
    assert_true(levels->level[1].k_ratio == .5 && levels->bits[1] == 8);
    kvs_levels_free(levels);
    s.config.block_tok = 1024;
    assert_int_equal(kvs_levels_new(&s.config, &levels, &err), KVS_OK);
    assert_true(levels->level[1].k_ratio == .25 && levels->level[1].v_ratio == .25);
    kvs_levels_free(levels);
    end(&s);
}

static void without_names_the_menu_is_what_trades_best(void **state)
{
    struct setup s = setup();
    struct kvs_levels *levels;
    struct kvs_err err = {0};

    (void)state;
    if (kvs_levels_new(&s.config, &levels, &err))
        fail_msg("%s", err.msg);
    assert_true(levels->n > 3);
    assert_string_equal(levels->level[0].name, "raw16");
    assert_string_equal(levels->level[levels->n - 1].name, "p4");
    for (uint32_t i = 1; i < levels->n; i++) {
        assert_true(levels->bits[i] < levels->bits[i - 1]);
        assert_null(strstr(levels->level[i].name, "p2"));
        assert_null(strstr(levels->level[i].name, "p1"));
        /* K loses 3 times what V does: p4/p8 saves as much as p8/p4 and loses more */
        assert_string_not_equal(levels->level[i].name, "p4/p8");
    }
    kvs_levels_free(levels);
    end(&s);
}

/* Layer 0 loses 16 times as much by V as by K, layer 1 the other way round: each wants the one two
 * levels finer than the other, though for both together equal levels are best. */
static void the_menu_has_what_single_layers_want(void **state)
{
    enum { N = 4, LAYERS = 2 };
    const double bits[N] = {6, 5, 4, 3}, nats[N] = {1, 4, 16, 64};
    struct kvs_menu_pair pair[N * N];
    double lost[N * N][LAYERS];
    uint32_t n;
    struct kvs_err err = {0};
    const struct kvs_menu_in in = {
        .n_pair = N * N, .n_layer = LAYERS, .nats = &lost[0][0], .raw_s = 16, .budget_nats = 40};

    (void)state;
    for (uint32_t k = 0; k < N; k++)
        for (uint32_t v = 0; v < N; v++) {
            const uint32_t i = k * N + v;

            lost[i][0] = nats[k] / 16 + nats[v];
            lost[i][1] = nats[k] + nats[v] / 16;
            pair[i] =
                (struct kvs_menu_pair){k, v, (bits[k] + bits[v]) / 2, lost[i][0] + lost[i][1]};
        }
    if (kvs_menu_choose(&in, 4, pair, &n, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(n, 4);
    bool fine_v = false, fine_k = false;
    for (uint32_t i = 0; i < n; i++) {
        fine_v |= pair[i].v + 2 == pair[i].k;
        fine_k |= pair[i].k + 2 == pair[i].v;
        assert_true(i == 0 || pair[i].time_s <= pair[i - 1].time_s);
    }
    assert_true(fine_v && fine_k);
}

static void hidden_states_are_offered_where_they_are_smaller(void **state)
{
    struct setup s = setup();
    struct kvs_levels *levels;
    struct kvs_err err = {0};

    (void)state;
    s.config.codec = NULL;
    s.config.hidden = true;
    if (kvs_levels_new(&s.config, &levels, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(levels->n, 2);
    assert_string_equal(levels->level[1].name, "hidden");
    assert_true(levels->level[1].k_ratio == .25 && levels->level[1].projected);
    kvs_levels_free(levels);
    s.model->hidden = 128; /* as many bytes as K and V */
    if (kvs_levels_new(&s.config, &levels, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(levels->n, 1);
    kvs_levels_free(levels);
    end(&s);
}

static void levels_that_cannot_be_planned_with_are_named(void **state)
{
    static const struct {
        const char *name, *what;
    } cases[] = {{"p5", "has no level \"p5\"; did you mean \"p"},
                 {"p4/p9", "has no level \"p9\""},
                 {"p2", "no one measured how fast codec c decodes p2"},
                 {"p8/p1", "no quality table says what p1 costs"}};
    struct setup s = setup();

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct kvs_strs names = {1, {cases[i].name}};
        struct kvs_levels *levels;
        struct kvs_err err = {0};

        s.config.names = &names;
        assert_int_equal(kvs_levels_new(&s.config, &levels, &err), KVS_ERR_ARG);
        assert_null(levels);
        if (!strstr(err.msg, cases[i].what))
            fail_msg("%s", err.msg);
    }
    end(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_has_the_sizes_rates_and_losses_of_its_halves),
        cmocka_unit_test(a_section_is_whole_pages),
        cmocka_unit_test(without_names_the_menu_is_what_trades_best),
        cmocka_unit_test(the_menu_has_what_single_layers_want),
        cmocka_unit_test(hidden_states_are_offered_where_they_are_smaller),
        cmocka_unit_test(levels_that_cannot_be_planned_with_are_named),
    };
    return cmocka_run_group_tests_name("levels", tests, NULL, NULL);
}
