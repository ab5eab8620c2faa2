#include "test.h"

#include "fault.h"
#include "kernels/forward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A small model from weights to logits on a back end; the code of the first failure. */
static enum kvs_code small_model(const char *backend)
{
    struct kvs_weights_shape shape = {.n_layer = 1,
                                      .hidden = 16,
                                      .ffn = 16,
                                      .n_head = 2,
                                      .n_kv_head = 1,
                                      .head_dim = 8,
                                      .n_vocab = 16,
                                      .n_ctx = 8,
                                      .norm_eps = 1e-5f,
                                      .freq = {1, .1, .01, .001}};
    static const uint32_t tok[3] = {1, 2, 3};
    float logits[16];
    struct kvs_err err = {0};
    struct kvs_dev *dev = NULL;
    struct kvs_stream *stream = NULL;
    struct kvs_weights *weights = NULL;
    struct kvs_forward *forward = NULL;
    enum kvs_code code;

    if (!(code = kvs_dev_open(backend, 0, 0, &dev, &err)) &&
        !(code = kvs_stream_new(dev, &stream, &err)) &&
        !(code = kvs_weights_random(&shape, 1, &weights, &err))) {
        enum kvs_elem elem = kvs_dev_info(dev)->act_elem;
        struct kvs_forward_opt opt = {3, 3, 1, elem, elem, elem};
        if (!(code = kvs_forward_new(dev, weights, &opt, &forward, &err)) &&
            !(code = kvs_forward_prefill(forward, stream, tok, 0, 3, logits, &err)))
            for (int i = 0; i < 16; i++)
                assert_true(isfinite(logits[i]));
    }
    kvs_stream_free(stream);
    kvs_forward_free(forward);
    kvs_weights_close(weights);
    kvs_dev_close(dev);
    assert_int_equal(code, err.code);
    return code;
}

static void failed_allocation_is_an_error_on_the_way_to_logits(void **state)
{
    static const char *const backends[] = {"ref", "cpu", "simt"};
    (void)state;
    for (int b = 0; b < 3; b++) {
        bool came = true;
        for (unsigned n = 1; came; n++) {
            kvs_fault_at(KVS_FAULT_MEM, n);
            enum kvs_code code = small_model(backends[b]);
            came = kvs_fault_end();
            if (code != (came ? KVS_ERR_NOMEM : KVS_OK))
                fail_msg("%s: allocation %u fails, code %d", backends[b], n, (int)code);
        }
    }
}

static enum kvs_code open_tiny(void *ctx, struct kvs_err *err)
{
    struct kvs_weights *w;
    enum kvs_code code = kvs_weights_open("tests/fuzz/weights/tiny.gguf", &w, err);

    (void)ctx;
    assert_int_equal(w == NULL, code != KVS_OK);
    kvs_weights_close(w);
    return code;
}

static void weights_that_cannot_be_read_are_an_error(void **state)
{
    (void)state;
    kvs_fault_every(KVS_FAULT_MEM, true, open_tiny, NULL);
    /* not strict: a config.json that cannot be opened counts as none */
    kvs_fault_every(KVS_FAULT_IO, false, open_tiny, NULL);
}

static void weights_cut_while_they_are_read_are_an_error(void **state)
{
    static const char want[] = "tests/fuzz/weights/tiny.gguf: ends after ";
    struct kvs_err err = {0};

    (void)state;
    kvs_fault_at(KVS_FAULT_CUT, 1);
    enum kvs_code code = open_tiny(NULL, &err);
    assert_true(kvs_fault_end());
    assert_int_equal(code, KVS_ERR_IO);
    assert_memory_equal(err.msg, want, sizeof want - 1);
    assert_non_null(strstr(err.msg, "it was cut while it was read"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_allocation_is_an_error_on_the_way_to_logits),
        cmocka_unit_test(weights_that_cannot_be_read_are_an_error),
        cmocka_unit_test(weights_cut_while_they_are_read_are_an_error),
    };
    return cmocka_run_group_tests_name("fault kernels", tests, NULL, NULL);
}
