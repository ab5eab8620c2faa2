#include "subject.h"

#include "base/data.h"
#include "model/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_FILE "models/SmolLM2-135M-Instruct.Q4_1.gguf"
#define DEFAULT_SHAPE "smollm2-135m"
#define ROPE_BASE 10000.

static bool same_shape(const struct kvs_model *m, const struct kvs_weights_shape *s)
{
    return m->n_layer == s->n_layer && m->hidden == s->hidden && m->heads == s->n_head &&
           m->kv_heads == s->n_kv_head && m->head_dim == s->head_dim && m->ffn == s->ffn &&
           m->vocab == s->n_vocab;
}

/* The name of configs/models whose shape it is, else the file's own without folder and ending. */
static void name_it(struct kvs_subject *subject, const char *file)
{
    char **names = kvs_data_names("configs/models");
    const char *slash = strrchr(file, '/'), *base = slash ? slash + 1 : file;
    snprintf(subject->name, sizeof subject->name, "%.*s", (int)strcspn(base, "."), base);
    for (char **name = names; name && *name; name++) {
        struct kvs_model *m;
        if (kvs_model_open(*name, &m, NULL) != KVS_OK)
            continue;
        bool same = same_shape(m, kvs_weights_shape(subject->weights));
        kvs_model_free(m);
        if (same) {
            snprintf(subject->name, sizeof subject->name, "%s", *name);
            break;
        }
    }
    kvs_data_names_free(names);
}

static enum kvs_code open_shape(const char *name, uint64_t seed, struct kvs_subject *subject,
                                struct kvs_err *err)
{
    struct kvs_model *m;
    enum kvs_code code = kvs_model_open(name, &m, err);
    if (code)
        return code;
    struct kvs_weights_shape s = {.n_layer = m->n_layer,
                                  .hidden = m->hidden,
                                  .ffn = m->ffn,
                                  .n_head = m->heads,
                                  .n_kv_head = m->kv_heads,
                                  .head_dim = m->head_dim,
                                  .n_vocab = m->vocab,
                                  .n_ctx = 1u << 20,
                                  .norm_eps = 1e-5f};
    if (m->moe.experts || m->mla.kv_lora || m->head_dim > 256)
        code = kvs_fail(err, KVS_ERR_RANGE,
                        "%s: mixtures and latent attention cannot be computed here; want a plain "
                        "Llama-family model",
                        m->name);
    for (uint32_t i = 0; i < s.head_dim / 2 && !code; i++)
        s.freq[i] = pow(ROPE_BASE, -2. * i / s.head_dim);
    if (!code) {
        snprintf(subject->name, sizeof subject->name, "%s", m->name);
        code = kvs_weights_random(&s, seed, &subject->weights, err);
    }
    kvs_model_free(m);
    return code;
}

enum kvs_code kvs_subject_open(const char *name_or_file, uint64_t seed, struct kvs_subject *subject,
                               struct kvs_err *err)
{
    const char *file = name_or_file;
    memset(subject, 0, sizeof *subject);
    if (!file) {
        file = getenv("KVS_SMOLLM2");
        file = file ? file : DEFAULT_FILE;
        if (access(file, R_OK) != 0)
            file = DEFAULT_SHAPE;
    }
    size_t n = strlen(file);
    bool is_file = access(file, R_OK) == 0 && (strchr(file, '/') || strchr(file, '.')) &&
                   (n < 5 || strcmp(file + n - 5, ".json") != 0);
    if (!is_file)
        return open_shape(file, seed, subject, err);
    enum kvs_code code = kvs_weights_open(file, &subject->weights, err);
    if (code)
        return code;
    subject->real = true;
    name_it(subject, file);
    return KVS_OK;
}

void kvs_subject_close(struct kvs_subject *subject)
{
    kvs_weights_close(subject->weights);
    memset(subject, 0, sizeof *subject);
}
