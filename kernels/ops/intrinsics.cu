/*
 * intrinsics.cu - every instruction of the dialect alone, with inputs that a self-test chooses: the
 * first thing to run on a new GPU, beside the shim (kernels/selftest). No operator.
 */
#include "kernels/dialect.h"

enum { BLOCK = KVS_INTRINSIC_THREADS, N_IN = KVS_INTRINSIC_IN, N_OUT = KVS_INTRINSIC_OUT };

KVS_FN void on_matrices(enum kvs_intrinsic_kind kind, unsigned imm, uint32_t *out,
                        const uint32_t *in, unsigned char *shared)
{
    uint32_t *row = (uint32_t *)shared + kvs_tid() * 4;

    for (unsigned i = 0; i < 4; i++)
        row[i] = in[i];
    kvs_barrier();
    if (kind == KVS_I_LDMATRIX)
        kvs_ldmatrix_x4(out, shared + (kvs_tid() ^ imm) * 16);
    else
        kvs_ldmatrix_x4_trans(out, shared + (kvs_tid() ^ imm) * 16);
}

KVS_FN void on_copies(unsigned imm, uint32_t *out, const uint32_t *in, unsigned char *shared)
{
    uint32_t *row = (uint32_t *)shared + kvs_tid() * 8;

    kvs_cp_async16(row, in, imm);
    kvs_cp_commit();
    kvs_cp_async16(row + 4, in + 4, 16);
    kvs_cp_commit();
    kvs_cp_wait<1>();
    for (unsigned i = 0; i < 4; i++)
        out[i] = row[i];
    kvs_cp_wait<0>();
    for (unsigned i = 4; i < 8; i++)
        out[i] = row[i];
}

/* Each thread adds up what all others wrote, twice: a lost barrier shows as a wrong sum. */
KVS_FN void on_barriers(float *out, const float *in, unsigned char *shared)
{
    float *value = (float *)shared;
    float sum = in[0];

    for (unsigned round = 0; round < 2; round++) {
        value[kvs_tid()] = sum;
        kvs_barrier();
        sum = 0;
        for (unsigned i = 0; i < BLOCK; i++)
            sum += value[(kvs_tid() + i) % BLOCK] * (i % 3 ? .25f : .5f);
        kvs_barrier();
        out[round] = sum;
    }
}

KVS_FN void on_numbers(enum kvs_intrinsic_kind kind, float *out, const float *in)
{
    for (unsigned i = 0; i < N_OUT; i++)
        if (kind == KVS_I_EXP2)
            out[i] = exp2f(in[i]);
        else if (kind == KVS_I_EXP)
            out[i] = expf(in[i]);
        else if (kind == KVS_I_COS_SIN)
            out[i] = (float)(i < 4 ? cos(1000. * in[i]) : sin(1000. * in[i - 4]));
        else if (kind == KVS_I_SQRT)
            out[i] = sqrtf(in[i]);
        else if (kind == KVS_I_DIVIDE)
            out[i] = in[i] / in[N_OUT + i];
        else
            out[i] = fmaxf(in[i], in[N_OUT + i]);
}

KVS_KERNEL intrinsics_kernel(enum kvs_intrinsic_kind kind, unsigned imm, uint32_t *all_out,
                             const uint32_t *all_in)
{
    unsigned char *shared = kvs_shared_mem();
    const uint32_t *in = all_in + kvs_tid() * N_IN;
    const float *f_in = (const float *)in;
    uint32_t out[N_OUT] = {};
    float f_out[N_OUT] = {};
    bool is_float = false;

    switch (kind) {
    case KVS_I_SHFL_XOR:
        is_float = true;
        for (unsigned i = 0; i < N_OUT; i++)
            f_out[i] = kvs_shfl_xor(f_in[i], imm);
        break;
    case KVS_I_LDMATRIX:
    case KVS_I_LDMATRIX_TRANS:
        on_matrices(kind, imm, out, in, shared);
        break;
    case KVS_I_MMA:
        is_float = true;
        for (unsigned i = 0; i < 4; i++)
            f_out[i] = f_in[8 + i];
        kvs_mma_16816_bf16(f_out, in, in + 4);
        break;
    case KVS_I_CP_ASYNC:
        on_copies(imm, out, in, shared);
        break;
    case KVS_I_BARRIER:
        is_float = true;
        on_barriers(f_out, f_in, shared);
        break;
    case KVS_I_TO_BF16:
        for (unsigned i = 0; i < N_OUT; i++)
            out[i] = kvs_to_bf16(f_in[i]);
        break;
    case KVS_I_TO_F32:
        is_float = true;
        for (unsigned i = 0; i < N_OUT; i++)
            f_out[i] = kvs_to_f32((uint16_t)in[i]);
        break;
    case KVS_I_PACK_BF16:
        for (unsigned i = 0; i < 4; i++)
            out[i] = kvs_pack_bf16(f_in[2 * i], f_in[2 * i + 1]);
        break;
    default:
        is_float = true;
        on_numbers(kind, f_out, f_in);
    }
    for (unsigned i = 0; i < N_OUT; i++)
        if (is_float)
            ((float *)all_out)[kvs_tid() * N_OUT + i] = f_out[i];
        else
            all_out[kvs_tid() * N_OUT + i] = out[i];
}

extern "C" enum kvs_code KVS_SIDE(intrinsic)(void *ctx, const struct kvs_intrinsic *op,
                                             void *stream, struct kvs_err *err)
{
    (void)ctx, (void)stream;
    return KVS_LAUNCH(intrinsics_kernel, 1, 1, BLOCK, BLOCK * 32, op->kind, op->imm,
                      (uint32_t *)kvs_ptr(op->out), (const uint32_t *)kvs_ptr(op->in));
}
