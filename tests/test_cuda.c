/*
 * The CUDA back end where no GPU is: it says so; its GEMM calls mean what they should. Its kernels'
 * code: test_cubin.c.
 */
#include "test.h"

#include "kernels/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool gpu_is_here(void)
{
    struct kvs_dev *dev;
    if (kvs_dev_open("cuda", 0, 0, &dev, NULL))
        return false;
    kvs_dev_close(dev);
    return true;
}

static void absent_gpu_is_an_answer_not_a_crash(void **state)
{
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    (void)state;
    if (gpu_is_here())
        KVS_SKIP("there is a GPU");
    assert_int_equal(kvs_dev_open("cuda", 0, 0, &dev, &err), KVS_ERR_ABSENT);
    assert_null(dev);
    assert_true(strncmp(err.msg, "cuda: no GPU: ", 14) == 0 ||
                strcmp(err.msg, "cuda: kvsim was built without nvcc") == 0);
}

static int status_of(const char *command)
{
    int status = system(command); /* NOLINT(cert-env33-c): a test runs what it built */
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The toolkit's stand-in for a driver makes the runtime fail in another way. */
static void stub_driver_is_no_gpu_either(void **state)
{
    static const char stub[] = "/usr/local/cuda/lib64/stubs/libcuda.so";
    const char *kvsim = getenv("KVSIM");
    char folder[] = "/tmp/kvs-stub-XXXXXX", path[64], command[1024];
    (void)state;
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    if (kvs_dev_open("cuda", 0, 0, &dev, &err) == KVS_OK)
        kvs_dev_close(dev);
    if (!kvsim || access(stub, R_OK) != 0 || !strstr(err.msg, "no GPU"))
        KVS_SKIP("no stub of libcuda, no nvcc, or a GPU");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/libcuda.so.1", folder);
    assert_int_equal(symlink(stub, path), 0);
    snprintf(command, sizeof command,
             "LD_LIBRARY_PATH=%s %s selftest --backend cuda 2>%s/err; s=$?; "
             "grep -q 'cuda: no GPU: ' %s/err && exit $s; exit 99",
             folder, kvsim, folder, folder);
    assert_int_equal(status_of(command), 3);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(status_of(command), 0);
}

/* A driver, and no device: error 100 reads as the others. */
static void driver_without_a_device_is_no_gpu_either(void **state)
{
    const char *kvsim = getenv("KVSIM"), *slash = kvsim ? strrchr(kvsim, '/') : NULL;
    char command[1024], fake[512];
    struct kvs_dev *dev;
    struct kvs_err err = {0};
    (void)state;
    if (kvs_dev_open("cuda", 0, 0, &dev, &err) == KVS_OK)
        kvs_dev_close(dev);
    if (!slash || !strstr(err.msg, "no GPU"))
        KVS_SKIP("no $KVSIM, no nvcc, or a GPU");
    snprintf(fake, sizeof fake, "%.*s/tests/fake/none", (int)(slash - kvsim), kvsim);
    snprintf(command, sizeof command, "%s/libcuda.so.1", fake);
    assert_int_equal(access(command, R_OK), 0);
    snprintf(command, sizeof command,
             "LD_LIBRARY_PATH=%s %s selftest --backend cuda 2>&1 | "
             "grep -q 'cuda: no GPU: no CUDA-capable device is detected'",
             fake, kvsim);
    assert_int_equal(status_of(command), 0);
    snprintf(command, sizeof command, "LD_LIBRARY_PATH=%s %s selftest --backend cuda 2>/dev/null",
             fake, kvsim);
    assert_int_equal(status_of(command), 3);
    snprintf(command, sizeof command,
             "LD_LIBRARY_PATH=%s %s devices | grep -q '^cuda  *absent  *cuda: no GPU: '", fake,
             kvsim);
    assert_int_equal(status_of(command), 0);
}

#ifdef KVS_HAVE_CUDA

#include "kernels/cuda/lt.h"

/* --- a cuBLASLt that does what it is told, on the host ------------------------------------------
 */

struct layout {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
};

struct product {
    cublasOperation_t trans[2];
    int n_attribute;
};

static int n_alive; /* objects made and not yet ended */

static cublasStatus_t fake_desc(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                cudaDataType_t scale)
{
    assert_int_equal(compute, CUBLAS_COMPUTE_32F);
    assert_int_equal(scale, CUDA_R_32F);
    *out = calloc(1, sizeof(struct product));
    n_alive++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_desc_end(cublasLtMatmulDesc_t desc)
{
    free(desc);
    n_alive--;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_desc_set(cublasLtMatmulDesc_t desc,
                                    cublasLtMatmulDescAttributes_t attribute, const void *value,
                                    size_t n)
{
    struct product *product = (struct product *)desc;
    assert_int_equal(n, sizeof(cublasOperation_t));
    if (attribute == CUBLASLT_MATMUL_DESC_TRANSA)
        memcpy(&product->trans[0], value, n);
    else if (attribute == CUBLASLT_MATMUL_DESC_TRANSB)
        memcpy(&product->trans[1], value, n);
    else
        fail_msg("attribute %d", (int)attribute);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_layout(cublasLtMatrixLayout_t *out, cudaDataType_t type, uint64_t rows,
                                  uint64_t cols, int64_t ld)
{
    struct layout *layout = malloc(sizeof *layout);
    if (ld < (int64_t)rows)
        fail_msg("leading dimension %d below %d rows", (int)ld, (int)rows);
    *layout = (struct layout){type, rows, cols, ld};
    *out = (cublasLtMatrixLayout_t)layout;
    n_alive++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_layout_end(cublasLtMatrixLayout_t layout)
{
    free(layout);
    n_alive--;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_preference(cublasLtMatmulPreference_t *out)
{
    *out = malloc(1);
    n_alive++;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_preference_end(cublasLtMatmulPreference_t preference)
{
    free(preference);
    n_alive--;
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t fake_preference_set(cublasLtMatmulPreference_t preference,
                                          cublasLtMatmulPreferenceAttributes_t attribute,
                                          const void *value, size_t n)
{
    (void)preference;
    assert_int_equal(attribute, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
    assert_int_equal(n, sizeof(size_t));
    assert_non_null(value);
    return CUBLAS_STATUS_SUCCESS;
}

static int n_algorithm = 1; /* what the heuristic finds */

static cublasStatus_t fake_heuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                     cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                     cublasLtMatmulPreference_t preference, int n_asked,
                                     cublasLtMatmulHeuristicResult_t *result, int *n_found)
{
    (void)handle, (void)desc, (void)a, (void)b, (void)preference, (void)result;
    assert_ptr_equal(c, d);
    assert_int_equal(n_asked, 1);
    *n_found = n_algorithm;
    return n_algorithm ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}

static double element(const void *base, const struct layout *at, uint64_t row, uint64_t col)
{
    assert_true(row < at->rows && col < at->cols);
    size_t i = row + col * (size_t)at->ld;
    return at->type == CUDA_R_16BF ? (double)kvs_f32_of_bf16(((const uint16_t *)base)[i])
                                   : (double)((const float *)base)[i];
}

static cublasStatus_t fake_matmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                  const void *alpha, const void *a, cublasLtMatrixLayout_t a_at,
                                  const void *b, cublasLtMatrixLayout_t b_at, const void *beta,
                                  const void *c, cublasLtMatrixLayout_t c_at, void *d,
                                  cublasLtMatrixLayout_t d_at, const cublasLtMatmulAlgo_t *algo,
                                  void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    const struct product *product = (const struct product *)desc;
    const struct layout *la = (const struct layout *)a_at, *lb = (const struct layout *)b_at;
    const struct layout *ld = (const struct layout *)d_at;
    bool ta = product->trans[0] == CUBLAS_OP_T, tb = product->trans[1] == CUBLAS_OP_T;
    uint64_t k = ta ? la->rows : la->cols;
    (void)handle, (void)algo, (void)workspace, (void)workspace_bytes, (void)stream;
    assert_true(*(const float *)alpha == 1 && *(const float *)beta == 0);
    assert_ptr_equal(c, d);
    assert_ptr_equal(c_at, d_at);
    assert_int_equal(k, tb ? lb->cols : lb->rows);
    for (uint64_t i = 0; i < ld->rows; i++)
        for (uint64_t j = 0; j < ld->cols; j++) {
            double sum = 0;
            for (uint64_t e = 0; e < k; e++)
                sum +=
                    element(a, la, ta ? e : i, ta ? i : e) * element(b, lb, tb ? j : e, tb ? e : j);
            if (ld->type == CUDA_R_16BF)
                ((uint16_t *)d)[i + j * (size_t)ld->ld] = kvs_bf16_of((float)sum);
            else
                ((float *)d)[i + j * (size_t)ld->ld] = (float)sum;
        }
    return CUBLAS_STATUS_SUCCESS;
}

static const struct kvs_lt fake = {
    .cublasLtMatmulDescCreate = fake_desc,
    .cublasLtMatmulDescDestroy = fake_desc_end,
    .cublasLtMatmulDescSetAttribute = fake_desc_set,
    .cublasLtMatrixLayoutCreate = fake_layout,
    .cublasLtMatrixLayoutDestroy = fake_layout_end,
    .cublasLtMatmulPreferenceCreate = fake_preference,
    .cublasLtMatmulPreferenceDestroy = fake_preference_end,
    .cublasLtMatmulPreferenceSetAttribute = fake_preference_set,
    .cublasLtMatmulAlgoGetHeuristic = fake_heuristic,
    .cublasLtMatmul = fake_matmul,
};

static struct kvs_buf *pinned(struct kvs_dev *dev, size_t n)
{
    struct kvs_buf *buf;
    assert_int_equal(kvs_buf_new(dev, KVS_MEM_PINNED, n, &buf, NULL), KVS_OK);
    return buf;
}

static void cublaslt_is_told_the_right_product(void **state)
{
    enum { M = 3, N = 5, K = 7 };
    struct kvs_dev *dev;
    (void)state;
    assert_int_equal(kvs_dev_open("ref", 0, 0, &dev, NULL), KVS_OK);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        enum kvs_elem in = bf16 ? KVS_BF16 : KVS_F32;
        struct kvs_gemm op = {.y_elem = KVS_F32,
                              .x_elem = in,
                              .w_elem = in,
                              .m = M,
                              .n = N,
                              .k = K,
                              .y_stride = N + 2,
                              .x_stride = K + 1,
                              .w_stride = K + 4};
        struct kvs_buf *x = pinned(dev, M * (K + 1) * 4), *w = pinned(dev, N * (K + 4) * 4);
        struct kvs_buf *y = pinned(dev, M * (N + 2) * 4);
        for (int i = 0; i < M * (K + 1); i++)
            if (bf16)
                ((uint16_t *)kvs_buf_host(x))[i] = kvs_bf16_of((float)(i % 5 - 2));
            else
                ((float *)kvs_buf_host(x))[i] = (float)(i % 5 - 2);
        for (int i = 0; i < N * (K + 4); i++)
            if (bf16)
                ((uint16_t *)kvs_buf_host(w))[i] = kvs_bf16_of((float)(i % 7 - 3));
            else
                ((float *)kvs_buf_host(w))[i] = (float)(i % 7 - 3);
        op.x = kvs_at(x, 0);
        op.w = kvs_at(w, 0);
        op.y = kvs_at(y, 0);
        assert_int_equal(kvs_lt_gemm(&fake, &op, NULL, NULL), KVS_OK);
        for (int r = 0; r < M; r++)
            for (int c = 0; c < N; c++) {
                float want = 0;
                for (int k = 0; k < K; k++)
                    want += (float)((r * (K + 1) + k) % 5 - 2) * (float)((c * (K + 4) + k) % 7 - 3);
                assert_true(((float *)kvs_buf_host(y))[r * (N + 2) + c] == want);
            }
        n_algorithm = 0;
        assert_int_equal(kvs_lt_gemm(&fake, &op, NULL, NULL), KVS_ERR_ABSENT);
        n_algorithm = 1;
        assert_int_equal(n_alive, 0);
        kvs_buf_free(x);
        kvs_buf_free(w);
        kvs_buf_free(y);
    }
    kvs_dev_close(dev);
}

#else

static void cublaslt_is_told_the_right_product(void **state)
{
    (void)state;
    KVS_SKIP("built without CUDA's headers");
}

#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_gpu_is_an_answer_not_a_crash),
        cmocka_unit_test(stub_driver_is_no_gpu_either),
        cmocka_unit_test(driver_without_a_device_is_no_gpu_either),
        cmocka_unit_test(cublaslt_is_told_the_right_product),
    };
    return cmocka_run_group_tests_name("cuda", tests, NULL, NULL);
}
