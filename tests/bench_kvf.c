/*
 * Rates of the codec on one thread (CPU time, medians of interleaved rounds) beside memcpy, and of
 * e-levels beside zstd -1 and htscodecs' rANS32x16 (opened at run time), which stop at symbols
 * where ours go on to 16-bit elements. GB/s of those elements. Arguments: an instruction set; a
 * codec file, whose elements are then played beside the others instead; the model whose they are,
 * for weighted steps besides.
 */
#include "kernels/codec/half.h"
#include "kernels/codec/made.h"
#include "kernels/codec/measure.h"
#include "kernels/codec/weigh.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zstd.h>

enum { N_TOK = 2048, N_CHAN = 1024, N_LAYER = 4, ROUNDS = 9, X32 = 4 };

static void line(const char *what, double value, const char *unit, double goal)
{
    printf("{\"bench\": \"codec\", \"what\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"goal\": "
           "%.4g}\n",
           what, value, unit, goal);
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef unsigned char *rans_code(unsigned char *in, unsigned int n, unsigned char *out,
                                 unsigned int *n_out, int order);
typedef unsigned char *rans_decode(unsigned char *in, unsigned int n, unsigned char *out,
                                   unsigned int *n_out);

/* What is coded: [2 * n_layer] of [n_tok][n_chan]. */
struct scene {
    const uint16_t **x;
    uint32_t n_layer, n_tok, n_chan, block_tok;
    enum kvs_half half;
    const float *const *weight; /* as kvs_kvf_in's; NULL: none */
};

/* Symbols as a file has them, a byte each, token by token; its blocks have steps of their own. */
static void symbols(uint8_t *q, const struct scene *s, const struct kvs_kvf *kvf)
{
    float *step = malloc((size_t)s->n_tok * s->n_chan * sizeof *step);
    if (!step)
        exit(1);
    for (uint32_t i = 0; i < 2 * s->n_layer; i++)
        for (uint32_t from = 0; from < s->n_tok; from += s->block_tok) {
            uint32_t n = s->n_tok - from < s->block_tok ? s->n_tok - from : s->block_tok;
            const uint16_t *x = s->x[i] + (size_t)from * s->n_chan;
            uint32_t at = (from / s->block_tok * s->n_layer + i / 2) * 2 + i % 2;
            if (kvs_kvf_steps(kvf, at, NULL, step, NULL))
                exit(1);
            for (uint32_t c = 0; c < s->n_chan; c++) {
                double sum = 0, wide = fmax((double)step[c], 1e-30);
                for (uint32_t t = 0; t < n; t++)
                    sum += (double)kvs_f32_of_half(x[(size_t)t * s->n_chan + c], s->half) / n;
                for (uint32_t t = 0; t < n; t++) {
                    double v = (double)kvs_f32_of_half(x[(size_t)t * s->n_chan + c], s->half);
                    q[(size_t)t * s->n_chan + c] =
                        (uint8_t)fmax(0, fmin(255, rint((v - sum) / wide) + 128));
                }
            }
            q += (size_t)n * s->n_chan;
        }
    free(step);
}

/* Of s, or round by round of s over t. */
static double median(const double *s, const double *t)
{
    double of[ROUNDS];
    for (int r = 0; r < ROUNDS; r++)
        of[r] = t ? s[r] / t[r] : s[r];
    qsort(of, ROUNDS, sizeof *of, by_size);
    return of[ROUNDS / 2];
}

/* All of a file's sections, one after another. */
static double decode_s(const struct kvs_kvf *kvf, const struct scene *s,
                       const struct kvs_kvf_isa *isa, uint16_t *out)
{
    double from = cpu_s();
    for (uint32_t i = 0; i < kvs_kvf_n_section(kvf); i++) {
        struct kvs_section at = kvs_kvf_section(kvf, i);
        uint16_t *to = out + ((size_t)(2 * at.layer + at.kv) * s->n_tok + at.first_tok) * s->n_chan;
        if (kvs_kvf_decode(kvf, i, NULL, isa, to, s->n_chan, NULL))
            exit(1);
    }
    return cpu_s() - from;
}

/* An e-level beside the others, on the same symbols; medians. */
static void beside(const struct scene *s, const struct kvs_kvf_isa *isa, enum kvs_level e)
{
    size_t n = (size_t)2 * s->n_layer * s->n_tok * s->n_chan, room = ZSTD_compressBound(n) + n;
    uint8_t *q = malloc(n), *z = malloc(room), *h = malloc(room), *back = malloc(n), *file = NULL;
    uint8_t *level = malloc(2 * (size_t)s->n_layer);
    uint16_t *out = aligned_alloc(64, (n * sizeof *out + 63) / 64 * 64);
    void *lib = dlopen("libhtscodecs.so.2", RTLD_NOW | RTLD_LOCAL);
    rans_code *code = NULL;
    rans_decode *decode = NULL;
    if (lib) {
        *(void **)&code = dlsym(lib, "rans_compress_to_4x16");
        *(void **)&decode = dlsym(lib, "rans_uncompress_to_4x16");
    }
    double ours[ROUNDS], zstd[ROUNDS], hts[ROUNDS], gb = (double)n * 2e-9;
    struct kvs_kvf_in in = {{.n_layer = s->n_layer,
                             .n_kv_head = 1,
                             .head_dim = s->n_chan,
                             .n_tok = s->n_tok,
                             .block_tok = s->block_tok,
                             .half = s->half},
                            s->x,
                            level,
                            s->weight};
    const char *how = s->weight ? ", weighted steps" : "";
    char what[96];
    struct kvs_kvf *kvf;
    size_t n_file;
    unsigned n_h = (unsigned)room;
    if (!q || !z || !h || !back || !out || !level)
        exit(1);
    memset(level, (int)e, 2 * (size_t)s->n_layer);
    memset(out, 1, n * sizeof *out);
    if (kvs_kvf_encode(&in, isa, &file, &n_file, NULL) ||
        kvs_kvf_parse("bench", file, n_file, n_file, false, &kvf, NULL))
        exit(1);
    symbols(q, s, kvf);
    size_t n_z = ZSTD_compress(z, room, q, n, 1);
    if (code)
        code(q, (unsigned)n, h, &n_h, X32);
    for (int r = 0; r < ROUNDS; r++) {
        ours[r] = decode_s(kvf, s, isa, out);
        double from = cpu_s();
        if (ZSTD_decompress(back, n, z, n_z) != n)
            exit(1);
        zstd[r] = cpu_s() - from;
        from = cpu_s();
        unsigned n_back = (unsigned)n;
        if (decode && !decode(h, n_h, back, &n_back))
            exit(1);
        hts[r] = cpu_s() - from;
    }
    snprintf(what, sizeof what, "decode %s, no checksum%s", kvs_level_names[e], how);
    line(what, gb / median(ours, NULL), "GB/s", 4);
    snprintf(what, sizeof what, "decode zstd -1 of %s's symbols%s", kvs_level_names[e], how);
    line(what, gb / median(zstd, NULL), "GB/s", 0);
    snprintf(what, sizeof what, "%s over zstd -1%s", kvs_level_names[e], how);
    line(what, median(zstd, ours), "1", 1.5);
    snprintf(what, sizeof what, "bits an element of %s, the whole file%s", kvs_level_names[e], how);
    line(what, (double)n_file * 8 / (double)n, "1", 0);
    snprintf(what, sizeof what, "bits a symbol of %s by zstd -1%s", kvs_level_names[e], how);
    line(what, (double)n_z * 8 / (double)n, "1", 0);
    if (decode) {
        snprintf(what, sizeof what, "decode htscodecs rANS32x16 of %s's symbols%s",
                 kvs_level_names[e], how);
        line(what, gb / median(hts, NULL), "GB/s", 0);
        snprintf(what, sizeof what, "%s over htscodecs rANS32x16%s", kvs_level_names[e], how);
        line(what, median(hts, ours), "1", 1.2);
    } else {
        fprintf(stderr, "# skip: no libhtscodecs.so.2\n");
    }
    kvs_kvf_close(kvf);
    free(file);
    free(q);
    free(z);
    free(h);
    free(back);
    free(level);
    free(out);
    if (lib)
        (void)dlclose(lib);
}

static void beside_all(const struct scene *s, const struct kvs_kvf_isa *isa)
{
    for (enum kvs_level e = KVS_E6; e < KVS_N_LEVEL; e++)
        beside(s, isa, e);
}

/* The same of a codec file's elements, in blocks of 256. */
static void beside_file(const char *name, const char *model, const struct kvs_kvf_isa *isa)
{
    struct kvs_kvf *kvf;
    struct kvs_weights *weights = NULL;
    struct kvs_err err = {0};
    if (kvs_kvf_open(name, true, &kvf, &err)) {
        fprintf(stderr, "%s\n", err.msg);
        exit(2);
    }
    const struct kvs_kvf_shape *shape = kvs_kvf_shape(kvf);
    struct scene s = {NULL, shape->n_layer, shape->n_tok, kvs_kvf_n_chan(shape),
                      256,  shape->half,    NULL};
    size_t part = (size_t)s.n_tok * s.n_chan;
    uint16_t *x = calloc(2 * s.n_layer * part, sizeof *x);
    s.x = malloc(2 * (size_t)s.n_layer * sizeof *s.x);
    if (!x || !s.x)
        exit(1);
    for (uint32_t i = 0; i < 2 * s.n_layer; i++)
        s.x[i] = x + i * part;
    (void)decode_s(kvf, &s, isa, x);
    beside_all(&s, isa);
    const float **weight = NULL;
    if (model &&
        (kvs_weights_open(model, &weights, &err) || kvs_kvf_weigh(weights, &weight, &err))) {
        fprintf(stderr, "%s\n", err.msg);
        exit(2);
    }
    s.weight = weight;
    if (weight)
        beside_all(&s, isa);
    kvs_weights_close(weights);
    kvs_kvf_close(kvf);
    free(weight);
    free(x);
    free(s.x);
}

/* Over a factor of some 50, steps over 7. */
static void made_weights(float *weight, uint32_t i)
{
    for (uint32_t c = 0; c < N_CHAN; c++)
        weight[c] = (float)exp(2 * sin(1.7 * c + i));
}

static void rates(const uint16_t **x, const struct kvs_kvf_isa *isa)
{
    enum { N_WEIGHTED = KVS_N_LEVEL - KVS_E6, N_ALL = KVS_N_LEVEL + N_WEIGHTED };
    static uint8_t levels[N_ALL][N_LAYER * 2];
    static float weight[N_LAYER * 2][N_CHAN];
    const float *weights[N_LAYER * 2];
    struct kvs_kvf_in in[N_ALL];
    struct kvs_kvf_measure measure[N_ALL] = {{0}};
    enum kvs_level level[N_ALL];
    uint32_t n = 0;
    double copy;
    char what[96];
    for (uint32_t i = 0; i < N_LAYER * 2; i++) {
        weights[i] = weight[i];
        made_weights(weight[i], i);
    }
    for (int k = 0; k < N_ALL; k++) {
        int l = k < KVS_N_LEVEL ? k : k - N_WEIGHTED;
        if (l == KVS_LX)
            continue;
        level[n] = (enum kvs_level)l;
        for (uint32_t i = 0; i < N_LAYER * 2; i++)
            levels[n][i] = (uint8_t)l;
        in[n] = (struct kvs_kvf_in){{.n_layer = N_LAYER,
                                     .n_kv_head = 1,
                                     .head_dim = N_CHAN,
                                     .n_tok = N_TOK,
                                     .block_tok = N_TOK,
                                     .n_sink = 4,
                                     .half = KVS_F16},
                                    x,
                                    levels[n],
                                    k < KVS_N_LEVEL ? NULL : weights};
        n++;
    }
    if (kvs_kvf_rates(in, n, ROUNDS, isa, measure, &copy, NULL))
        exit(1);
    line("memcpy of the elements, between encoding and decoding them", copy, "GB/s", 0);
    for (uint32_t i = 0; i < n; i++) {
        bool e = level[i] >= KVS_E6, p = level[i] >= KVS_P8 && !e;
        const char *how = in[i].weight ? ", weighted steps" : "";
        snprintf(what, sizeof what, "decode %s%s%s", kvs_level_names[level[i]], how,
                 p ? "; goal: 15 and memcpy's rate of the elements" : "");
        line(what, measure[i].decode_gb_per_s, "GB/s", e ? 4 : p ? fmax(15, copy) : 0);
        snprintf(what, sizeof what, "encode %s%s", kvs_level_names[level[i]], how);
        line(what, measure[i].encode_gb_per_s, "GB/s", e ? 1.5 : p ? 8 : 0);
    }
}

int main(int argc, char **argv)
{
    const struct kvs_kvf_isa *isa = kvs_kvf_isa(argc > 1 ? argv[1] : NULL);
    const uint16_t *x[N_LAYER * 2];
    if (!isa)
        return 1;
    fprintf(stderr, "# codec: %s\n", kvs_kvf_isa_name(isa));
    if (argc > 2) {
        beside_file(argv[2], argc > 3 ? argv[3] : NULL, isa);
        return 0;
    }
    for (uint32_t i = 0; i < N_LAYER * 2; i++)
        x[i] = kvs_kvf_made(i, N_TOK, N_CHAN, i % 2 ? .3 : .9, KVS_F16);
    rates(x, isa);
    static float weight[2][N_CHAN];
    const float *weights[] = {weight[0], weight[1]};
    made_weights(weight[0], 0);
    made_weights(weight[1], 1);
    beside_all(&(struct scene){x, 1, N_TOK, N_CHAN, N_TOK, KVS_F16, NULL}, isa);
    beside_all(&(struct scene){x, 1, N_TOK, N_CHAN, N_TOK, KVS_F16, weights}, isa);
    for (uint32_t i = 0; i < N_LAYER * 2; i++)
        free((void *)(uintptr_t)x[i]);
    return 0;
}
