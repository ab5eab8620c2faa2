/*
 * Weight files: GGUF, safetensors (with a config.json that fits tests/fuzz/weights/tiny), llama2.c.
 * What opens is read to its last element.
 */
#include "kernels/weights/weights.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static const char config[] =
    "{\"num_hidden_layers\": 1, \"hidden_size\": 4, \"intermediate_size\": 3, "
    "\"num_attention_heads\": 2, \"num_key_value_heads\": 1, \"vocab_size\": 5, "
    "\"tie_word_embeddings\": true, \"rope_scaling\": {\"rope_type\": \"llama3\"}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_weights *weights;
    struct kvs_err err = {0};

    if (kvs_weights_parse("fuzz", data, n_byte, config, strlen(config), &weights, &err)) {
        if (!err.code || !err.msg[0] || weights)
            abort();
        return 0;
    }
    const struct kvs_weights_shape *s = kvs_weights_shape(weights);
    for (uint32_t l = 0; l < s->n_layer; l++)
        for (int kind = l ? 0 : -3; kind < KVS_W_N_LAYER_KIND; kind++) {
            enum kvs_weight which =
                (enum kvs_weight)(kind < 0 ? KVS_W_N_LAYER_KIND + kind + 3 : kind);
            float *to = malloc(kvs_weights_n(weights, which) * sizeof *to);
            if (to)
                kvs_weights_read(weights, which, l, to);
            free(to);
        }
    kvs_weights_close(weights);
    return 0;
}
