/*
 * gguf.c - GGUF versions 2 and 3: header, key-value pairs, tensor table, aligned data.
 */
#include "tensors.h"

#include <math.h>
#include <string.h>

struct reader {
    struct kvs_weights *weights;
    struct kvs_err *err;
    const uint8_t *at, *end;
    bool failed;
};

struct text {
    const char *at;
    uint64_t n;
};

static void fail(struct reader *r, const char *what)
{
    if (!r->failed)
        kvs_fail(r->err, KVS_ERR_PARSE, "%s: %s", r->weights->file, what);
    r->failed = true;
}

/* n_byte bytes, or NULL and the failure. */
static const uint8_t *take(struct reader *r, uint64_t n_byte)
{
    const uint8_t *at = r->at;

    if (r->failed || n_byte > (uint64_t)(r->end - r->at)) {
        fail(r, "ends within its header");
        return NULL;
    }
    r->at += n_byte;
    return at;
}

static uint32_t u32(struct reader *r)
{
    const uint8_t *at = take(r, 4);
    return at ? kvs_le32(at) : 0;
}

static uint64_t u64(struct reader *r)
{
    const uint8_t *at = take(r, 8);
    return at ? kvs_le64(at) : 0;
}

static struct text string(struct reader *r)
{
    uint64_t n = u64(r);
    const uint8_t *at = take(r, n);
    return (struct text){at ? (const char *)at : "", at ? n : 0};
}

static bool is(struct text text, const char *word)
{
    return text.n == strlen(word) && memcmp(text.at, word, text.n) == 0;
}

enum { TYPE_BOOL = 7, TYPE_STRING = 8, TYPE_ARRAY = 9 };

/* Bytes of a value of fixed size; 0: string, array or unknown. */
static unsigned size_of(uint32_t type)
{
    static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type < sizeof sizes ? sizes[type] : 0;
}

static void skip_array(struct reader *r)
{
    uint32_t type = u32(r);
    uint64_t n = u64(r), n_byte;

    if (type == TYPE_STRING) {
        for (uint64_t i = 0; i < n && !r->failed; i++)
            (void)string(r);
    } else if (size_of(type) == 0) {
        fail(r, "an array of arrays, or of an unknown type");
    } else if (__builtin_mul_overflow(n, (uint64_t)size_of(type), &n_byte)) {
        fail(r, "an array that does not fit");
    } else {
        (void)take(r, n_byte);
    }
}

struct value {
    uint32_t type;
    double number; /* numbers and bools */
    struct text text;
};

static struct value value(struct reader *r)
{
    struct value v = {.type = u32(r)};
    float f32;
    double f64;
    const uint8_t *at;
    uint64_t bits;

    if (v.type == TYPE_STRING) {
        v.text = string(r);
        return v;
    }
    if (v.type == TYPE_ARRAY) {
        skip_array(r);
        return v;
    }
    if (size_of(v.type) == 0) {
        fail(r, "a value of an unknown type");
        return v;
    }
    at = take(r, size_of(v.type));
    if (!at)
        return v;
    switch (v.type) {
    case 0:
    case TYPE_BOOL:
        v.number = at[0];
        break;
    case 1:
        v.number = (int8_t)at[0];
        break;
    case 2:
        v.number = kvs_le16(at);
        break;
    case 3:
        v.number = (int16_t)kvs_le16(at);
        break;
    case 4:
        v.number = kvs_le32(at);
        break;
    case 5:
        v.number = (int32_t)kvs_le32(at);
        break;
    case 6:
        bits = kvs_le32(at);
        memcpy(&f32, &(uint32_t){(uint32_t)bits}, sizeof f32);
        v.number = (double)f32;
        break;
    case 10:
        v.number = (double)kvs_le64(at);
        break;
    case 11:
        v.number = (double)(int64_t)kvs_le64(at);
        break;
    default:
        bits = kvs_le64(at);
        memcpy(&f64, &bits, sizeof f64);
        v.number = f64;
    }
    return v;
}

/* The numbers of the header that we use; NAN: not there. */
struct header {
    double layers, hidden, ffn, heads, kv_heads, head_dim, value_dim, ctx, vocab, eps, base,
        rope_dim, align, scale;
    struct text arch, scaling;
};

static void keys(struct reader *r, uint64_t n, struct header *h)
{
    const struct {
        const char *key;
        double *to;
    } wanted[] = {
        {"llama.block_count", &h->layers},
        {"llama.embedding_length", &h->hidden},
        {"llama.feed_forward_length", &h->ffn},
        {"llama.attention.head_count", &h->heads},
        {"llama.attention.head_count_kv", &h->kv_heads},
        {"llama.attention.key_length", &h->head_dim},
        {"llama.attention.value_length", &h->value_dim},
        {"llama.context_length", &h->ctx},
        {"llama.vocab_size", &h->vocab},
        {"llama.attention.layer_norm_rms_epsilon", &h->eps},
        {"llama.rope.freq_base", &h->base},
        {"llama.rope.dimension_count", &h->rope_dim},
        {"llama.rope.scaling.factor", &h->scale},
        {"general.alignment", &h->align},
    };

    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        *wanted[i].to = (double)NAN;
    for (uint64_t i = 0; i < n && !r->failed; i++) {
        struct text key = string(r);
        struct value v = value(r);
        if (is(key, "general.architecture"))
            h->arch = v.text;
        if (is(key, "llama.rope.scaling.type"))
            h->scaling = v.text;
        for (size_t j = 0; j < sizeof wanted / sizeof wanted[0]; j++)
            if (is(key, wanted[j].key) && v.type != TYPE_STRING && v.type != TYPE_ARRAY)
                *wanted[j].to = v.number;
    }
}

/* A whole number from 1 to max, or the failure that names key. */
static uint32_t count(struct reader *r, const char *key, double value, uint32_t max)
{
    if (!(value >= 1 && value <= max && value == floor(value))) {
        if (!r->failed) {
            if (isnan(value))
                kvs_fail(r->err, KVS_ERR_PARSE, "%s: %s: missing", r->weights->file, key);
            else
                kvs_fail(r->err, KVS_ERR_RANGE,
                         "%s: %s: found %g, want a whole number from 1 to %u", r->weights->file,
                         key, value, max);
        }
        r->failed = true;
        return 1;
    }
    return (uint32_t)value;
}

static void tensors(struct reader *r, uint64_t n)
{
    struct kvs_weights *w = r->weights;

    if (n > KVS_MAX_TENSOR) {
        fail(r, "more than 16384 tensors");
        return;
    }
    w->tensor = kvs_arena_alloc(w->arena, n, sizeof *w->tensor);
    if (!w->tensor) {
        kvs_nomem(r->err);
        r->failed = true;
        return;
    }
    for (w->n_tensor = 0; w->n_tensor < n && !r->failed; w->n_tensor++) {
        struct kvs_tensor *t = &w->tensor[w->n_tensor];
        struct text name = string(r);
        t->name = name.at;
        t->n_name = name.n;
        t->n_dim = u32(r);
        if (t->n_dim > 4) {
            fail(r, "a tensor of more than 4 dimensions");
            return;
        }
        for (uint32_t i = 0; i < 4; i++)
            t->dim[i] = i < t->n_dim ? u64(r) : 1;
        t->packing_id = u32(r);
        t->packing = kvs_packing_of(t->packing_id);
        t->data = take(r, 8); /* its offset, until all are known */
    }
}

static void shape_of(struct reader *r, const struct header *h)
{
    struct kvs_weights_shape *s = &r->weights->shape;

    if (!is(h->arch, "llama")) {
        if (!r->failed)
            kvs_fail(r->err, KVS_ERR_PARSE,
                     "%s: general.architecture: found \"%.*s\", want \"llama\"", r->weights->file,
                     (int)(h->arch.n < 40 ? h->arch.n : 40), h->arch.n ? h->arch.at : "");
        r->failed = true;
        return;
    }
    s->n_layer = count(r, "llama.block_count", h->layers, KVS_MAX_LAYER);
    s->hidden = count(r, "llama.embedding_length", h->hidden, 1 << 20);
    s->ffn = count(r, "llama.feed_forward_length", h->ffn, 1 << 22);
    s->n_head = count(r, "llama.attention.head_count", h->heads, 1 << 12);
    s->n_kv_head = isnan(h->kv_heads)
                       ? s->n_head
                       : count(r, "llama.attention.head_count_kv", h->kv_heads, 1 << 12);
    s->head_dim = isnan(h->head_dim) ? s->hidden / s->n_head
                                     : count(r, "llama.attention.key_length", h->head_dim, 256);
    s->n_ctx = count(r, "llama.context_length", h->ctx, 1u << 30);
    s->norm_eps = (float)(isnan(h->eps) ? 1e-5 : h->eps);
    if (!isnan(h->rope_dim) && (uint32_t)fmin(fmax(h->rope_dim, 0), 1e9) != s->head_dim)
        fail(r, "llama.rope.dimension_count: only rotations of the whole head are known");
    if (!isnan(h->value_dim) && (uint32_t)fmin(fmax(h->value_dim, 0), 1e9) != s->head_dim)
        fail(r, "llama.attention.value_length: only values as long as keys are known");
    if (h->scaling.n && !is(h->scaling, "none") && !is(h->scaling, "linear"))
        fail(r, "llama.rope.scaling.type: only none and linear are known");
    if (!isnan(h->base) && !(h->base >= 1 && h->base <= 1e12))
        fail(r, "llama.rope.freq_base: want a number from 1 to 1e12");
    if (!r->failed && s->head_dim <= 256)
        kvs_rope_freq(s, isnan(h->base) ? 10000 : h->base);
    if (is(h->scaling, "linear") && h->scale > 0)
        for (uint32_t i = 0; i < s->head_dim / 2 && i < 128; i++)
            s->freq[i] /= h->scale;
}

/* Llama 3's scaling comes as a tensor of divisors. */
static void scale_freq(struct reader *r)
{
    struct kvs_weights *w = r->weights;

    for (size_t i = 0; i < w->n_tensor; i++) {
        const struct kvs_tensor *t = &w->tensor[i];
        if (!is((struct text){t->name, t->n_name}, "rope_freqs.weight"))
            continue;
        if (!t->packing || t->packing->id != 0 || t->n_dim != 1 ||
            t->dim[0] != w->shape.head_dim / 2) {
            fail(r, "rope_freqs.weight: want F32, half a head of them");
            return;
        }
        for (uint32_t j = 0; j < w->shape.head_dim / 2; j++) {
            float by;
            t->packing->unpack(&by, t->data + 4 * (size_t)j);
            if (!(by >= 1e-6f && by <= 1e6f)) {
                fail(r, "rope_freqs.weight: want numbers from 1e-6 to 1e6");
                return;
            }
            w->shape.freq[j] /= (double)by;
        }
    }
}

static const struct kvs_tensor *find(const struct kvs_weights *w, const char *name)
{
    for (size_t i = 0; i < w->n_tensor; i++)
        if (is((struct text){w->tensor[i].name, w->tensor[i].n_name}, name))
            return &w->tensor[i];
    return NULL;
}

enum kvs_code kvs_gguf_parse(struct kvs_weights *weights, const uint8_t *data, size_t n_byte,
                             struct kvs_err *err)
{
    struct reader r = {.weights = weights, .err = err, .at = data + 4, .end = data + n_byte};
    struct header h = {0};
    uint32_t version = u32(&r);
    uint64_t n_tensor = u64(&r), n_key = u64(&r);

    if (!r.failed && version != 2 && version != 3)
        return kvs_fail(err, KVS_ERR_PARSE, "%s: GGUF version %u, want 2 or 3", weights->file,
                        version);
    keys(&r, n_key, &h);
    tensors(&r, n_tensor);
    if (!r.failed)
        shape_of(&r, &h);
    if (r.failed)
        return err->code;
    uint32_t align = isnan(h.align) ? 32 : count(&r, "general.alignment", h.align, 1 << 20);
    uint64_t begin = ((uint64_t)(r.at - data) + align - 1) / align * align;
    if (begin > n_byte)
        begin = n_byte;
    for (size_t i = 0; i < weights->n_tensor && !r.failed; i++) {
        struct kvs_tensor *t = &weights->tensor[i];
        if (kvs_tensor_place(weights, t, data + begin, n_byte - begin, kvs_le64(t->data), err))
            r.failed = true;
    }
    if (!r.failed)
        scale_freq(&r);
    const struct kvs_tensor *embed = find(weights, "token_embd.weight");
    weights->shape.n_vocab =
        count(&r, "llama.vocab_size", embed ? (double)embed->dim[1] : (double)NAN, 1 << 24);
    weights->tied = !find(weights, "output.weight");
    return r.failed ? err->code : KVS_OK;
}
