#include "coding.h"

#include "base/hist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TIME 4096
#define MIN_OPS 3 /* so that a median leaves out one that was interrupted */

struct coded {
    uint8_t *file;
    size_t n_byte;
    struct kvs_kvf *kvf;
};

struct kvs_coding {
    struct kvs_coding_config config;
    const struct kvs_kvf_isa *isa;
    uint32_t n_chan;
    struct coded coded[KVS_N_LEVEL][2];
    struct kvs_kvf_memory memory; /* what is encoded, over the last */
    uint16_t *to; /* all elements: decoding goes where the caches have not been lately */
    unsigned n_time;
    double time_s[MAX_TIME];
};

/* memory: where the file lies, as a store's do; NULL: the caller's to free */
static enum kvs_code encode(const struct kvs_coding *c, struct kvs_kvf_memory *memory,
                            enum kvs_level level, uint32_t block_tok, uint8_t **file,
                            size_t *n_byte, struct kvs_err *err)
{
    const struct kvs_coding_config *f = &c->config;
    uint8_t levels[2 * 256];
    struct kvs_kvf_in in = {{.n_layer = f->n_layer,
                             .n_kv_head = f->n_kv_head,
                             .head_dim = f->head_dim,
                             .n_tok = f->n_tok,
                             .block_tok = block_tok,
                             .n_sink = f->n_sink,
                             .half = KVS_HALF_BF16},
                            f->x,
                            levels,
                            f->weight};
    memset(levels, (int)level, sizeof levels);
    return kvs_kvf_encode_into(memory, &in, c->isa, file, n_byte, err);
}

enum kvs_code kvs_coding_open(const struct kvs_coding_config *config, struct kvs_coding **out,
                              struct kvs_err *err)
{
    struct kvs_coding *c = calloc(1, sizeof *c);
    enum kvs_code code = KVS_OK;
    *out = NULL;
    if (!c)
        return kvs_nomem(err);
    c->config = *config;
    c->isa = kvs_kvf_isa(NULL);
    c->n_chan = config->n_kv_head * config->head_dim;
    c->to = calloc((size_t)config->n_tok * config->n_layer * 2, c->n_chan * sizeof *c->to);
    if (!c->to)
        code = kvs_nomem(err);
    else if (config->n_layer > 256)
        code = kvs_fail(err, KVS_ERR_RANGE, "%u layers; want at most 256", config->n_layer);
    for (int level = 0; level < KVS_N_LEVEL && !code; level++)
        for (int b = 0; b < 2 && !code; b++) {
            struct coded *x = &c->coded[level][b];
            if (!(code = encode(c, NULL, (enum kvs_level)level, config->block_tok[b], &x->file,
                                &x->n_byte, err)))
                code = kvs_kvf_parse("made", x->file, x->n_byte, x->n_byte, true, &x->kvf, err);
        }
    if (code) {
        kvs_coding_close(c);
        return code;
    }
    *out = c;
    return KVS_OK;
}

void kvs_coding_close(struct kvs_coding *c)
{
    if (!c)
        return;
    for (int level = 0; level < KVS_N_LEVEL; level++)
        for (int b = 0; b < 2; b++) {
            kvs_kvf_close(c->coded[level][b].kvf);
            free(c->coded[level][b].file);
        }
    kvs_kvf_memory_free(&c->memory);
    free(c->to);
    free(c);
}

/* Bytes of all sections of keys or of values. */
static double stored_bytes(const struct kvs_kvf *kvf, enum kvs_kv kv)
{
    double bytes = 0;
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct kvs_section s = kvs_kvf_section(kvf, i);
        if (s.kv == kv)
            bytes += (double)s.n_byte;
    }
    return bytes;
}

struct kvs_coding_size kvs_coding_size(const struct kvs_coding *c, enum kvs_level level)
{
    const struct kvs_kvf *big = c->coded[level][0].kvf, *small = c->coded[level][1].kvf;
    double n_element = (double)c->config.n_tok * c->n_chan * c->config.n_layer;
    double n_more = (double)kvs_kvf_n_section(small) - (double)kvs_kvf_n_section(big), more = 0;
    struct kvs_coding_size size;
    for (int kv = 0; kv < 2; kv++) {
        double bytes = stored_bytes(big, (enum kvs_kv)kv);
        size.bits[kv] = fmin(bytes * 8 / n_element, 16);
        more += stored_bytes(small, (enum kvs_kv)kv) - bytes;
    }
    size.channel_bytes = n_more > 0 ? fmin(fmax(more / (n_more * c->n_chan), 0), 64) : 0;
    return size;
}

uint64_t kvs_coding_bytes(const struct kvs_coding *c, bool all, uint32_t block_tok)
{
    uint64_t tok = all ? 2 * (uint64_t)c->config.n_layer * c->config.n_tok : block_tok;
    return tok * c->n_chan * sizeof(uint16_t);
}

/* --- running --------------------------------------------------------------------------------- */

static enum kvs_code decode_one(struct kvs_coding *c, const struct kvs_kvf *kvf, uint32_t i,
                                struct kvs_err *err)
{
    struct kvs_section s = kvs_kvf_section(kvf, i);
    size_t part = (size_t)c->config.n_tok * c->n_chan;
    uint16_t *to = c->to + (2 * s.layer + s.kv) * part + (size_t)s.first_tok * c->n_chan;
    return kvs_kvf_decode(kvf, i, NULL, c->isa, to, c->n_chan, err);
}

static enum kvs_code encode_all(struct kvs_coding *c, enum kvs_level level, uint32_t block_tok,
                                struct kvs_err *err)
{
    uint8_t *file;
    size_t n;
    return encode(c, &c->memory, level, block_tok, &file, &n, err);
}

enum kvs_code kvs_coding_run(void *self, struct kvs_point *point, double secs,
                             struct kvs_sample *sample, struct kvs_err *err)
{
    struct kvs_coding *c = self;
    enum kvs_level level;
    json_int_t block = json_integer_value(json_object_get(point->params, "block"));
    unsigned b = block == (json_int_t)c->config.block_tok[1];
    bool encodes = strcmp(point->probe, "codec.encode") == 0;
    enum kvs_code code = KVS_OK;
    if (!kvs_level_find(kvs_point_param(point, "level"), &level) ||
        block != (json_int_t)c->config.block_tok[b])
        return kvs_fail(err, KVS_ERR_ARG, "%s: no such level and block", point->probe);
    const struct kvs_kvf *kvf = c->coded[level][b].kvf;
    double cpu_ns = kvs_cpu_ns();
    c->n_time = 0;
    for (uint32_t i = 0; !code && !(sample->ops >= MIN_OPS && sample->secs >= secs) &&
                         !(c->config.stop && *c->config.stop);
         i = (i + 1) % kvs_kvf_n_section(kvf)) {
        int64_t from_ns = kvs_now_ns();
        code = encodes ? encode_all(c, level, c->config.block_tok[b], err)
                       : decode_one(c, kvf, i, err);
        double s = (double)(kvs_now_ns() - from_ns) / 1e9;
        c->time_s[c->n_time++ % MAX_TIME] = s;
        sample->secs += s;
        sample->ops++;
        sample->bytes += point->size_bytes;
        kvs_hist_add(&sample->lat_ns, (uint64_t)(s * 1e9));
    }
    unsigned n = c->n_time < MAX_TIME ? c->n_time : MAX_TIME;
    sample->cpu_ns = kvs_cpu_ns() - cpu_ns;
    double usual_s = kvs_middle(c->time_s, n);
    sample->bytes_per_s = usual_s > 0 ? (double)point->size_bytes / usual_s : 0;
    return code;
}

/* --- the codec's file ------------------------------------------------------------------------ */

static const struct kvs_point *find(const struct kvs_points *points, const char *probe,
                                    const char *level, uint32_t block_tok, bool beside)
{
    for (size_t i = 0; i < points->n; i++) {
        const struct kvs_point *p = points->v[i];
        if (p->status == KVS_MEASURED_OK && p->n_repeat && strcmp(p->probe, probe) == 0 &&
            strcmp(kvs_point_param(p, "level"), level) == 0 &&
            json_integer_value(json_object_get(p->params, "block")) == (json_int_t)block_tok &&
            (kvs_point_param(p, "beside")[0] != 0) == beside && p->rate.median > 0)
            return p;
    }
    return NULL;
}

static json_t *figure(double value, const char *ref, double error)
{
    return json_pack("{sf ss ss sf}", "value", value, "source", "measured", "ref", ref, "rel_error",
                     error);
}

static double error_of(const struct kvs_point *p)
{
    double error = (p->rate.ci95[1] - p->rate.ci95[0]) / 2 / p->rate.median;
    return fmin(p->noisy ? fmax(error, .25) : error, 10);
}

/* How much slower decoding is beside compute: the mean of the levels that were tried, in the log.
 */
static double slowdown(const struct kvs_points *points, uint32_t block_tok)
{
    double sum = 0;
    unsigned n = 0;
    for (int level = 0; level < KVS_N_LEVEL; level++) {
        const char *name = kvs_level_names[level];
        const struct kvs_point *alone = find(points, "codec.decode", name, block_tok, false);
        const struct kvs_point *beside = find(points, "codec.decode", name, block_tok, true);
        if (alone && beside) {
            sum += log(alone->rate.median / beside->rate.median);
            n++;
        }
    }
    return n ? fmax(1, exp(sum / n)) : 1;
}

static json_t *level_json(enum kvs_level level, const struct kvs_points *points,
                          const struct kvs_coding_size *size, const uint32_t block_tok[2],
                          const uint64_t section_bytes[2], double slower)
{
    const char *name = kvs_level_names[level];
    const struct kvs_point *big = find(points, "codec.decode", name, block_tok[0], false);
    const struct kvs_point *small = find(points, "codec.decode", name, block_tok[1], false);
    const struct kvs_point *in = find(points, "codec.encode", name, block_tok[0], false);
    json_t *section = json_null(), *decode = json_null(), *encode = json_null();
    static const char how[] = "kvprobe codec";
    if (big) {
        double rate = big->rate.median, fixed = 0;
        if (small) { /* seconds = fixed + bytes / rate, through both */
            double s0 = (double)section_bytes[0] / big->rate.median;
            double s1 = (double)section_bytes[1] / small->rate.median;
            double slope = (s0 - s1) / ((double)section_bytes[0] - (double)section_bytes[1]);
            fixed = s1 - slope * (double)section_bytes[1];
            if (slope > 0 && fixed > 0)
                rate = 1 / slope;
            else
                fixed = 0;
            json_decref(section);
            section = figure(fixed * slower, "kvprobe codec, sections of two sizes", .5);
        }
        json_decref(decode);
        decode =
            figure(rate / slower, slower > 1 ? "kvprobe codec, one thread while compute runs" : how,
                   error_of(big));
    }
    if (in) {
        json_decref(encode);
        encode = figure(in->rate.median, how, error_of(in));
    }
    return json_pack(
        "{ss sb so so so so so so}", "name", name, "lossless", level == KVS_LX, "k_bits",
        figure(size->bits[0], how, .02), "v_bits", figure(size->bits[1], how, .02), "channel_bytes",
        figure(size->channel_bytes, "kvprobe codec, blocks of two sizes", .05),
        "encode_bytes_per_s", encode, "decode_bytes_per_s", decode, "section_s", section);
}

json_t *kvs_codec_json(const char *name, const char *about, const struct kvs_points *points,
                       const struct kvs_coding_size size[KVS_N_LEVEL], const uint32_t block_tok[2],
                       const uint64_t section_bytes[2])
{
    /* finest first, as stored */
    static const enum kvs_level order[] = {KVS_LX,   KVS_FP8, KVS_P8,  KVS_E6, KVS_E5,
                                           KVS_P4,   KVS_E4,  KVS_P3,  KVS_E3, KVS_P2,
                                           KVS_E2_5, KVS_E2,  KVS_E1_5};
    double slower = slowdown(points, block_tok[0]);
    json_t *levels = json_array();
    for (size_t i = 0; i < sizeof order / sizeof *order && levels; i++)
        if (json_array_append_new(levels, level_json(order[i], points, &size[order[i]], block_tok,
                                                     section_bytes, slower)) != 0) {
            json_decref(levels);
            return NULL;
        }
    return json_pack("{ss ss ss so}", "name", name, "about", about, "decoder", "host", "levels",
                     levels);
}
