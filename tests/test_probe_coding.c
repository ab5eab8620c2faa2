#include "test.h"

#include "model/codec.h"
#include "probes/coding.h"

#include "kernels/codec/made.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A section takes SECTION + bytes / RATE; beside compute, all of it a quarter longer. */
#define SECTION 2e-6
#define RATE 3e9

static const uint32_t block_tok[2] = {256, 32};
static const uint64_t section_bytes[2] = {98304, 12288};

static void add(struct kvs_points *points, const char *probe, enum kvs_level level, int b, double s,
                const char *beside)
{
    static const struct kvs_health quiet = {0, 0, 0, 1, 0};
    static struct kvs_sample sample;
    struct kvs_point *p = kvs_points_add(points, probe, "cpu");
    assert_true(kvs_point_set(p, "level", json_string(kvs_level_names[level])) &&
                kvs_point_set(p, "block", json_integer(block_tok[b])) &&
                (!beside || kvs_point_set(p, "beside", json_string(beside))));
    p->size_bytes = section_bytes[b];
    for (int r = 0; r < 5; r++) {
        memset(&sample, 0, sizeof sample);
        kvs_hist_init(&sample.lat_ns);
        sample.secs = 1;
        sample.cpu_ns = -1;
        sample.bytes_per_s = (double)p->size_bytes / s;
        assert_int_equal(kvs_point_repeat(p, &sample, &quiet, 1, NULL), KVS_OK);
    }
    kvs_point_judge(p, 2, 1);
}

static struct kvs_codec *made(const struct kvs_points *points)
{
    struct kvs_coding_size size[KVS_N_LEVEL];
    struct kvs_err err = {0};
    struct kvs_doc *doc;
    struct kvs_codec *codec = NULL;
    for (int i = 0; i < KVS_N_LEVEL; i++)
        size[i] = (struct kvs_coding_size){{4, 4}, 6};
    json_t *json = kvs_codec_json("here", "a law", points, size, block_tok, section_bytes);
    char *text = json_dumps(json, 0);
    if (kvs_doc_parse("codec", text, strlen(text), &doc, &err) || kvs_codec_from(doc, &codec, &err))
        fail_msg("%s", err.msg);
    free(text);
    json_decref(json);
    return codec;
}

static void near(double got, double want)
{
    if (!(fabs(got / want - 1) <= 1e-6))
        fail_msg("found %.12g, want %.12g", got, want);
}

static void two_sizes_tell_what_a_section_costs(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    (void)state;
    for (int b = 0; b < 2; b++)
        add(&points, "codec.decode", KVS_E3, b, SECTION + (double)section_bytes[b] / RATE, NULL);
    add(&points, "codec.encode", KVS_E3, 0, 1e-4, NULL);
    struct kvs_codec *codec = made(&points);
    const struct kvs_codec_level *e3 = &codec->level[kvs_codec_level(codec, "e3")];
    near(e3->decode_bytes_per_s.value, RATE);
    near(e3->section_s.value, SECTION);
    near(e3->encode_bytes_per_s.value, 98304 / 1e-4);
    assert_int_equal(e3->decode_bytes_per_s.source, KVS_MEASURED);
    near(e3->channel_bytes.value, 6);
    assert_false(codec->level[kvs_codec_level(codec, "e2")].decode_bytes_per_s.known);
    kvs_codec_free(codec);
    /* what decodes slower beside compute is said to, every level alike */
    add(&points, "codec.decode", KVS_E3, 0, 1.25 * (SECTION + 98304 / RATE), "prefill.layer");
    codec = made(&points);
    e3 = &codec->level[kvs_codec_level(codec, "e3")];
    near(e3->decode_bytes_per_s.value, RATE / 1.25);
    near(e3->section_s.value, 1.25 * SECTION);
    kvs_codec_free(codec);
    kvs_points_free(&points);
}

static void every_level_is_encoded_and_decoded(void **state)
{
    uint16_t *x[4];
    struct kvs_coding *coding;
    struct kvs_err err = {0};
    struct kvs_points points = {0, 0, NULL};
    static struct kvs_sample sample;
    (void)state;
    for (int i = 0; i < 4; i++)
        x[i] = kvs_kvf_made((uint64_t)i + 1, 96, 128, .3, KVS_HALF_BF16);
    struct kvs_coding_config config = {.n_layer = 2,
                                       .n_kv_head = 2,
                                       .head_dim = 64,
                                       .n_tok = 96,
                                       .x = (const uint16_t *const *)x,
                                       .n_sink = 4,
                                       .block_tok = {64, 32}};
    if (kvs_coding_open(&config, &coding, &err))
        fail_msg("%s", err.msg);
    assert_true(kvs_coding_bytes(coding, false, 64) == 64 * 128 * 2);
    assert_true(kvs_coding_bytes(coding, true, 64) == 4 * 96 * 128 * 2);
    /* raw: 96 rows of 256 bytes in two sections, each padded to pages, and the head's share */
    struct kvs_coding_size e2 = kvs_coding_size(coding, KVS_E2);
    struct kvs_coding_size raw = kvs_coding_size(coding, KVS_RAW16);

    assert_true(e2.bits[KVS_V] < kvs_coding_size(coding, KVS_P8).bits[KVS_V]);
    assert_true(raw.bits[KVS_K] == 16 && raw.channel_bytes == 64. / 128); /* a section's head */
    /* mean and scale of each channel, its stream's state */
    assert_true(e2.channel_bytes > 4 && e2.channel_bytes < 12);
    for (int level = 0; level < KVS_N_LEVEL; level++)
        for (int encode = 0; encode < 2; encode++) {
            struct kvs_point *p =
                kvs_points_add(&points, encode ? "codec.encode" : "codec.decode", "cpu");
            assert_true(kvs_point_set(p, "level", json_string(kvs_level_names[level])) &&
                        kvs_point_set(p, "block", json_integer(level % 2 ? 32 : 64)));
            p->size_bytes = kvs_coding_bytes(coding, encode, level % 2 ? 32 : 64);
            memset(&sample, 0, sizeof sample);
            kvs_hist_init(&sample.lat_ns);
            if (kvs_coding_run(coding, p, 1e-4, &sample, &err))
                fail_msg("%s", err.msg);
            assert_true(sample.ops > 0 && sample.bytes_per_s > 0 &&
                        sample.bytes == sample.ops * p->size_bytes);
        }
    assert_true(kvs_point_set(points.v[0], "block", json_integer(48)));
    assert_int_equal(kvs_coding_run(coding, points.v[0], 1e-4, &sample, &err), KVS_ERR_ARG);
    kvs_coding_close(coding);
    kvs_points_free(&points);
    for (int i = 0; i < 4; i++)
        free(x[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sizes_tell_what_a_section_costs),
        cmocka_unit_test(every_level_is_encoded_and_decoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
