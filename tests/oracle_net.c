/*
 * oracle_net.c - shared links: hand-worked cases, and max-min rates against their definition.
 */
#include "test.h"

#include "base/rng.h"
#include "engine/net.h"

#include <math.h>

static struct kvs_flow_spec one_link(uint32_t link, double n_bytes, double bytes_per_s)
{
    struct kvs_flow_spec spec = {.n_hop = 1, .n_bytes = n_bytes};
    spec.link[0] = link;
    spec.s_per_byte[0] = 1 / bytes_per_s;
    spec.work_ns = (int64_t)llround(n_bytes / bytes_per_s * 1e9);
    return spec;
}

static void lone_flow_keeps_integer_times(void **state)
{
    struct kvs_net *net = kvs_net_new(1);
    struct kvs_flow_spec spec = one_link(0, 1e6, 1e9);
    (void)state;
    uint32_t flow = kvs_net_start(net, 123456789, &spec);
    assert_true(kvs_net_end_ns(net, flow) == 123456789 + 1000000);
    for (int64_t at = 0; at <= 1000000; at += 99999)
        assert_true(kvs_net_when(net, flow, at) == 123456789 + at);
    kvs_net_stop(net, 123456789 + 1000000, flow);
    assert_true(kvs_net_when(net, flow, 1000000) == 123456789 + 1000000);
    assert_true(fabs(kvs_net_busy_s(net, 0, 123456789 + 5000000) - 1e-3) < 1e-12);
    kvs_net_free(net);
}

/* Two equal flows, the second half a millisecond later: 0.5 ms alone, then half speed. */
static void two_flows_share_in_halves(void **state)
{
    struct kvs_net *net = kvs_net_new(1);
    struct kvs_flow_spec spec = one_link(0, 1e6, 1e9);
    (void)state;
    uint32_t a = kvs_net_start(net, 0, &spec);
    uint32_t b = kvs_net_start(net, 500000, &spec);
    assert_true(kvs_net_when(net, a, 400000) == 400000); /* the past stays */
    assert_true(kvs_net_end_ns(net, a) == 1500000);
    kvs_net_stop(net, 1500000, a);
    assert_true(kvs_net_when(net, a, 750000) == 1000000);
    assert_true(kvs_net_end_ns(net, b) == 2000000);
    kvs_net_stop(net, 2000000, b);
    assert_true(kvs_net_when(net, b, 500000) == 1500000);
    assert_true(kvs_net_when(net, b, 1000000) == 2000000);
    assert_true(fabs(kvs_net_busy_s(net, 0, 2000000) - 2e-3) < 1e-9);
    kvs_net_free(net);
}

static void flow_stopped_short_never_arrives(void **state)
{
    struct kvs_net *net = kvs_net_new(1);
    struct kvs_flow_spec spec = one_link(0, 1e6, 1e9);
    (void)state;
    uint32_t a = kvs_net_start(net, 0, &spec);
    kvs_net_stop(net, 300000, a);
    assert_true(kvs_net_when(net, a, 300000) == 300000);
    assert_true(kvs_net_when(net, a, 300001) == INT64_MAX);
    kvs_net_free(net);
}

/* Two flows of 1 ms share a link; one is cut to a quarter of its work and then done at 0.5 ms, from
 * where on the other has the link alone. */
static void a_cut_flow_ends_early_and_slows_none(void **state)
{
    (void)state;
    struct kvs_net *net = kvs_net_new(1);
    struct kvs_flow_spec spec = {
        .n_hop = 1, .link = {0}, .s_per_byte = {1e-9}, .n_bytes = 1e6, .work_ns = 1000000};
    uint32_t a = kvs_net_start(net, 0, &spec), b = kvs_net_start(net, 0, &spec);
    double rate = kvs_net_rate(net, b);
    kvs_net_cut(net, a, 250000);
    assert_true(kvs_net_rate(net, a) == rate && kvs_net_rate(net, b) == rate);
    assert_true(kvs_net_end_ns(net, a) == 500000);
    assert_true(kvs_net_when(net, a, 100000) == 200000);
    kvs_net_stop(net, 500000, a);
    assert_true(kvs_net_when(net, a, 250000) == 500000);
    assert_true(kvs_net_end_ns(net, b) == 1250000);
    kvs_net_free(net);
}

/*
 * Max-min fairness by its definition: each flow is at its cap, or crosses a full link on which no
 * flow has a higher rate. And no link is over-full.
 */
static void check_max_min(const struct kvs_net *net, const struct kvs_flow_spec *spec,
                          const uint32_t *flow, uint32_t n_flow, uint32_t n_link, uint64_t seed)
{
    double use[8] = {0}, top[8] = {0};
    for (uint32_t f = 0; f < n_flow; f++)
        for (uint32_t h = 0; h < spec[f].n_hop; h++) {
            double rate = kvs_net_rate(net, flow[f]);
            use[spec[f].link[h]] += rate * spec[f].s_per_byte[h];
            top[spec[f].link[h]] = fmax(top[spec[f].link[h]], rate);
        }
    for (uint32_t j = 0; j < n_link; j++)
        if (use[j] > 1 + 1e-9)
            fail_msg("seed %llu: link %u is over-full: %g", (unsigned long long)seed, j, use[j]);
    for (uint32_t f = 0; f < n_flow; f++) {
        double rate = kvs_net_rate(net, flow[f]);
        double cap = spec[f].n_bytes / ((double)spec[f].work_ns * 1e-9);
        int bound = rate >= cap * (1 - 1e-9);
        for (uint32_t h = 0; h < spec[f].n_hop; h++)
            bound |= use[spec[f].link[h]] >= 1 - 1e-9 && rate >= top[spec[f].link[h]] * (1 - 1e-9);
        if (!bound)
            fail_msg("seed %llu: flow %u could be faster", (unsigned long long)seed, f);
    }
}

static void rates_are_max_min_fair(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "net");
        uint32_t n_link = 1 + (uint32_t)kvs_rng_below(&rng, 8);
        uint32_t n_flow = 0, flow[12];
        struct kvs_flow_spec spec[12];
        double rate[8];
        struct kvs_net *net = kvs_net_new(n_link);
        for (uint32_t j = 0; j < n_link; j++)
            rate[j] = 1e9 * (1 + (double)kvs_rng_below(&rng, 50));
        for (int step = 0; step < 40; step++) {
            if (n_flow < 12 && (n_flow == 0 || kvs_rng_below(&rng, 3))) {
                struct kvs_flow_spec *new_spec = &spec[n_flow];
                double longest = 0;
                *new_spec = (struct kvs_flow_spec){.n_bytes = 1e9 * (1 + kvs_rng_unit(&rng))};
                for (uint32_t j = 0; j < n_link && new_spec->n_hop < KVS_MAX_HOP; j++)
                    if (kvs_rng_below(&rng, 2)) {
                        new_spec->link[new_spec->n_hop] = j;
                        new_spec->s_per_byte[new_spec->n_hop++] = 1 / rate[j];
                        longest = fmax(longest, new_spec->n_bytes / rate[j]);
                    }
                if (!new_spec->n_hop)
                    continue;
                if (kvs_rng_below(&rng, 3) == 0)
                    longest *= 1 + 3 * kvs_rng_unit(&rng); /* slower than its links */
                new_spec->work_ns = (int64_t)ceil(longest * 1e9);
                flow[n_flow++] = kvs_net_start(net, step, new_spec);
            } else if (n_flow) {
                uint32_t f = (uint32_t)kvs_rng_below(&rng, n_flow);
                kvs_net_stop(net, step, flow[f]);
                kvs_net_forget(net, flow[f]);
                flow[f] = flow[--n_flow];
                spec[f] = spec[n_flow];
            }
            check_max_min(net, spec, flow, n_flow, n_link, seed);
        }
        kvs_net_free(net);
    }
}

/* Run to the end event by event: each flow's bytes arrive, and the link was busy for just their
 * time. */
static void bytes_are_conserved(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "bytes");
        struct kvs_net *net = kvs_net_new(1);
        struct kvs_flow_spec spec;
        uint32_t flow[21] = {0}, n = 0;
        double all_s = 0;
        int64_t now = 0;
        for (int left = 20; left || n;) {
            int64_t next = INT64_MAX;
            uint32_t first = 0;
            for (uint32_t f = 0; f < n; f++)
                if (kvs_net_end_ns(net, flow[f]) < next)
                    next = kvs_net_end_ns(net, flow[first = f]);
            int64_t start = now + (int64_t)kvs_rng_below(&rng, 1000000);
            if (left && start < next) {
                now = start;
                spec = one_link(0, 1e5 * (1 + (double)kvs_rng_below(&rng, 20)), 1e9);
                all_s += spec.n_bytes / 1e9;
                flow[n++] = kvs_net_start(net, now, &spec);
                left--;
            } else {
                now = next;
                kvs_net_stop(net, now, flow[first]);
                assert_true(n > 0 && kvs_net_end_ns(net, flow[first]) == now);
                kvs_net_forget(net, flow[first]);
                flow[first] = flow[--n];
            }
        }
        assert_true(fabs(kvs_net_busy_s(net, 0, now) - all_s) < 1e-7);
        kvs_net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lone_flow_keeps_integer_times),
        cmocka_unit_test(two_flows_share_in_halves),
        cmocka_unit_test(flow_stopped_short_never_arrives),
        cmocka_unit_test(a_cut_flow_ends_early_and_slows_none),
        cmocka_unit_test(rates_are_max_min_fair),
        cmocka_unit_test(bytes_are_conserved),
    };
    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
