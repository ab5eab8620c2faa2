/* The sections that time a model: prefill and codec. */
#include "busy.h"
#include "coding.h"
#include "compute.h"
#include "prefill.h"
#include "quality.h"
#include "section.h"

#include "cmd.h"
#include "kernels/codec/made.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N(table) (sizeof(table) / sizeof *(table))

/* --- grid ------------------------------------------------------------------------------------ */

typedef const uint32_t *list; /* ends with 0, which contexts begin with: they end with END */
#define END UINT32_MAX

struct prefill_grid {
    struct kvs_effort effort;
    uint32_t rows[16], context[8], out[6], gemm_rows[8];
};

static const struct prefill_grid grids[] = {
    {{0.01, 0.03, 5, 5, 20, 0}, {1, 8, 64, 512}, {0, 1024, END}, {1, 8}, {1, 64, 512}},
    {{0.05, 0.12, 5, 10, 240, 0},
     {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048},
     {0, 256, 1024, 4096, END},
     {1, 4, 16, 64},
     {1, 4, 16, 64, 256, 1024}},
    {{0.25, 1, 5, 20, 3600, 0},
     {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096},
     {0, 128, 512, 1024, 2048, 4096, 8192, END},
     {1, 2, 4, 16, 64, 128},
     {1, 2, 4, 16, 64, 256, 1024}},
};

static uint32_t last_of(list v, uint32_t end)
{
    uint32_t most = 0;
    for (; *v != end; v++)
        most = *v > most ? *v : most;
    return most;
}

struct prefill_tasks {
    struct kvs_tasks tasks;
    struct kvs_prefill *prefill;
    const struct kvs_weights_shape *shape;
    const char *target;
};

static bool set(struct kvs_point *p, const char *key, uint32_t value)
{
    return kvs_point_set(p, key, json_integer(value));
}

static struct kvs_point *add(struct prefill_tasks *t, const char *probe, uint32_t rows,
                             uint32_t context)
{
    struct kvs_point *p = kvs_tasks_add(&t->tasks, probe, t->target, t->prefill, kvs_prefill_run);
    if (!p || !set(p, "rows", rows) || (context && !set(p, "context", context)))
        return NULL;
    p->size_bytes = kvs_prefill_bytes(t->shape, p);
    return p;
}

/* Whole layers behind nothing and behind the most; attention alone behind each context. */
static bool add_layers(struct prefill_tasks *t, const struct prefill_grid *g)
{
    uint32_t most = last_of(g->context, END);
    for (list rows = g->rows; *rows; rows++) {
        for (list context = g->context; *context != END; context++)
            if (!add(t, "prefill.attention", *rows, *context))
                return false;
        if (!add(t, "prefill.layer", *rows, 0) || !add(t, "prefill.layer", *rows, most) ||
            !add(t, "prefill.kv", *rows, 0) || !add(t, "prefill.begin", *rows, 0))
            return false;
    }
    for (list out = g->out; *out; out++)
        if (!add(t, "prefill.head", *out, 0))
            return false;
    return true;
}

static bool add_operators(struct prefill_tasks *t, const struct prefill_grid *g)
{
    const struct kvs_weights_shape *s = t->shape;
    uint32_t q = s->n_head * s->head_dim, kv = s->n_kv_head * s->head_dim;
    const uint32_t matrix[][2] = {
        {q + 2 * kv, s->hidden}, {s->hidden, q}, {2 * s->ffn, s->hidden}, {s->hidden, s->ffn}};
    for (size_t i = 0; i < N(matrix); i++)
        for (list rows = g->gemm_rows; *rows; rows++) {
            struct kvs_point *p = add(t, "prefill.gemm", *rows, 0);
            if (!p || !set(p, "n", matrix[i][0]) || !set(p, "k", matrix[i][1]))
                return false;
            p->size_bytes = kvs_prefill_bytes(s, p);
        }
    return add(t, "prefill.launch", 1, 0) != NULL;
}

/* --- the section ----------------------------------------------------------------------------- */

/* Opens the device asked for, or the first of cuda and cpu that is there. */
static enum kvs_code open_prefill(struct kvs_probe_run *r, const struct prefill_grid *g,
                                  struct kvs_prefill **prefill, struct kvs_err *err)
{
    struct kvs_prefill_config config = {.backend = r->opt.device ? r->opt.device : "cuda",
                                        .weights = r->subject.weights,
                                        .max_row = last_of(g->rows, 0),
                                        .max_ctx = last_of(g->context, END),
                                        .max_out = last_of(g->out, 0),
                                        .kv_elem = KVS_BF16,
                                        .seed = r->opt.seed,
                                        .stop = &kvs_probe_stop};
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = kvs_prefill_open(&config, prefill, &own);
    if (code == KVS_ERR_ABSENT && !r->opt.device) {
        config.backend = "cpu";
        return kvs_prefill_open(&config, prefill, err);
    }
    return code ? kvs_fail(err, code, "%s", own.msg) : KVS_OK;
}

static double host_memory(const struct kvs_probe_run *r)
{
    double bytes = 0;
    for (unsigned i = 0; r->topology && i < r->topology->n_numa; i++)
        bytes += r->topology->mem_bytes[i];
    return bytes;
}

/* What the points say; what they don't tell is left out of the profile. */
static void conclude(struct kvs_probe_run *r, const struct kvs_dev_info *info)
{
    char device[200];
    const char *why;
    struct kvs_compute_of of = {
        .model = r->subject.name,
        .device = device,
        .shape = kvs_weights_shape(r->subject.weights),
        .weight_bytes = (unsigned)kvs_elem_bytes(info->gemm_elem),
        .memory_bytes = host_memory(r),
    };
    snprintf(device, sizeof device, "%s: %s; weights %s, KV bf16", info->name, info->detail,
             info->gemm_elem == KVS_F32 ? "f32" : "bf16");
    json_t *entry = kvs_compute_entry(&of, &r->points, &why);
    json_decref(r->compute);
    r->compute = entry ? json_pack("[o]", entry) : NULL;
    json_decref(r->gpu);
    /* a GPU's figures come from its data sheet: kvprobe merge lays these points over them */
    r->gpu = strcmp(info->name, "cuda") != 0 ? kvs_compute_gpu(&of, &r->points, &why) : NULL;
}

enum kvs_code kvs_probe_subject(struct kvs_probe_run *r, struct kvs_err *err)
{
    if (r->subject.weights)
        return KVS_OK;
    if (r->tty)
        fputs("reading the model", stderr);
    enum kvs_code code = kvs_subject_open(r->opt.model, r->opt.seed, &r->subject, err);
    kvs_probe_end_progress(r);
    return code;
}

enum kvs_code kvs_probe_prefill(struct kvs_probe_run *r, struct kvs_err *err)
{
    const struct prefill_grid *g = &grids[r->level];
    struct prefill_tasks t = {.tasks = {0, 0, NULL, &r->points}};
    struct kvs_effort effort = g->effort;
    struct kvs_err own = {KVS_OK, ""};
    enum kvs_code code = kvs_probe_subject(r, err);
    if (code)
        return code;
    effort.seed = r->opt.seed;
    code = open_prefill(r, g, &t.prefill, &own);
    if (code == KVS_ERR_ARG)
        return kvs_fail(err, code, "--device: %s", own.msg);
    if (code)
        return kvs_probe_absent(r, "prefill.layer", r->opt.device ? r->opt.device : "cpu", code,
                                &own, err);
    const struct kvs_dev_info *info = kvs_prefill_device(t.prefill);
    t.shape = kvs_weights_shape(r->subject.weights);
    t.target = info->name;
    if (!add_layers(&t, g) || !add_operators(&t, g))
        code = kvs_nomem(err);
    else
        code = kvs_probe_measure(r, &t.tasks, &effort, err);
    if (!code)
        conclude(r, info);
    kvs_prefill_close(t.prefill);
    free(t.tasks.v);
    return code;
}

/* --- codec ----------------------------------------------------------------------------------- */

struct codec_grid {
    struct kvs_effort effort;
    uint32_t n_tok, sampled_tok; /* sampled: the text, repeated up to n_tok */
};

static const struct codec_grid codec_grids[] = {
    {{0.003, 0.01, 5, 5, 10, 0}, 512, 32},
    {{0.05, 0.15, 5, 10, 120, 0}, 512, 512},
    {{0.2, 1, 5, 20, 1200, 0}, 1024, 1024},
};
static const uint32_t block_tok[2] = {256, 32};
#define KV_SINK_TOK 4
/* Beside compute: one level of each kind. */
static const enum kvs_level tried[] = {KVS_P4, KVS_E3};

struct codec_scene {
    struct kvs_tasks tasks;
    struct kvs_coding *coding;
    struct kvs_prefill *prefill;
    struct kvs_points beside; /* what runs beside; not of the profile */
    struct kvs_busy busy[2 * N(tried)];
};

static struct kvs_point *add_coding(struct codec_scene *s, const char *probe, enum kvs_level level,
                                    uint32_t block, void *self, kvs_run_fn *run)
{
    struct kvs_point *p = kvs_tasks_add(&s->tasks, probe, "cpu", self, run);
    if (!p || !kvs_point_set(p, "level", json_string(kvs_level_names[level])) ||
        !kvs_point_set(p, "block", json_integer(block)))
        return NULL;
    p->size_bytes = kvs_coding_bytes(s->coding, strcmp(probe, "codec.encode") == 0, block);
    return p;
}

/* A point that only says what runs beside another. */
static struct kvs_point *aside(struct codec_scene *s, const char *probe)
{
    return kvs_points_add(&s->beside, probe, "cpu");
}

/* Decoding while layers are computed, and layers while a section after another is decoded. */
static bool add_beside(struct codec_scene *s, const struct kvs_weights_shape *shape)
{
    enum { ROWS = 128 };
    for (size_t i = 0; i < N(tried); i++) {
        const char *name = kvs_level_names[tried[i]];
        struct kvs_point *layer = aside(s, "prefill.layer"), *decode = aside(s, "codec.decode");
        if (!layer || !decode || !set(layer, "rows", ROWS) || !set(decode, "block", block_tok[0]) ||
            !kvs_point_set(decode, "level", json_string(name)))
            return false;
        layer->size_bytes = kvs_prefill_bytes(shape, layer);
        decode->size_bytes = kvs_coding_bytes(s->coding, false, block_tok[0]);
        s->busy[2 * i] =
            (struct kvs_busy){kvs_coding_run, s->coding, 1, {{kvs_prefill_run, s->prefill, layer}}};
        s->busy[2 * i + 1] = (struct kvs_busy){
            kvs_prefill_run, s->prefill, 1, {{kvs_coding_run, s->coding, decode}}};
        struct kvs_point *a =
            add_coding(s, "codec.decode", tried[i], block_tok[0], &s->busy[2 * i], kvs_busy_run);
        struct kvs_point *b =
            kvs_tasks_add(&s->tasks, "prefill.layer", "cpu", &s->busy[2 * i + 1], kvs_busy_run);
        if (!a || !kvs_point_set(a, "beside", json_string("prefill.layer")) || !b ||
            !set(b, "rows", ROWS) || !kvs_point_set(b, "beside", json_string("codec.decode")) ||
            !kvs_point_set(b, "level", json_string(name)))
            return false;
        b->size_bytes = kvs_prefill_bytes(shape, b);
    }
    return true;
}

static bool add_codec(struct codec_scene *s, const struct kvs_weights_shape *shape)
{
    for (int level = KVS_RAW16; level < KVS_N_LEVEL; level++)
        for (int b = 0; b < 2; b++)
            if (!add_coding(s, "codec.decode", (enum kvs_level)level, block_tok[b], s->coding,
                            kvs_coding_run) ||
                (b == 0 && level != KVS_RAW16 &&
                 !add_coding(s, "codec.encode", (enum kvs_level)level, block_tok[b], s->coding,
                             kvs_coding_run)))
                return false;
    return !s->prefill || add_beside(s, shape);
}

/* Real K and V: of the text given, or of one that the model draws. */
static enum kvs_code real_kv(struct kvs_probe_run *r, const struct codec_grid *g,
                             struct kvs_lab **lab, struct kvs_err *err)
{
    struct kvs_quality_config config = {"cpu",        0,          r->subject.weights, g->n_tok, 1,
                                        block_tok[0], KV_SINK_TOK};
    uint32_t *tok = calloc(g->n_tok + 1, sizeof *tok);
    enum kvs_code code = tok ? kvs_lab_open(&config, lab, err) : kvs_nomem(err);
    if (!code)
        code = kvs_lab_sample(*lab, r->opt.seed, tok, g->sampled_tok, err);
    assert(code || tok);
    for (uint32_t i = g->sampled_tok; i <= g->n_tok && !code; i++)
        tok[i] = tok[i - g->sampled_tok];
    if (!code)
        code = kvs_lab_read(*lab, tok, NULL, err);
    free(tok);
    return code;
}

/* Seeded weights make no K and V to speak of: made-up ones, with the statistics of real ones. */
static enum kvs_code made_kv(const struct kvs_weights_shape *shape, const struct codec_grid *g,
                             uint16_t ***x, struct kvs_err *err)
{
    size_t n_part = 2 * (size_t)shape->n_layer;
    *x = calloc(n_part + 1, sizeof **x);
    for (size_t i = 0; *x && i < n_part; i++)
        if (!((*x)[i] = kvs_kvf_made(i + 1, g->n_tok, shape->n_kv_head * shape->head_dim, .3,
                                     KVS_HALF_BF16)))
            return kvs_nomem(err);
    return *x ? KVS_OK : kvs_nomem(err);
}

static enum kvs_code open_coding(struct kvs_probe_run *r, const struct codec_grid *g,
                                 struct codec_scene *s, const uint16_t *const *x,
                                 const float *const *weight, struct kvs_err *err)
{
    const struct kvs_weights_shape *shape = kvs_weights_shape(r->subject.weights);
    struct kvs_coding_config config = {.n_layer = shape->n_layer,
                                       .n_kv_head = shape->n_kv_head,
                                       .head_dim = shape->head_dim,
                                       .n_tok = g->n_tok,
                                       .x = x,
                                       .weight = weight,
                                       .n_sink = KV_SINK_TOK,
                                       .block_tok = {block_tok[0], block_tok[1]},
                                       .stop = &kvs_probe_stop};
    struct kvs_prefill_config beside = {.backend = "cpu",
                                        .weights = r->subject.weights,
                                        .max_row = 128,
                                        .max_out = 1,
                                        .kv_elem = KVS_BF16,
                                        .seed = r->opt.seed,
                                        .stop = &kvs_probe_stop};
    enum kvs_code code = kvs_coding_open(&config, &s->coding, err);
    return code ? code : kvs_prefill_open(&beside, &s->prefill, err);
}

static enum kvs_code conclude_codec(struct kvs_probe_run *r, const struct codec_grid *g,
                                    const struct codec_scene *s, struct kvs_err *err)
{
    struct kvs_coding_size size[KVS_N_LEVEL];
    uint64_t bytes[2];
    char about[256];
    for (int level = 0; level < KVS_N_LEVEL; level++)
        size[level] = kvs_coding_size(s->coding, (enum kvs_level)level);
    for (int b = 0; b < 2; b++)
        bytes[b] = kvs_coding_bytes(s->coding, false, block_tok[b]);
    snprintf(about, sizeof about,
             "kvprobe codec on %s: %s KV of %s, %u tokens in blocks of %u, padding left out; one "
             "thread, %s",
             r->name, r->subject.real ? "its own" : "made-up", r->subject.name, g->n_tok,
             block_tok[0], kvs_kvf_isa_name(kvs_kvf_isa(NULL)));
    json_decref(r->codec);
    r->codec = kvs_codec_json(r->name, about, &r->points, size, block_tok, bytes);
    return r->codec ? KVS_OK : kvs_nomem(err);
}

enum kvs_code kvs_probe_codec(struct kvs_probe_run *r, struct kvs_err *err)
{
    const struct codec_grid *g = &codec_grids[r->level];
    struct codec_scene s = {.tasks = {0, 0, NULL, &r->points}};
    struct kvs_effort effort = g->effort;
    struct kvs_lab *lab = NULL;
    uint16_t **made = NULL;
    enum kvs_code code = kvs_probe_subject(r, err);
    if (code)
        return code;
    const struct kvs_weights_shape *shape = kvs_weights_shape(r->subject.weights);
    effort.seed = r->opt.seed;
    code = r->subject.real ? real_kv(r, g, &lab, err) : made_kv(shape, g, &made, err);
    if (!code)
        code = open_coding(r, g, &s, lab ? kvs_lab_kv(lab) : (const uint16_t *const *)made,
                           lab ? kvs_lab_weight(lab) : NULL, err);
    if (!code && !add_codec(&s, shape))
        code = kvs_nomem(err);
    if (!code)
        code = kvs_probe_measure(r, &s.tasks, &effort, err);
    if (!code)
        code = conclude_codec(r, g, &s, err);
    kvs_prefill_close(s.prefill);
    kvs_coding_close(s.coding);
    kvs_lab_close(lab);
    for (size_t i = 0; made && i < 2 * (size_t)shape->n_layer; i++)
        free(made[i]);
    free(made);
    kvs_points_free(&s.beside);
    free(s.tasks.v);
    return code;
}
