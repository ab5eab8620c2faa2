/* Hardware profiles: whatever is read computes finite costs or is refused. */
#include "model/cost.h"

#include <assert.h>
#include <math.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void compute(const struct kvs_hw *hw)
{
    struct kvs_model *model;
    struct kvs_cost *cost;
    for (uint32_t i = 0; i < hw->n_tier; i++)
        for (uint32_t h = 0; h < hw->tier[i].n_hop; h++) {
            assert(hw->tier[i].hop[h] < hw->n_link);
            double s = kvs_link_s(&hw->link[hw->tier[i].hop[h]], false, 1e6, 10);
            assert(isfinite(s) && s > 0);
        }
    if (kvs_model_open("smollm2-135m", &model, NULL))
        return;
    if (kvs_cost_new(model, hw, 1, &cost, NULL) == KVS_OK) {
        double s = kvs_cost_prefill_s(cost, 0, 1000, 512);
        assert(isfinite(s) && s > 0);
        kvs_cost_free(cost);
    }
    kvs_model_free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_doc *doc;
    struct kvs_hw *hw;
    struct kvs_err err = {0};
    if (kvs_doc_parse("fuzz.json", (const char *)data, n_byte, &doc, &err))
        return 0;
    if (kvs_hw_from(doc, &hw, &err)) {
        assert(err.msg[0]);
        return 0;
    }
    compute(hw);
    kvs_hw_free(hw);
    return 0;
}
