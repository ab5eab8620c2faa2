/* intrinsics.c - each instruction of the dialect on the device and on the shim, same inputs. */
#include "base/rng.h"
#include "parts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    N_IN = KVS_INTRINSIC_THREADS * KVS_INTRINSIC_IN,
    N_OUT = KVS_INTRINSIC_THREADS * KVS_INTRINSIC_OUT
};

enum kind_of { BITS, BF16, BF16_PAIRS, F32 };

/* What it reads, what it gives, |diff| <= atol + rtol |want| (0, 0: bit for bit). */
static const struct intrinsic {
    enum kvs_intrinsic_kind kind;
    const char *name;
    enum kind_of in, out;
    double atol, rtol;
    unsigned n_imm, imm[6];
} intrinsics[] = {
    {KVS_I_SHFL_XOR, "shfl.xor", F32, F32, 0, 0, 5, {1, 2, 4, 8, 16}},
    {KVS_I_LDMATRIX, "ldmatrix", BITS, BITS, 0, 0, 4, {0, 1, 13, 31}},
    {KVS_I_LDMATRIX_TRANS, "ldmatrix.trans", BITS, BITS, 0, 0, 4, {0, 1, 13, 31}},
    /* 17 terms, some above 100, aligned to the largest before they are added: 17 * 2^-24 * 128 */
    {KVS_I_MMA, "mma.m16n8k16.bf16", BF16_PAIRS, F32, 1e-3, 1e-6, 1, {0}},
    {KVS_I_CP_ASYNC, "cp.async", BITS, BITS, 0, 0, 6, {0, 1, 4, 8, 15, 16}},
    {KVS_I_BARRIER, "barrier", F32, F32, 1e-3, 1e-5, 1, {0}},
    {KVS_I_TO_BF16, "f32 to bf16", F32, BF16, 0, 0, 1, {0}},
    {KVS_I_TO_F32, "bf16 to f32", BF16, F32, 0, 0, 1, {0}},
    {KVS_I_PACK_BF16, "pack bf16", F32, BF16_PAIRS, 0, 0, 1, {0}},
    /* CUDA's manual: 2 ulp each; glibc's within 1 */
    {KVS_I_EXP2, "exp2f", F32, F32, 1e-38, 4e-7, 1, {0}},
    {KVS_I_EXP, "expf", F32, F32, 1e-38, 4e-7, 1, {0}},
    {KVS_I_COS_SIN, "cos and sin in double", F32, F32, 1e-9, 2e-7, 1, {0}},
    {KVS_I_SQRT, "sqrtf", F32, F32, 0, 0, 1, {0}},
    {KVS_I_DIVIDE, "division", F32, F32, 0, 0, 1, {0}},
    {KVS_I_MAX, "fmaxf", F32, F32, 0, 0, 1, {0}},
};
enum { N_INTRINSIC = sizeof intrinsics / sizeof *intrinsics };
_Static_assert(N_INTRINSIC == (int)KVS_I_N, "a row for every kind");

/* Where rounding, overflow and NaN go their own ways: ties to even, the largest, subnormals. */
static const uint32_t special[] = {
    0x00000000, 0x80000000, 0x3f800000, 0xbf800000, 0x3f808000, 0x3f818000, 0x3f808001, 0x3f80ffff,
    0x7f7fffff, 0x7f7f8000, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 0x00000001, 0x007fffff,
    0x00800000, 0x80800000, 0x42b00000, 0xc2b00000, 0x43000000, 0xc3000000, 0xc3160000, 0x477fe000,
};
enum { N_SPECIAL = sizeof special / sizeof *special, SIGNALLING = 0x7f800001 /* NaN */ };

/* mma, barrier, cos: sums and angles of what is finite; the rest meets the special values too. */
static bool finite_only(enum kvs_intrinsic_kind kind)
{
    return kind == KVS_I_MMA || kind == KVS_I_BARRIER || kind == KVS_I_COS_SIN;
}

static uint32_t word(const struct intrinsic *it, struct kvs_rng *rng, unsigned i)
{
    float value = (float)(4 * kvs_rng_normal(rng));
    uint32_t bits = (uint32_t)kvs_rng_u64(rng);

    if (it->in == BITS)
        return bits;
    if (!finite_only(it->kind) && i % 3 == 0)
        bits = special[kvs_rng_below(rng, N_SPECIAL)];
    else
        memcpy(&bits, &value, sizeof bits);
    if (it->kind == KVS_I_MAX && bits == SIGNALLING) /* C libraries differ over it */
        bits = special[0];
    if (it->kind == KVS_I_MMA && i % KVS_INTRINSIC_IN < 8)
        return (uint32_t)kvs_bf16_of(value) | (uint32_t)kvs_bf16_of(value / 2) << 16;
    return it->in == BF16 ? bits >> 16 : bits;
}

static float as_f32(uint32_t bits, enum kind_of kind, bool high)
{
    float value;

    if (kind != F32)
        return kvs_f32_of_bf16((uint16_t)(high ? bits >> 16 : bits));
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Any NaN is as good as another: the hardware's has its own bits. */
static bool close(const struct intrinsic *it, uint32_t got, uint32_t want, bool high)
{
    double g = (double)as_f32(got, it->out, high), w = (double)as_f32(want, it->out, high);

    return (isnan(g) && isnan(w)) || (!isinf(w) && fabs(g - w) <= it->atol + it->rtol * fabs(w)) ||
           (isinf(w) && !(g < w) && !(g > w) && !isnan(g));
}

static bool agrees(const struct intrinsic *it, uint32_t got, uint32_t want)
{
    if (got == want)
        return true;
    if (it->out == BITS)
        return false;
    return close(it, got, want, false) && (it->out != BF16_PAIRS || close(it, got, want, true));
}

static enum kvs_code run_one(struct kvs_dev *dev, const struct intrinsic *it, unsigned imm,
                             const uint32_t in[N_IN], uint32_t out[N_OUT], struct kvs_err *err)
{
    struct kvs_buf *from = NULL, *to = NULL;
    enum kvs_code code;

    if (!(code = kvs_buf_new(dev, KVS_MEM_DEVICE, N_IN * sizeof *in, &from, err)) &&
        !(code = kvs_buf_new(dev, KVS_MEM_DEVICE, N_OUT * sizeof *out, &to, err)) &&
        !(code = kvs_buf_write(kvs_at(from, 0), in, N_IN * sizeof *in, err))) {
        struct kvs_intrinsic op = {kvs_at(to, 0), kvs_at(from, 0), it->kind, imm};
        code = dev->backend->intrinsic(dev, &op, err);
    }
    if (!code)
        code = kvs_buf_read(out, kvs_at(to, 0), N_OUT * sizeof *out, err);
    kvs_buf_free(from);
    kvs_buf_free(to);
    return code;
}

static enum kvs_code compare(struct kvs_dev *dev, struct kvs_dev *shim, const struct intrinsic *it,
                             unsigned imm, struct kvs_err *err)
{
    struct kvs_rng rng = kvs_rng_stream(imm, it->name);
    uint32_t in[N_IN], got[N_OUT], want[N_OUT];
    enum kvs_code code;

    for (unsigned i = 0; i < N_IN; i++)
        in[i] = word(it, &rng, i);
    if ((code = run_one(dev, it, imm, in, got, err)) ||
        (code = run_one(shim, it, imm, in, want, err)))
        return code;
    for (unsigned i = 0; i < N_OUT; i++)
        if (!agrees(it, got[i], want[i]))
            return kvs_fail(err, KVS_ERR_DEVICE, "imm %u, thread %u, word %u: %08x, the shim %08x",
                            imm, i / KVS_INTRINSIC_OUT, i % KVS_INTRINSIC_OUT, got[i], want[i]);
    return KVS_OK;
}

void kvs_selftest_intrinsics(struct kvs_dev *dev, struct kvs_checks *checks)
{
    struct kvs_dev *shim = NULL;
    struct kvs_err err = {0};

    if (!dev->backend->intrinsic) {
        checks->not_offered += N_INTRINSIC;
        return;
    }
    if (kvs_dev_open("simt", 0, 0, &shim, &err)) {
        kvs_checks_add(checks, err.code, "the shim", &err);
        return;
    }
    for (unsigned i = 0; i < N_INTRINSIC; i++) {
        enum kvs_code code = KVS_OK;
        err = (struct kvs_err){0};
        for (unsigned m = 0; m < intrinsics[i].n_imm && !code; m++)
            code = compare(dev, shim, &intrinsics[i], intrinsics[i].imm[m], &err);
        kvs_checks_add(checks, code, intrinsics[i].name, &err);
    }
    kvs_dev_close(shim);
}
