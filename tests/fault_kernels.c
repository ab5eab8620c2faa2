#include "test.h"

#include "fault.h"
#include "kernels/forward.h"

#include <math.h>
#include <stdlib.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_allocation_is_an_error_on_the_way_to_logits),
    };
    return cmocka_run_group_tests_name("fault kernels", tests, NULL, NULL);
}
