#include "busy.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE_S 0.02 /* of what runs beside: how soon it ends after the measured part */
#define START_S 10   /* how long one may take to move its first bytes */

struct side {
    const struct kvs_beside *beside;
    atomic_int *over;
    atomic_int state; /* 0: nothing moved yet, 1: busy, 2: failed */
    double secs, bytes;
    struct kvs_sample *sample;
    struct kvs_err err;
    pthread_t thread;
};

static void *keep_busy(void *self)
{
    struct side *side = self;
    const struct kvs_beside *b = side->beside;
    while (!atomic_load(side->over)) {
        memset(side->sample, 0, sizeof *side->sample);
        kvs_hist_init(&side->sample->lat_ns);
        if (b->run(b->self, b->point, SLICE_S, side->sample, &side->err) != KVS_OK) {
            atomic_store(&side->state, 2);
            break;
        }
        side->secs += side->sample->secs;
        side->bytes += (double)side->sample->bytes;
        if (side->sample->bytes)
            atomic_store(&side->state, 1);
    }
    return NULL;
}

/* Until all are busy or one failed. */
static enum kvs_code wait_busy(struct side *sides, unsigned n, struct kvs_err *err)
{
    int64_t deadline_ns = kvs_now_ns() + (int64_t)START_S * 1000000000;
    for (unsigned i = 0; i < n; i++)
        while (atomic_load(&sides[i].state) == 0) {
            if (kvs_now_ns() > deadline_ns)
                return kvs_fail(err, KVS_ERR_IO, "beside it, %s moved nothing in %d s",
                                sides[i].beside->point->probe, START_S);
            usleep(200);
        }
    return KVS_OK;
}

static enum kvs_code measure_beside(struct kvs_busy *busy, struct side *sides,
                                    struct kvs_point *point, double secs, struct kvs_sample *sample,
                                    struct kvs_err *err)
{
    atomic_int over = 0;
    unsigned n_started = 0;
    enum kvs_code code = KVS_OK;
    for (; n_started < busy->n && !code; n_started++) {
        struct side *s = &sides[n_started];
        s->beside = &busy->beside[n_started];
        s->over = &over;
        atomic_init(&s->state, 0);
        s->sample = malloc(sizeof *s->sample);
        if (!s->sample)
            code = kvs_nomem(err);
        else if (pthread_create(&s->thread, NULL, keep_busy, s) != 0)
            code = kvs_fail(err, KVS_ERR_IO, "cannot start %u threads", busy->n);
        if (code)
            break;
    }
    if (!code)
        code = wait_busy(sides, busy->n, err);
    if (!code)
        code = busy->run(busy->self, point, secs, sample, err);
    atomic_store(&over, 1);
    for (unsigned i = 0; i < n_started; i++)
        pthread_join(sides[i].thread, NULL);
    return code;
}

enum kvs_code kvs_busy_run(void *self, struct kvs_point *point, double secs,
                           struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_busy *busy = self;
    struct side *sides = calloc(KVS_MAX_BESIDE, sizeof *sides);
    double rate = 0;
    if (!sides)
        return kvs_nomem(err);
    enum kvs_code code = measure_beside(busy, sides, point, secs, sample, err);
    for (unsigned i = 0; i < busy->n; i++) {
        if (!code && sides[i].err.code)
            code = kvs_fail(err, sides[i].err.code, "beside it: %s", sides[i].err.msg);
        if (sides[i].secs > 0)
            rate += sides[i].bytes / sides[i].secs;
        free(sides[i].sample);
    }
    sample->cpu_ns = -1;
    if (!code && !kvs_point_set(point, "beside_bytes_per_s", json_real(rate)))
        code = kvs_nomem(err);
    free(sides);
    return code;
}
