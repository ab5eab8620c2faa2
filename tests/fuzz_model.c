/* Model shapes: whatever is read computes finite costs or is refused. */
#include "model/cost.h"

#include <assert.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void compute(const struct kvs_model *model)
{
    struct kvs_hw *hw;
    struct kvs_cost *cost;
    uint64_t n_bytes;
    if (kvs_model_kv_bytes(model, 1000, &n_bytes, NULL) == KVS_OK)
        assert((double)n_bytes <= 1000 * (kvs_model_kv_needed_bytes(model, 1) + 1));
    if (kvs_hw_open("h100-sxm", &hw, NULL))
        return;
    if (kvs_cost_new_part(model, hw, 1, &cost, NULL) == KVS_OK) {
        double s = kvs_cost_prefill_s(cost, 100, 1000, 512);
        assert(isfinite(s) && s > 0);
        kvs_cost_free(cost);
    }
    kvs_hw_free(hw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_doc *doc;
    struct kvs_model *model;
    struct kvs_err err = {0};
    if (kvs_doc_parse("fuzz.json", (const char *)data, n_byte, &doc, &err))
        return 0;
    if (kvs_model_from(doc, &model, &err)) {
        assert(err.msg[0]);
        return 0;
    }
    compute(model);
    kvs_model_free(model);
    return 0;
}
