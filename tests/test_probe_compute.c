#include "test.h"

#include "model/hardware.h"
#include "probes/compute.h"
#include "probes/prefill.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A device of known laws: what kvprobe would have measured on it. */
#define PEAK 1e11 /* FLOP per second */
#define HALF 8.   /* rows */
#define MEM 4e9   /* elements of weights per second */
#define LAUNCH 1e-6
#define ATTN 4e10
#define TAIL 32. /* keys */

static const struct kvs_weights_shape shape = {.n_layer = 2,
                                               .hidden = 512,
                                               .ffn = 1024,
                                               .n_head = 8,
                                               .n_kv_head = 4,
                                               .head_dim = 64,
                                               .n_vocab = 1000};
static const uint32_t rows[] = {1, 8, 64, 512}, contexts[] = {0, 512, 4096};

static double gemm_s(double m, double n, double k)
{
    return LAUNCH + fmax(2 * n * k * (m + HALF) / PEAK, n * k / MEM);
}

static double attention_s(double m, double context)
{
    return LAUNCH + 4 * 512 * m * (context + (m + 1) / 2 + TAIL) / ATTN;
}

static double linear_s(double m)
{
    return gemm_s(m, 1024, 512) + gemm_s(m, 512, 512) + gemm_s(m, 2048, 512) + gemm_s(m, 512, 1024);
}

/* A point whose median operation took s seconds. */
static struct kvs_point *add(struct kvs_points *points, const char *probe, uint32_t n_row,
                             uint32_t context, double s)
{
    static const struct kvs_health quiet = {0, 0, 0, 1, 0};
    static struct kvs_sample sample;
    struct kvs_point *p = kvs_points_add(points, probe, "cpu");
    assert_true(kvs_point_set(p, "rows", json_integer(n_row)));
    assert_true(!context || kvs_point_set(p, "context", json_integer(context)));
    p->size_bytes = kvs_prefill_bytes(&shape, p);
    for (int r = 0; r < 5; r++) {
        memset(&sample, 0, sizeof sample);
        kvs_hist_init(&sample.lat_ns);
        sample.secs = 1;
        sample.cpu_ns = -1;
        sample.bytes_per_s = (double)p->size_bytes / s * (1 + .01 * (r - 2)); /* the median is s */
        assert_int_equal(kvs_point_repeat(p, &sample, &quiet, 1, NULL), KVS_OK);
    }
    kvs_point_judge(p, 2, 1);
    return p;
}

static struct kvs_points make(void)
{
    static const uint32_t matrix[][2] = {{1024, 512}, {512, 512}, {2048, 512}, {512, 1024}};
    struct kvs_points points = {0, 0, NULL};
    for (int i = 0; i < 4; i++) {
        for (int c = 0; c < 3; c++)
            add(&points, "prefill.attention", rows[i], contexts[c],
                attention_s(rows[i], contexts[c]));
        add(&points, "prefill.layer", rows[i], 0, linear_s(rows[i]) + attention_s(rows[i], 0));
        add(&points, "prefill.layer", rows[i], 4096,
            linear_s(rows[i]) + attention_s(rows[i], 4096));
        add(&points, "prefill.kv", rows[i], 0, gemm_s(rows[i], 512, 512));
        add(&points, "prefill.begin", rows[i], 0, 1e-5 + 1e-8 * rows[i]);
        for (int k = 0; k < 4; k++) {
            double s = gemm_s(rows[i], matrix[k][0], matrix[k][1]);
            struct kvs_point *p = add(&points, "prefill.gemm", rows[i], 0, s);
            assert_true(kvs_point_set(p, "n", json_integer(matrix[k][0])));
            assert_true(kvs_point_set(p, "k", json_integer(matrix[k][1])));
            p->size_bytes = kvs_prefill_bytes(&shape, p);
            for (unsigned r = 0; r < p->n_repeat; r++)
                p->repeat[r].bytes_per_s = (double)p->size_bytes / s;
            kvs_point_judge(p, 2, 1);
        }
    }
    add(&points, "prefill.head", 1, 0, 1e-3);
    add(&points, "prefill.head", 8, 0, 2e-3);
    add(&points, "prefill.launch", 1, 0, LAUNCH);
    return points;
}

static const struct kvs_compute_of of = {"made", "a law", &shape, 4, 1e9};

static double at(const json_t *entry, const char *key, size_t i)
{
    return json_number_value(json_array_get(json_object_get(entry, key), i));
}

static void near(double got, double want, double within)
{
    if (!(fabs(got / want - 1) <= within))
        fail_msg("found %.9g, want %.9g", got, want);
}

static void an_entry_holds_what_was_measured(void **state)
{
    struct kvs_points points = make();
    const char *why;
    json_t *entry = kvs_compute_entry(&of, &points, &why);
    (void)state;
    assert_non_null(entry);
    assert_null(why);
    for (size_t i = 0; i < 4; i++) {
        near(at(entry, "linear_s", i), linear_s(rows[i]), 1e-9);
        near(at(entry, "kv_s", i), gemm_s(rows[i], 512, 512), 1e-9);
        for (size_t c = 0; c < 3; c++)
            near(json_number_value(
                     json_array_get(json_array_get(json_object_get(entry, "attention_s"), i), c)),
                 attention_s(rows[i], contexts[c]), 1e-9);
    }
    near(at(entry, "head_s", 1), 2e-3, 1e-9);
    assert_true(json_number_value(json_object_get(entry, "rel_error")) < 1e-6);
    json_decref(entry);
    kvs_points_free(&points);
}

/* The reader takes it, whatever the noise: times are made to never fall. */
static void noise_never_makes_an_entry_that_is_refused(void **state)
{
    struct kvs_points points = make();
    const char *why;
    struct kvs_err err = {0};
    (void)state;
    for (size_t i = 0; i < points.n; i++) {
        points.v[i]->rate.median *= i % 3 == 0 ? 3 : i % 3 == 1 ? .2 : 1;
        points.v[i]->noisy = true;
    }
    json_t *entry = kvs_compute_entry(&of, &points, &why);
    assert_non_null(entry);
    assert_true(json_number_value(json_object_get(entry, "rel_error")) >= .25);
    char *text = json_dumps(entry, 0);
    struct kvs_doc *doc;
    struct kvs_measured m;
    assert_int_equal(kvs_doc_parse("entry", text, strlen(text), &doc, &err), KVS_OK);
    if (kvs_measured_json(kvs_doc_root(doc), &m, &err))
        fail_msg("%s", err.msg);
    kvs_doc_free(doc);
    free(text);
    json_decref(entry);
    kvs_points_free(&points);
}

static void a_point_that_is_missing_is_said(void **state)
{
    struct kvs_points points = make();
    const char *why;
    (void)state;
    kvs_point_unavailable(points.v[5], KVS_FAILED, "no such device"); /* K and V of one row */
    assert_null(kvs_compute_entry(&of, &points, &why));
    assert_non_null(why);
    kvs_points_free(&points);
}

static double figure(const json_t *gpu, const char *key)
{
    return json_number_value(json_object_get(json_object_get(gpu, key), "value"));
}

static void operator_figures_are_those_of_the_law(void **state)
{
    struct kvs_points points = make();
    const char *why;
    json_t *gpu = kvs_compute_gpu(&of, &points, &why);
    (void)state;
    assert_non_null(gpu);
    near(figure(gpu, "peak_flop_per_s") * figure(gpu, "gemm_eff"), PEAK, .02);
    near(figure(gpu, "gemm_half_rows"), HALF, .15);
    near(figure(gpu, "mem_bytes_per_s") * figure(gpu, "mem_eff"), 2 * MEM, .02);
    near(figure(gpu, "peak_flop_per_s") * figure(gpu, "attn_eff"), ATTN, .02);
    near(figure(gpu, "attn_tail_tok"), TAIL, .1);
    near(figure(gpu, "launch_s"), LAUNCH, 1e-9);
    near(figure(gpu, "memory_bytes"), 1e9, 1e-9);
    json_decref(gpu);
    kvs_points_free(&points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_holds_what_was_measured),
        cmocka_unit_test(noise_never_makes_an_entry_that_is_refused),
        cmocka_unit_test(a_point_that_is_missing_is_said),
        cmocka_unit_test(operator_figures_are_those_of_the_law),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
