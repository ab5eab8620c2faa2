/* The sections that compute with a model: prefill. */
#include "compute.h"
#include "prefill.h"
#include "section.h"

#include "cmd.h"

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

static enum kvs_code open_subject(struct kvs_probe_run *r, struct kvs_err *err)
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
    enum kvs_code code = open_subject(r, err);
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
