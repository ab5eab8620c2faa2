#ifdef KVS_HAVE_CUDA

#include "lt.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

bool kvs_lt_open(struct kvs_lt *lt, char *why, size_t n)
{
    static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};

    memset(lt, 0, sizeof *lt);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !lt->library; i++)
        lt->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!lt->library) {
        snprintf(why, n, "libcublasLt is not installed");
        return false;
    }
#define X(name)                                                                                    \
    *(void **)&lt->name = dlsym(lt->library, #name);                                               \
    if (!lt->name) {                                                                               \
        snprintf(why, n, "libcublasLt has no " #name);                                             \
        return false;                                                                              \
    }
    KVS_LT_FUNCTIONS(X)
#undef X
    cublasStatus_t status = lt->cublasLtCreate(&lt->handle);
    if (status != CUBLAS_STATUS_SUCCESS) {
        lt->handle = NULL;
        snprintf(why, n, "cublasLtCreate failed with status %d", (int)status);
        return false;
    }
    return true;
}

void kvs_lt_close(struct kvs_lt *lt)
{
    if (lt->handle)
        lt->cublasLtDestroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    memset(lt, 0, sizeof *lt);
}

static cudaDataType_t type_of(enum kvs_elem elem)
{
    return elem == KVS_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* What a product is described by; all that was made is ended by forget. */
struct described {
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, c;
    cublasLtMatmulPreference_t preference;
};

/*
 * The library counts columns first: our row-major y[m][n] is its n x m matrix. So it computes
 * Y' = W'^T X' with W' (k x n) our w as it lies, X' (k x m) our x as it lies.
 */
static cublasStatus_t describe(const struct kvs_lt *lt, const struct kvs_gemm *op,
                               struct described *d)
{
    cublasOperation_t trans = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    cublasStatus_t s;

    if ((s = lt->cublasLtMatmulDescCreate(&d->op, CUBLAS_COMPUTE_32F, CUDA_R_32F)) ||
        (s = lt->cublasLtMatmulDescSetAttribute(d->op, CUBLASLT_MATMUL_DESC_TRANSA, &trans,
                                                sizeof trans)) ||
        (s = lt->cublasLtMatmulDescSetAttribute(d->op, CUBLASLT_MATMUL_DESC_TRANSB, &plain,
                                                sizeof plain)) ||
        (s = lt->cublasLtMatrixLayoutCreate(&d->a, type_of(op->w_elem), op->k, op->n,
                                            op->w_stride)) ||
        (s = lt->cublasLtMatrixLayoutCreate(&d->b, type_of(op->x_elem), op->k, op->m,
                                            op->x_stride)) ||
        (s = lt->cublasLtMatrixLayoutCreate(&d->c, type_of(op->y_elem), op->n, op->m,
                                            op->y_stride)) ||
        (s = lt->cublasLtMatmulPreferenceCreate(&d->preference)))
        return s;
    return lt->cublasLtMatmulPreferenceSetAttribute(
        d->preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &lt->workspace_bytes,
        sizeof lt->workspace_bytes);
}

static void forget(const struct kvs_lt *lt, struct described *d)
{
    if (d->preference)
        lt->cublasLtMatmulPreferenceDestroy(d->preference);
    if (d->c)
        lt->cublasLtMatrixLayoutDestroy(d->c);
    if (d->b)
        lt->cublasLtMatrixLayoutDestroy(d->b);
    if (d->a)
        lt->cublasLtMatrixLayoutDestroy(d->a);
    if (d->op)
        lt->cublasLtMatmulDescDestroy(d->op);
}

enum kvs_code kvs_lt_gemm(const struct kvs_lt *lt, const struct kvs_gemm *op, void *stream,
                          struct kvs_err *err)
{
    struct described d = {0};
    cublasLtMatmulHeuristicResult_t best = {0};
    float one = 1, zero = 0;
    int n_found = 0;
    cublasStatus_t s = describe(lt, op, &d);

    if (!s)
        s = lt->cublasLtMatmulAlgoGetHeuristic(lt->handle, d.op, d.a, d.b, d.c, d.c, d.preference,
                                               1, &best, &n_found);
    if (s || n_found == 0) {
        forget(lt, &d);
        return kvs_fail(err, KVS_ERR_ABSENT, "cublasLt: nothing for %u x %u x %u (status %d)",
                        op->m, op->n, op->k, (int)s);
    }
    s = lt->cublasLtMatmul(lt->handle, d.op, &one, kvs_ptr(op->w), d.a, kvs_ptr(op->x), d.b, &zero,
                           kvs_ptr(op->y), d.c, kvs_ptr(op->y), d.c, &best.algo, lt->workspace,
                           lt->workspace_bytes, (cudaStream_t)stream);
    forget(lt, &d);
    if (s)
        return kvs_fail(err, KVS_ERR_DEVICE, "cublasLt: %u x %u x %u failed with status %d", op->m,
                        op->n, op->k, (int)s);
    return KVS_OK;
}

#else
/* ISO C wants something in a file */
typedef int kvs_no_cuda;
#endif
