/*
 * backend.c - the simt back end: the CUDA kernels, run by simt.h, in the seed's schedule.
 *
 * seed % SIMT_N_SCHEDULE is the schedule; what order streams run in comes from the seed as on ref.
 */
#include "kernels/host/queue.h"
#include "simt.h"

#include <stdio.h>

#define X(name)                                                                                    \
    enum kvs_code kvs_simt_##name(void *ctx, const struct kvs_##name *op, void *stream,            \
                                  struct kvs_err *err);
KVS_OPS(X)
#undef X

enum kvs_code kvs_simt_intrinsic(void *ctx, const struct kvs_intrinsic *op, void *stream,
                                 struct kvs_err *err);

static const struct kvs_kernels kernels = {
#define X(name) .name = kvs_simt_##name,
    KVS_OPS(X)
#undef X
};

static bool made(void *ctx, const void *base, size_t n_byte)
{
    return simt_buffer_new(ctx, base, n_byte);
}

static void gone(void *ctx, const void *base)
{
    simt_buffer_gone(ctx, base);
}

const struct kvs_queue_watch kvs_simt_watch = {.made = made, .gone = gone};

static enum kvs_code open_simt(struct kvs_dev *dev, int index, uint64_t seed, struct kvs_err *err)
{
    static const char *const names[] = {"forward", "reverse", "random", "first warp ahead",
                                        "last warp ahead"};
    enum simt_schedule schedule = (enum simt_schedule)(seed % SIMT_N_SCHEDULE);
    struct simt *simt;

    if (index != 0)
        return kvs_fail(err, KVS_ERR_ABSENT, "simt: there is no device %d, only 0", index);
    simt = simt_new(schedule, seed, 0);
    if (!simt)
        return kvs_nomem(err);
    snprintf(dev->info.detail, sizeof dev->info.detail, "schedule: %s", names[schedule]);
    enum kvs_code code = kvs_queue_open(dev, KVS_QUEUE_SEEDED, seed, true, &kernels, simt, err);
    if (code)
        simt_free(simt);
    else
        kvs_queue_set_watch(dev, &kvs_simt_watch);
    return code;
}

static void close_simt(struct kvs_dev *dev)
{
    struct simt *simt = kvs_queue_ctx(dev);

    kvs_queue_close(dev);
    simt_free(simt);
}

static enum kvs_code intrinsic(struct kvs_dev *dev, const struct kvs_intrinsic *op,
                               struct kvs_err *err)
{
    return kvs_simt_intrinsic(kvs_queue_ctx(dev), op, NULL, err);
}

const struct kvs_backend kvs_backend_simt = {
    .name = "simt",
    .help = "the CUDA kernels, run on the host thread by thread",
    .can = "what cuda can, some thousand times slower; ready work and threads in seeded order",
    .act_elem = KVS_BF16,
    .gemm_elem = KVS_BF16,
    .checks = true,
    .open = open_simt,
    .close = close_simt,
    .intrinsic = intrinsic,
    KVS_QUEUE_FUNCTIONS,
};
