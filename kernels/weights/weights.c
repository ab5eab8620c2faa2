#include "weights.h"

#include "base/rng.h"
#include "tensors.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void kvs_rope_freq(struct kvs_weights_shape *shape, double base)
{
    for (uint32_t i = 0; i < shape->head_dim / 2; i++)
        shape->freq[i] = pow(base, -2. * i / shape->head_dim);
}

enum kvs_code kvs_tensor_place(const struct kvs_weights *weights, struct kvs_tensor *tensor,
                               const uint8_t *region, uint64_t n_region, uint64_t at,
                               struct kvs_err *err)
{
    uint64_t n = 1, n_byte;
    bool fits = true;

    tensor->data = region;
    if (!tensor->packing)
        return KVS_OK;
    for (int i = 0; i < 4; i++)
        fits = fits && !__builtin_mul_overflow(n, tensor->dim[i], &n);
    fits =
        fits && tensor->dim[0] % tensor->packing->n_block == 0 &&
        !__builtin_mul_overflow(n / tensor->packing->n_block, tensor->packing->n_byte, &n_byte) &&
        at <= n_region && n_byte <= n_region - at;
    if (!fits)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: tensor %.*s does not lie in the file",
                        weights->file, (int)(tensor->n_name < 80 ? tensor->n_name : 80),
                        tensor->name);
    tensor->data = region + at;
    return KVS_OK;
}

/* The name of a tensor in the two formats that name them, into buf. */
static void role_name(bool gguf, enum kvs_weight kind, uint32_t layer, char buf[96])
{
    static const char *const names[2][KVS_W_N_KIND] = {
        {"input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
         "self_attn.o_proj", "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj",
         "mlp.down_proj", "model.embed_tokens", "model.norm", "lm_head"},
        {"attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up",
         "ffn_down", "token_embd", "output_norm", "output"}};

    if (kind >= KVS_W_N_LAYER_KIND)
        snprintf(buf, 96, "%s.weight", names[gguf][kind]);
    else if (gguf)
        snprintf(buf, 96, "blk.%u.%s.weight", layer, names[1][kind]);
    else
        snprintf(buf, 96, "model.layers.%u.%s.weight", layer, names[0][kind]);
}

static void extent(const struct kvs_weights_shape *s, enum kvs_weight kind, uint64_t *out,
                   uint64_t *in)
{
    uint64_t q = (uint64_t)s->n_head * s->head_dim, kv = (uint64_t)s->n_kv_head * s->head_dim;
    const uint64_t extents[KVS_W_N_KIND][2] = {
        {1, s->hidden},      {q, s->hidden},          {kv, s->hidden},     {kv, s->hidden},
        {s->hidden, q},      {1, s->hidden},          {s->ffn, s->hidden}, {s->ffn, s->hidden},
        {s->hidden, s->ffn}, {s->n_vocab, s->hidden}, {1, s->hidden},      {s->n_vocab, s->hidden}};

    *out = extents[kind][0];
    *in = extents[kind][1];
}

size_t kvs_weights_n(const struct kvs_weights *weights, enum kvs_weight kind)
{
    uint64_t out, in;

    extent(&weights->shape, kind, &out, &in);
    return out * in;
}

static size_t role_of(const struct kvs_weights *w, enum kvs_weight kind, uint32_t layer)
{
    return kind < KVS_W_N_LAYER_KIND
               ? (size_t)layer * KVS_W_N_LAYER_KIND + kind
               : (size_t)w->shape.n_layer * KVS_W_N_LAYER_KIND + kind - KVS_W_EMBED;
}

/* The tensor of a role must be there, of a known type, and of the shape's extent. */
static enum kvs_code bind(struct kvs_weights *w, bool gguf, enum kvs_weight kind, uint32_t layer,
                          struct kvs_err *err)
{
    char name[96];
    uint64_t out, in;
    const struct kvs_tensor *t = NULL;

    role_name(gguf, kind, layer, name);
    extent(&w->shape, kind, &out, &in);
    for (size_t i = 0; i < w->n_tensor && !t; i++)
        if (w->tensor[i].n_name == strlen(name) &&
            memcmp(w->tensor[i].name, name, strlen(name)) == 0)
            t = &w->tensor[i];
    if (!t)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: tensor %s: missing", w->file, name);
    if (!t->packing)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: tensor %s: of a type we don't read; known: %s",
                        w->file, name, kvs_packing_known);
    if (t->dim[0] != in || t->dim[1] != out || t->dim[2] != 1 || t->dim[3] != 1)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: tensor %s: found %llu x %llu, want %llu x %llu",
                        w->file, name, (unsigned long long)t->dim[1], (unsigned long long)t->dim[0],
                        (unsigned long long)out, (unsigned long long)in);
    w->role[role_of(w, kind, layer)] = t;
    return KVS_OK;
}

static enum kvs_code bind_all(struct kvs_weights *w, bool named, bool gguf, struct kvs_err *err)
{
    const struct kvs_weights_shape *s = &w->shape;
    size_t n_role = role_of(w, KVS_W_OUTPUT, 0) + 1;
    enum kvs_code code = KVS_OK;

    if (s->head_dim == 0 || s->head_dim % 2 || s->head_dim > 256)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: heads of %u, want an even number up to 256",
                        w->file, s->head_dim);
    if (s->n_kv_head == 0 || s->n_head % s->n_kv_head)
        return kvs_fail(err, KVS_ERR_RANGE, "%s: %u heads do not divide over %u KV heads", w->file,
                        s->n_head, s->n_kv_head);
    if (!(s->norm_eps >= 0 && s->norm_eps <= 1))
        return kvs_fail(err, KVS_ERR_RANGE, "%s: the norm's epsilon is not in 0 to 1", w->file);
    w->role = kvs_arena_alloc(w->arena, n_role, sizeof(const struct kvs_tensor *));
    if (!w->role)
        return kvs_nomem(err);
    for (size_t i = 0; i < n_role && !named; i++)
        w->role[i] = &w->tensor[i];
    for (uint32_t l = 0; l < s->n_layer && named; l++)
        for (int kind = 0; kind < KVS_W_N_LAYER_KIND; kind++)
            if ((code = bind(w, gguf, (enum kvs_weight)kind, l, err)))
                return code;
    if (named && ((code = bind(w, gguf, KVS_W_EMBED, 0, err)) ||
                  (code = bind(w, gguf, KVS_W_OUT_NORM, 0, err)) ||
                  (!w->tied && (code = bind(w, gguf, KVS_W_OUTPUT, 0, err)))))
        return code;
    if (w->tied)
        w->role[role_of(w, KVS_W_OUTPUT, 0)] = w->role[role_of(w, KVS_W_EMBED, 0)];
    return KVS_OK;
}

static struct kvs_weights *fresh(const char *name, struct kvs_err *err)
{
    struct kvs_weights *w = calloc(1, sizeof *w);

    if (w)
        w->arena = kvs_arena_new();
    if (!w || !w->arena) {
        free(w);
        kvs_nomem(err);
        return NULL;
    }
    w->file = name;
    return w;
}

enum kvs_code kvs_weights_parse(const char *name, const uint8_t *data, size_t n_byte,
                                const char *config, size_t n_config, struct kvs_weights **out,
                                struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_weights *w;
    bool named = true, gguf = false;
    enum kvs_code code;

    *out = NULL;
    err = err ? err : &local;
    if (n_byte < 28)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: %zu bytes are no weights", name, n_byte);
    w = fresh(name, err);
    if (!w)
        return err->code;
    if (memcmp(data, "GGUF", 4) == 0) {
        gguf = true;
        code = kvs_gguf_parse(w, data, n_byte, err);
    } else if (data[8] == '{') {
        code = kvs_safetensors_parse(w, data, n_byte, config, n_config, err);
    } else {
        named = false;
        code = kvs_llama2c_parse(w, data, n_byte, err);
    }
    if (!code)
        code = bind_all(w, named, gguf, err);
    if (code) {
        kvs_weights_close(w);
        return code;
    }
    *out = w;
    return KVS_OK;
}

/* config.json beside file, whole; NULL if there is none. */
static char *read_config(const char *file, size_t *n)
{
    const char *slash = strrchr(file, '/');
    char path[4096];
    FILE *from;
    char *text = NULL;
    long size;

    *n = 0;
    if (snprintf(path, sizeof path, "%.*sconfig.json", slash ? (int)(slash - file + 1) : 0, file) >=
        (int)sizeof path)
        return NULL;
    from = fopen(path, "rb");
    if (!from)
        return NULL;
    if (fseek(from, 0, SEEK_END) == 0 && (size = ftell(from)) >= 0 && size < 1 << 24 &&
        fseek(from, 0, SEEK_SET) == 0 && (text = malloc((size_t)size + 1)))
        *n = fread(text, 1, (size_t)size, from);
    (void)fclose(from);
    return text;
}

/* All of a file into memory of its own: who cuts or overwrites the file later does no harm here,
 * where pages of a mapping would be gone. A FIFO has nobody to wait for: O_NONBLOCK. */
static enum kvs_code read_file(const char *file, uint8_t **data, size_t *n_byte,
                               struct kvs_err *err)
{
    struct stat stat;
    size_t n = 0, done = 0;
    ssize_t got = 1;
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    *data = NULL;
    *n_byte = 0;
    if (fd < 0 || fstat(fd, &stat) != 0) {
        kvs_fail(err, kvs_errno_code(errno), "%s: %s", file, strerror(errno));
        goto done;
    }
    n = (size_t)stat.st_size;
    if (!S_ISREG(stat.st_mode)) {
        kvs_fail(err, KVS_ERR_PARSE, "%s: is no regular file, want a model's weights", file);
        goto done;
    }
    if (!(*data = malloc(n ? n : 1))) {
        kvs_fail(err, KVS_ERR_NOMEM, "%s: no memory for its %zu bytes", file, n);
        goto done;
    }
    while (done < n && got > 0) {
        got = pread(fd, *data + done, n - done, (off_t)done);
        if (got > 0)
            done += (size_t)got;
        else if (got < 0 && errno == EINTR)
            got = 1;
    }
    if (got < 0)
        kvs_fail(err, KVS_ERR_IO, "%s: %s", file, strerror(errno));
    else if (done < n)
        kvs_fail(err, KVS_ERR_IO, "%s: ends after %zu of %zu bytes: it was cut while it was read",
                 file, done, n);
done:
    if (fd >= 0)
        (void)close(fd);
    if (err->code) {
        free(*data);
        *data = NULL;
        return err->code;
    }
    *n_byte = n;
    return KVS_OK;
}

enum kvs_code kvs_weights_open(const char *file, struct kvs_weights **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    uint8_t *data;
    size_t n_config, n_byte;

    *out = NULL;
    err = err ? err : &local;
    if (read_file(file, &data, &n_byte, err))
        return err->code;
    assert(data);
    char *config = read_config(file, &n_config);
    enum kvs_code code = kvs_weights_parse(file, data, n_byte, config, n_config, out, err);
    free(config);
    if (*out)
        (*out)->own = data;
    else
        free(data);
    return code;
}

enum kvs_code kvs_weights_random(const struct kvs_weights_shape *shape, uint64_t seed,
                                 struct kvs_weights **out, struct kvs_err *err)
{
    struct kvs_err local = {0};
    struct kvs_weights *w;

    *out = NULL;
    err = err ? err : &local;
    w = fresh("random weights", err);
    if (!w)
        return err->code;
    w->shape = *shape;
    w->seed = seed;
    w->random = w->tied = true;
    *out = w;
    return KVS_OK;
}

void kvs_weights_close(struct kvs_weights *weights)
{
    if (!weights)
        return;
    free(weights->own);
    kvs_arena_free(weights->arena);
    free(weights);
}

const struct kvs_weights_shape *kvs_weights_shape(const struct kvs_weights *weights)
{
    return &weights->shape;
}

bool kvs_weights_tied(const struct kvs_weights *weights)
{
    return weights->tied;
}

static void read_random(const struct kvs_weights *w, enum kvs_weight kind, uint32_t layer,
                        float *to)
{
    struct kvs_rng rng = kvs_rng_stream(w->seed + 64 * role_of(w, kind, layer), "weights");
    size_t n = kvs_weights_n(w, kind);
    bool norm = kind == KVS_W_ATTN_NORM || kind == KVS_W_FFN_NORM || kind == KVS_W_OUT_NORM;
    uint64_t out, in;

    extent(&w->shape, kind, &out, &in);
    for (size_t i = 0; i < n; i++)
        to[i] = norm ? 1 : (float)(kvs_rng_normal(&rng) / sqrt((double)in));
}

void kvs_weights_read(const struct kvs_weights *weights, enum kvs_weight kind, uint32_t layer,
                      float *to)
{
    size_t n = kvs_weights_n(weights, kind);

    if (weights->random) {
        read_random(weights, kind == KVS_W_OUTPUT ? KVS_W_EMBED : kind, layer, to);
        return;
    }
    const struct kvs_tensor *t = weights->role[role_of(weights, kind, layer)];
    for (size_t i = 0; i < n / t->packing->n_block; i++)
        t->packing->unpack(to + i * t->packing->n_block, t->data + i * t->packing->n_byte);
}
