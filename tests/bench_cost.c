/* The cost model's calls in planners' and the simulator's inner loops: nanoseconds, one JSON line
 * each. */
#include "model/cost.h"

#include <stdio.h>
#include <time.h>

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench(const char *model_name, const char *hw_name)
{
    enum { n_call = 5000000 };
    struct kvs_model *model = NULL;
    struct kvs_hw *hw = NULL;
    struct kvs_cost *cost = NULL;
    if (kvs_model_open(model_name, &model, NULL) || kvs_hw_open(hw_name, &hw, NULL) ||
        kvs_cost_new(model, hw, 1, &cost, NULL)) {
        fprintf(stderr, "bench_cost: %s on %s can't be opened\n", model_name, hw_name);
    } else {
        struct kvs_seg seg[2] = {{1, 512, 1000}, {30, 1, 4000}};
        double start = now_s(), sum = 0;
        for (int i = 0; i < n_call; i++) {
            seg[0].context_tok = i & 4095;
            sum += kvs_cost_layer_s(cost, 0, seg, 2);
        }
        printf("{\"bench\": \"cost\", \"what\": \"kvs_cost_layer_s, two segments, %s%s\", "
               "\"value\": %.3g, \"unit\": \"ns\", \"goal\": 100}\n",
               model_name, sum > 0 ? "" : "!", (now_s() - start) / n_call * 1e9);
    }
    kvs_cost_free(cost);
    kvs_hw_free(hw);
    kvs_model_free(model);
}

int main(void)
{
    bench("llama-3.1-8b", "h100-sxm");
    bench("gpt-oss-120b", "h200");
    return 0;
}
