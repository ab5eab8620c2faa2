/*
 * bench_curve.c - hit-ratio curves of 100 million accesses (Zipf 0.8 over 10 million blocks, in
 * runs of 8), exact and from a sample, one core; seconds without those of drawing the accesses, and
 * the sample's largest error. One JSON line each.
 */
#include "base/rng.h"
#include "store/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { RUN = 8, BATCH = 1 << 14 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Seconds that adding n accesses takes. */
static double feed(struct kvs_curve *curve, uint64_t n)
{
    static uint64_t key[BATCH];
    struct kvs_rng rng = kvs_rng_stream(1, "bench");
    const struct kvs_zipf zipf = kvs_zipf_make(10000000 / RUN, 0.8);
    double took_s = 0;
    for (uint64_t done = 0; done < n; done += BATCH) {
        for (int i = 0; i < BATCH; i += RUN) {
            const uint64_t first = kvs_zipf_draw(&zipf, &rng) * RUN;
            for (int k = 0; k < RUN; k++)
                key[i + k] = first + (uint64_t)k;
        }
        const double begin_s = now_s();
        if (!kvs_curve_add(curve, key, BATCH))
            abort();
        took_s += now_s() - begin_s;
    }
    const double begin_s = now_s();
    if (!kvs_curve_end(curve))
        abort();
    return took_s + now_s() - begin_s;
}

int main(int argc, char **argv)
{
    const uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 100000000;
    static const double rate[] = {1, 0.1, 0.01, 0.001};
    struct kvs_curve *exact = NULL;
    for (size_t i = 0; i < sizeof rate / sizeof *rate; i++) {
        struct kvs_curve *curve = kvs_curve_new(rate[i]);
        if (!curve)
            return 1;
        const double took_s = feed(curve, n);
        double error = 0, bar = 0;
        if (!exact)
            exact = curve;
        const uint64_t most = (uint64_t)kvs_curve_n_key(exact);
        for (uint64_t size = 20000; size < most; size += size / 10) {
            const struct kvs_curve_point point = kvs_curve_at(curve, size);
            error = fmax(error, fabs(point.hit_frac - kvs_curve_at(exact, size).hit_frac));
            bar = fmax(bar, point.error);
        }
        printf("{\"bench\":\"curve.lru\",\"sample\":%g,\"accesses\":%.0f,\"cpu_s\":%.3f,"
               "\"goal_s\":30,\"largest_error\":%.5f,\"goal_error\":0.01,\"largest_bar\":%.5f}\n",
               rate[i], (double)n, took_s, error, bar);
        if (curve != exact)
            kvs_curve_free(curve);
    }
    kvs_curve_free(exact);
    return 0;
}
