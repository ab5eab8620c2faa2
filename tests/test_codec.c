#include "test.h"

#include "model/codec.h"
#include "model/quality.h"

#include <math.h>
#include <string.h>

static void assert_near(double got, double want, double tol)
{
    if (!(fabs(got - want) <= tol))
        fail_msg("%g, want %g", got, want);
}

static struct kvs_doc *open_doc(const char *file)
{
    struct kvs_doc *doc;
    struct kvs_err err = {0};

    if (kvs_doc_open(file, &doc, &err))
        fail_msg("%s", err.msg);
    return doc;
}

static struct kvs_quality *small_table(void)
{
    struct kvs_quality *quality;
    struct kvs_err err = {0};

    if (kvs_quality_from(open_doc("tests/fuzz/quality/small.json"), 2, &quality, &err))
        fail_msg("%s", err.msg);
    return quality;
}

static void raw16_is_in_every_codec(void **state)
{
    struct kvs_codec *codec;
    struct kvs_err err = {0};

    (void)state;
    if (kvs_codec_from(open_doc("tests/fuzz/codec/small.json"), &codec, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(codec->n_level, 2);
    assert_int_equal(codec->decoder, KVS_DECODER_HOST);
    assert_string_equal(codec->level[0].name, "raw16");
    assert_true(codec->level[0].lossless);
    assert_true(codec->level[0].k_bits.value == 16 && codec->level[0].v_bits.value == 16);
    assert_int_equal(kvs_codec_level(codec, "p4"), 1);
    assert_int_equal(kvs_codec_level(codec, "p5"), -1);
    assert_true(codec->level[1].k_bits.value == 5 && codec->level[1].v_bits.value == 4.5);
    assert_true(codec->level[1].decode_bytes_per_s.value == 2e10);
    assert_false(codec->level[1].encode_bytes_per_s.known);
    kvs_codec_free(codec);
}

static void wrong_codecs_are_named(void **state)
{
    static const struct {
        const char *file, *what;
    } cases[] = {
        {"twice", "levels[1].name: \"p4\" is the name of an earlier level"},
        {"raw16", "levels[0].name: \"raw16\" is in every codec; leave it out"},
        {"slash", "levels[0].name: found \"p4/p2\""},
        {"unknown_key", "did you mean \"k_bits\"?"},
        {"bits_not_known", "levels[0].k_bits: not known"},
        {"seventeen_bits", "levels[0].k_bits.value: found 17"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[96];
        struct kvs_codec *codec;
        struct kvs_err err = {0};

        snprintf(file, sizeof file, "tests/fuzz/codec/%s.json", cases[i].file);
        assert_int_equal(kvs_exit_status(kvs_codec_from(open_doc(file), &codec, &err)), 2);
        assert_null(codec);
        if (!strstr(err.msg, cases[i].what))
            fail_msg("%s: %s", file, err.msg);
    }
}

static void nats_follow_straight_lines_between_shares(void **state)
{
    struct kvs_quality *q = small_table();

    (void)state;
    /* layer 0, K: 0.4 at none, 0.1 at half, then down to 0 at all */
    assert_near(kvs_quality_nats(q, 0, false, "p4", 0), .4, 1e-15);
    assert_near(kvs_quality_nats(q, 0, false, "p4", .25), .25, 1e-15);
    assert_near(kvs_quality_nats(q, 0, false, "p4", .5), .1, 1e-15);
    assert_near(kvs_quality_nats(q, 0, false, "p4", .75), .05, 1e-15);
    assert_near(kvs_quality_nats(q, 0, false, "p4", 1), 0, 1e-15);
    assert_near(kvs_quality_nats(q, 1, true, "p4", 0), .05, 1e-15);
    assert_true(kvs_quality_knows(q, "p4"));
    assert_false(kvs_quality_knows(q, "p2"));
    kvs_quality_free(q);
}

static void repair_lowers_what_content_reuse_costs(void **state)
{
    struct kvs_quality *q = small_table();

    (void)state;
    assert_near(kvs_quality_repair_nats(q, "deviation", 0), .5, 1e-15);
    assert_near(kvs_quality_repair_nats(q, "deviation", .075), .26, 1e-15);
    assert_near(kvs_quality_repair_nats(q, "deviation", .15), .02, 1e-15);
    assert_near(kvs_quality_repair_nats(q, "deviation", .575), .01, 1e-15);
    assert_true(isinf(kvs_quality_repair_nats(q, "prayer", .5)));
    kvs_quality_free(q);
}

static void wrong_tables_are_named(void **state)
{
    static const struct {
        const char *file, *what;
    } cases[] = {
        {"negative", "levels[0].k_nats[0]: found -0.4"},
        {"no_ref", "missing key \"ref\""},
        {"short", "levels[0].k_nats: found 1 numbers, want one a layer: 2; the table is of m"},
        {"apart", "levels[2].level: \"p4\" stands apart"},
        {"descending", "levels[1].recomputed: found 0 after 0.5"},
        {"repair_descending", "repair[1].recomputed: found 0.15 after 0.2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char file[96];
        struct kvs_quality *quality;
        struct kvs_err err = {0};

        snprintf(file, sizeof file, "tests/fuzz/quality/%s.json", cases[i].file);
        assert_int_equal(kvs_exit_status(kvs_quality_from(open_doc(file), 2, &quality, &err)), 2);
        assert_null(quality);
        if (!strstr(err.msg, cases[i].what))
            fail_msg("%s: %s", file, err.msg);
    }
}

/* A table is of a shape, and of levels that the codecs have. */
static void shipped_tables_open(void **state)
{
    struct kvs_codec *codec = NULL;
    struct kvs_quality *quality = NULL;
    struct kvs_err err = {0};

    (void)state;
    assert_int_equal(kvs_codec_open("gpu-published", &codec, &err), KVS_OK);
    assert_int_equal(kvs_quality_open("llama-3-8b", 32, &quality, &err), KVS_OK);
    for (uint32_t i = 0; i < codec->n_level; i++)
        assert_true(codec->level[i].lossless || kvs_quality_knows(quality, codec->level[i].name));
    double sum = 0;
    for (uint32_t l = 0; l < 32; l++)
        sum += kvs_quality_nats(quality, l, false, "p8", 0);
    assert_near(sum, .00076, .00001);
    kvs_quality_free(quality);
    kvs_codec_free(codec);
    assert_int_equal(kvs_quality_open("llama-3-8c", 32, &quality, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "llama-3-8b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raw16_is_in_every_codec),
        cmocka_unit_test(wrong_codecs_are_named),
        cmocka_unit_test(nats_follow_straight_lines_between_shares),
        cmocka_unit_test(repair_lowers_what_content_reuse_costs),
        cmocka_unit_test(wrong_tables_are_named),
        cmocka_unit_test(shipped_tables_open),
    };
    return cmocka_run_group_tests_name("codec and quality", tests, NULL, NULL);
}
