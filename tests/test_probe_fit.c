/* A simulated device with known latency, rate, descriptor cost and jitter: the measuring loop runs
 * it on a simulated clock, and the fit must return what it was made of. */
#include "test.h"

#include "base/rng.h"
#include "probes/fit.h"
#include "probes/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct device {
    double latency_s, descriptor_s, bytes_per_s, jitter; /* jitter: sigma of a lognormal */
    double clock_s;
    struct kvs_rng rng;
    unsigned n_run, fail_after, n_stop;
};

static enum kvs_code device_run(void *self, struct kvs_point *point, double secs,
                                struct kvs_sample *sample, struct kvs_err *err)
{
    struct device *d = self;
    if (d->fail_after && ++d->n_run > d->fail_after)
        return kvs_fail(err, KVS_ERR_IO, "the device fell off the bus");
    double each =
        kvs_link_fit_s(d->latency_s, d->descriptor_s, d->bytes_per_s, (double)point->size_bytes,
                       (double)point->depth, (double)point->n_descriptor);
    each *= kvs_rng_lognormal(&d->rng, 0, d->jitter);
    double n = point->n_descriptor ? (double)point->n_descriptor : 1;
    sample->secs = secs;
    sample->ops = (uint64_t)(secs / each) + 1;
    sample->bytes_per_s = (double)point->size_bytes * n / each;
    sample->bytes = (uint64_t)(sample->bytes_per_s * secs);
    kvs_hist_add(&sample->lat_ns, (uint64_t)(each * 1e9 * (double)point->depth));
    d->clock_s += secs;
    return KVS_OK;
}

static double device_now(void *self)
{
    return ((struct device *)self)->clock_s;
}

static bool device_stopped(void *self)
{
    const struct device *d = self;
    return d->n_stop && d->clock_s >= d->n_stop;
}

static void quiet(void *self, struct kvs_health *health)
{
    (void)self;
    *health = (struct kvs_health){0, 0, 0, 1, 0};
}

static struct kvs_hooks hooks_of(struct device *d)
{
    return (struct kvs_hooks){d, device_stopped, device_now, quiet, quiet, NULL, 1};
}

static const struct kvs_effort effort = {1, 1, 5, 8, 1e9, 3};

/* Measures sizes x depths on d; loads of n_descriptor if that is not 0. */
static unsigned measure(struct device *d, const uint64_t *sizes, unsigned n_size,
                        const uint64_t *depths, unsigned n_depth, uint64_t n_descriptor,
                        struct kvs_points *points)
{
    struct kvs_task tasks[64];
    struct kvs_hooks hooks = hooks_of(d);
    struct kvs_err err = {KVS_OK, ""};
    unsigned n = 0;
    bool complete;
    for (unsigned i = 0; i < n_size; i++)
        for (unsigned k = 0; k < n_depth; k++) {
            struct kvs_point *p = kvs_points_add(points, "sim.read", "sim0");
            p->size_bytes = sizes[i];
            p->depth = depths[k];
            p->n_descriptor = n_descriptor;
            tasks[n++] = (struct kvs_task){p, device_run, d};
        }
    assert_int_equal(kvs_measure(tasks, n, &effort, &hooks, &complete, &err), KVS_OK);
    return n;
}

static void to_obs(const struct kvs_points *points, struct kvs_obs *obs)
{
    for (size_t i = 0; i < points->n; i++) {
        const struct kvs_point *p = points->v[i];
        double n = p->n_descriptor ? (double)p->n_descriptor : 1;
        obs[i] = (struct kvs_obs){
            (double)p->size_bytes, (double)p->depth, (double)p->n_descriptor, p->n_repeat, {0}};
        for (unsigned k = 0; k < p->n_repeat; k++)
            obs[i].s[k] = (double)p->size_bytes * n / p->repeat[k].bytes_per_s;
    }
}

static void assert_rel(double got, double want, double tol, const char *what)
{
    if (!(fabs(got / want - 1) <= tol))
        fail_msg("%s: got %g, want %g within %g %%", what, got, want, 100 * tol);
}

static const uint64_t sizes[] = {4096, 16384, 65536, 262144, 1048576, 4194304, 16777216};
static const uint64_t depths[] = {1, 4, 16, 32, 64};

static void fit_returns_what_the_device_is_made_of(void **state)
{
    (void)state;
    static const struct device devices[] = {
        {80e-6, 1.5e-6, 6.5e9, 0.0, 0, {{0}}, 0, 0, 0}, /* an NVMe drive */
        {20e-6, 0.4e-6, 45e9, 0.0, 0, {{0}}, 0, 0, 0},  /* a 400 Gb/s NIC */
        {10e-6, 3.5e-6, 50e9, 0.0, 0, {{0}}, 0, 0, 0},  /* PCIe 5 copies */
        {4e-3, 50e-6, 200e6, 0.0, 0, {{0}}, 0, 0, 0},   /* a slow disk */
    };
    for (unsigned load = 0; load < 2; load++)
        for (unsigned i = 0; i < 4; i++)
            for (unsigned noisy = 0; noisy < 2; noisy++) {
                struct device d = devices[i];
                struct kvs_points points = {0, 0, NULL};
                struct kvs_obs obs[64];
                struct kvs_link_fit fit;
                struct kvs_err err = {KVS_OK, ""};
                double tol = noisy ? 0.05 : 0.005;
                d.jitter = noisy ? 0.03 : 0;
                d.rng = kvs_rng_stream(i, "jitter");
                unsigned n = measure(&d, sizes, 7, depths, 5, load ? 256 : 0, &points);
                to_obs(&points, obs);
                assert_int_equal(kvs_fit_link(obs, n, 1, &fit, &err), KVS_OK);
                assert_rel(fit.latency_s.value, d.latency_s, tol, "latency");
                assert_rel(fit.bytes_per_s.value, d.bytes_per_s, tol, "rate");
                assert_rel(fit.descriptor_s.value, d.descriptor_s, 2 * tol, "descriptor");
                assert_true(fit.residual_frac <= (noisy ? 0.04 : 1e-4));
                assert_true(fit.worst_frac >= fit.residual_frac);
                double wire = 4096 / d.bytes_per_s;
                assert_rel(kvs_link_fit_knee(&fit, 4096),
                           (d.latency_s + wire) / (d.descriptor_s + wire), 3 * tol, "knee");
                assert_true(fit.latency_s.ci95[0] <= fit.latency_s.value * 1.000001 &&
                            fit.latency_s.value <= fit.latency_s.ci95[1] * 1.000001);
                assert_true(fit.bytes_min == 4096 && fit.bytes_max == 16777216);
                assert_true(fit.depth_min == 1 && fit.depth_max == 64);
                kvs_points_free(&points);
            }
}

static void fit_says_what_the_points_do_not_tell(void **state)
{
    struct device d = {80e-6, 1.5e-6, 6.5e9, 0, 0, kvs_rng_stream(1, "j"), 0, 0, 0};
    struct kvs_points points = {0, 0, NULL};
    struct kvs_obs obs[64];
    struct kvs_link_fit fit;
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    unsigned n = measure(&d, sizes, 7, depths, 1, 0, &points); /* depth 1 only */
    to_obs(&points, obs);
    assert_int_equal(kvs_fit_link(obs, n, 1, &fit, &err), KVS_OK);
    assert_rel(fit.latency_s.value, d.latency_s, 0.001, "latency");
    assert_rel(fit.bytes_per_s.value, d.bytes_per_s, 0.001, "rate");
    assert_false(fit.descriptor_s.known);
    assert_string_equal(fit.descriptor_s.why, "one depth only");
    assert_true(kvs_link_fit_knee(&fit, 4096) <= 0);
    kvs_points_free(&points);

    n = measure(&d, sizes, 1, depths, 1, 0, &points); /* one size: all is latency */
    to_obs(&points, obs);
    assert_int_equal(kvs_fit_link(obs, n, 1, &fit, &err), KVS_OK);
    assert_false(fit.bytes_per_s.known);
    assert_rel(fit.latency_s.value, 80e-6 + 4096 / 6.5e9, 0.001, "latency");
    kvs_points_free(&points);

    d.descriptor_s = 0; /* a device without such a cost: found as none, with a bound */
    n = measure(&d, sizes, 7, depths, 5, 0, &points);
    to_obs(&points, obs);
    assert_int_equal(kvs_fit_link(obs, n, 1, &fit, &err), KVS_OK);
    assert_true(fit.descriptor_s.known && fit.descriptor_s.value <= 0.02 * 80e-6 / 64);
    kvs_points_free(&points);
}

static void fit_refuses_what_is_not_positive(void **state)
{
    struct kvs_obs obs = {4096, 1, 0, 1, {1e-3}};
    struct kvs_link_fit fit;
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    assert_int_equal(kvs_fit_link(&obs, 0, 1, &fit, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "no point to fit");
    obs.s[0] = 0;
    assert_int_equal(kvs_fit_link(&obs, 1, 1, &fit, NULL), KVS_ERR_RANGE);
    obs.s[0] = (double)NAN;
    assert_int_equal(kvs_fit_link(&obs, 1, 1, &fit, NULL), KVS_ERR_RANGE);
    obs.s[0] = 1;
    obs.depth = 0;
    assert_int_equal(kvs_fit_link(&obs, 1, 1, &fit, NULL), KVS_ERR_RANGE);
}

static void measuring_repeats_until_steady(void **state)
{
    struct device d = {80e-6, 1.5e-6, 6.5e9, 0, 0, kvs_rng_stream(1, "j"), 0, 0, 0};
    struct kvs_points points = {0, 0, NULL};
    (void)state;
    measure(&d, sizes, 2, depths, 2, 0, &points);
    for (size_t i = 0; i < points.n; i++) {
        assert_int_equal(points.v[i]->n_repeat, 5);
        assert_true(points.v[i]->steady && !points.v[i]->noisy && !points.v[i]->suspect);
        assert_true(points.v[i]->rate.mad <= 1e-6 * points.v[i]->rate.median);
        assert_int_equal(points.v[i]->repeat[0].n_bin, 1);
    }
    kvs_points_free(&points);
    d.jitter = 0.6;
    size_t n_steady = 0;
    measure(&d, sizes, 2, depths, 2, 0, &points);
    for (size_t i = 0; i < points.n; i++) {
        n_steady += points.v[i]->steady;
        assert_true(points.v[i]->n_repeat == 8 || points.v[i]->steady);
        assert_true(points.v[i]->n_repeat > 4);
    }
    assert_true(n_steady < points.n);
    kvs_points_free(&points);
}

static void a_failure_leaves_the_reason_and_the_other_points(void **state)
{
    struct device good = {80e-6, 1e-6, 6e9, 0, 0, kvs_rng_stream(1, "j"), 0, 0, 0}, bad = good;
    struct kvs_points points = {0, 0, NULL};
    struct kvs_hooks hooks = hooks_of(&good);
    bool complete;
    (void)state;
    bad.fail_after = 3;
    struct kvs_point *a = kvs_points_add(&points, "sim.read", "good");
    struct kvs_point *b = kvs_points_add(&points, "sim.read", "bad");
    a->size_bytes = b->size_bytes = 4096;
    a->depth = b->depth = 1;
    struct kvs_task tasks[] = {{a, device_run, &good}, {b, device_run, &bad}};
    assert_int_equal(kvs_measure(tasks, 2, &effort, &hooks, &complete, NULL), KVS_OK);
    assert_true(complete);
    assert_int_equal(a->status, KVS_MEASURED_OK);
    assert_int_equal(a->n_repeat, 5);
    assert_int_equal(b->status, KVS_FAILED);
    assert_int_equal(b->n_repeat, 2); /* warm-up and two repeats went well */
    assert_string_equal(b->reason, "the device fell off the bus");
    kvs_points_free(&points);
}

static void stopping_keeps_what_was_measured(void **state)
{
    struct device d = {80e-6, 1e-6, 6e9, 0, 0, kvs_rng_stream(1, "j"), 0, 0, 4};
    struct kvs_points points = {0, 0, NULL};
    struct kvs_hooks hooks = hooks_of(&d);
    bool complete;
    (void)state;
    struct kvs_point *p = kvs_points_add(&points, "sim.read", "sim0");
    p->size_bytes = 4096;
    p->depth = 1;
    struct kvs_task task = {p, device_run, &d};
    assert_int_equal(kvs_measure(&task, 1, &effort, &hooks, &complete, NULL), KVS_OK);
    assert_false(complete);
    assert_int_equal(p->n_repeat, 2);
    assert_false(p->steady);
    kvs_points_free(&points);
}

static void judgement_names_its_reasons(void **state)
{
    struct kvs_points points = {0, 0, NULL};
    struct kvs_point *p = kvs_points_add(&points, "sim.read", "sim0");
    static struct kvs_sample sample;
    struct kvs_health bad = {0.5, 0.05, 0.4, 9, 3};
    (void)state;
    kvs_hist_init(&sample.lat_ns);
    sample.bytes_per_s = 2e9;
    sample.secs = 1;
    for (int i = 0; i < 5; i++)
        assert_int_equal(kvs_point_repeat(p, &sample, &bad, 0, NULL), KVS_OK);
    p->ceiling_bytes_per_s = 1e9;
    kvs_point_judge(p, 2, 0);
    assert_true(p->steady && p->noisy && p->suspect);
    assert_string_equal(p->reason,
                        "canary lost 40 % of a core; CPU pressure 50 %; 5.0 % of CPU time "
                        "stolen; 9 tasks on 2 cores; faster than its ceiling of 1.00 GB/s");
    assert_true(isnan(p->p50.median)); /* no latency was taken */
    kvs_points_free(&points);
}

static void a_point_survives_its_json(void **state)
{
    struct device d = {80e-6, 1.5e-6, 6.5e9, 0.05, 0, kvs_rng_stream(1, "j"), 0, 0, 0};
    struct kvs_points points = {0, 0, NULL}, back = {0, 0, NULL};
    struct kvs_doc *doc;
    struct kvs_err err = {KVS_OK, ""};
    (void)state;
    measure(&d, sizes, 1, depths, 1, 0, &points);
    assert_true(kvs_point_set(points.v[0], "pattern", json_string("rand")));
    kvs_point_unavailable(kvs_points_add(&points, "copy.h2d", "gpu0"), KVS_UNAVAILABLE, "no GPU");
    for (size_t i = 0; i < points.n; i++) {
        json_t *json = kvs_point_json(points.v[i]);
        char *text = json_dumps(json, 0);
        assert_int_equal(kvs_doc_parse("p", text, strlen(text), &doc, &err), KVS_OK);
        assert_int_equal(kvs_point_read(kvs_doc_root(doc), &back, &err), KVS_OK);
        json_t *again = kvs_point_json(back.v[i]);
        /* the bootstrap has no seed here, so the interval may differ in its last place */
        assert_true(
            json_equal(json_object_get(json, "repeats"), json_object_get(again, "repeats")));
        assert_true(json_equal(json_object_get(json, "params"), json_object_get(again, "params")) ||
                    !points.v[i]->params);
        assert_int_equal(back.v[i]->status, points.v[i]->status);
        assert_string_equal(back.v[i]->reason, points.v[i]->reason);
        json_decref(json);
        json_decref(again);
        free(text);
        kvs_doc_free(doc);
    }
    char title[128];
    if (back.n == 0)
        fail();
    else
        assert_string_equal(kvs_point_title(back.v[0], title, sizeof title),
                            "sim.read sim0 4.00 KiB x 1 rand");
    kvs_points_free(&points);
    kvs_points_free(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fit_returns_what_the_device_is_made_of),
        cmocka_unit_test(fit_says_what_the_points_do_not_tell),
        cmocka_unit_test(fit_refuses_what_is_not_positive),
        cmocka_unit_test(measuring_repeats_until_steady),
        cmocka_unit_test(a_failure_leaves_the_reason_and_the_other_points),
        cmocka_unit_test(stopping_keeps_what_was_measured),
        cmocka_unit_test(judgement_names_its_reasons),
        cmocka_unit_test(a_point_survives_its_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
