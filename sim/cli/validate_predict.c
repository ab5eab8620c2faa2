/*
 * validate_predict.c - what a profile says of a case: the planner's own tables and evaluation.
 */
#include "plan/chain.h"
#include "validate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NO_BUDGET (INT64_MAX / 4)

static struct kvs_hw_link unbounded(const char *name)
{
    return (struct kvs_hw_link){.name = name,
                                .read_bytes_per_s = {.value = 1e12, .known = true},
                                .write_bytes_per_s = {.value = 1e12, .known = true},
                                .latency_s = {.known = true},
                                .descriptor_s = {.known = true}};
}

/*
 * The path: a token bucket of the case's rate, and the profile's own disk behind it, where the
 * store is a folder and the profile has one; the slower of the two. A block of a layer is one read.
 */
static void set_route(const struct kvs_val_lab *lab, const struct kvs_val_case *c,
                      struct kvs_val_problem *p)
{
    bool folder = !lab->options.store || strncmp(lab->options.store, "redis:", 6) != 0;
    const struct kvs_hw_link *disk = folder ? kvs_hw_link(lab->hw, "nvme") : NULL;

    p->disk = disk ? *disk : unbounded("store");
    p->path = unbounded("path");
    p->path.latency_s.value = c->latency_s;
    if (c->bytes_per_s > 0)
        p->path.read_bytes_per_s.value = c->bytes_per_s;
    p->route = (struct kvs_table_route){.n_hop = 2, .hop = {{&p->disk, 1}, {&p->path, 1}}};
}

/*
 * Shares of moved blocks that may be repaired. What they leave lost is told where the quality table
 * has it (the first tokens of each passage); else it counts as nothing, and no loss is predicted.
 */
static void set_repair(const struct kvs_val_lab *lab, const struct kvs_val_case *c,
                       struct kvs_val_problem *p)
{
    static const double share[KVS_VAL_REPAIR] = {0, .03, .05, .08, .12, .15, .2, .3};

    p->n_repair = c->reuse == KVS_VAL_CONTENT ? KVS_VAL_REPAIR : 0;
    for (uint32_t i = 0; i < p->n_repair; i++) {
        double nats = lab->quality ? kvs_quality_repair_nats(lab->quality, "first-tokens", share[i])
                                   : HUGE_VAL;

        p->repair_frac[i] = share[i];
        p->repair_distortion[i] = isfinite(nats) ? llround(KVS_NAT * nats) : 0;
    }
}

uint32_t kvs_val_repair_tok(const struct kvs_val_lab *lab, const struct kvs_val_problem *p,
                            uint32_t frac_i)
{
    uint32_t i = frac_i < p->n_repair ? frac_i : p->n_repair - 1;

    return p->n_repair ? (uint32_t)ceil(p->repair_frac[i] * (double)lab->options.block_tok) : 0;
}

/* One entry of the menu: a stored level, with the bytes that it has in the store. */
static enum kvs_code add_level(const struct kvs_val_lab *lab, const char *name, uint32_t n_frac,
                               struct kvs_val_problem *p, struct kvs_err *err)
{
    struct kvs_strs names = {.n = 1, .v = {name}};
    const struct kvs_levels_config config = {.model = lab->model,
                                             .codec = lab->codec,
                                             .quality = lab->quality,
                                             .n_decoder = 1,
                                             .n_frac = n_frac,
                                             .names = &names};
    int stored = kvs_val_level(lab, name);
    uint32_t q = p->n_level;

    if (stored < 0)
        return kvs_fail(err, KVS_ERR_ARG, "level %s is not stored", name);
    if (kvs_levels_new(&config, &p->levels[q], err))
        return err->code;
    p->level[q] = p->levels[q]->level[p->levels[q]->n - 1]; /* raw16 is always the first */
    p->level[q].k_ratio = p->level[q].v_ratio = p->held->ratio[stored];
    p->level_i[q] = (uint32_t)stored;
    p->n_level++;
    return KVS_OK;
}

enum kvs_code kvs_val_problem_begin(const struct kvs_val_lab *lab, const struct kvs_val_case *c,
                                    struct kvs_val_problem *p, struct kvs_err *err)
{
    uint32_t block_tok = (uint32_t)lab->options.block_tok, n_frac, n_cached = 0;

    memset(p, 0, sizeof *p);
    p->n_block = c->context_tok / block_tok;
    for (uint32_t b = 0; b < p->n_block; b++)
        n_cached += kvs_val_held_as(c, b) != KVS_VAL_ABSENT;
    p->held = &lab->held[c->reuse];
    set_route(lab, c, p);
    set_repair(lab, c, p);
    n_frac = n_cached + (p->n_repair ? p->n_repair : 1);
    n_frac = n_frac > KVS_MAX_FRAC ? KVS_MAX_FRAC : n_frac;
    for (uint32_t q = 0; q < (c->level ? 1 : lab->n_level); q++)
        if (add_level(lab, c->level ? c->level : lab->level[q], n_frac, p, err))
            return err->code;
    /* HCache's rule weighs states against KV; with only states held, both entries are states */
    if (c->level && strcmp(c->level, KVS_HIDDEN) == 0 && add_level(lab, c->level, n_frac, p, err))
        return err->code;
    const struct kvs_tables_config config = {
        .model = lab->model,
        .cost = lab->cost,
        .n_route = 1,
        .route = &p->route,
        .chunk_tok = c->context_tok + c->new_tok,
        .n_frac = n_frac,
        .descriptors = 1,
        .n_level = p->n_level,
        .level = p->level,
        .repair = {.n = p->n_repair, .frac = p->repair_frac, .distortion = p->repair_distortion},
        .budget = c->budget_nats > 0 ? llround(c->budget_nats * KVS_NAT) : NO_BUDGET};
    p->piece = calloc(p->n_block + 1u, sizeof *p->piece);
    p->stored_tok = calloc((size_t)p->n_block * p->n_level + 1, sizeof *p->stored_tok);
    if (!p->piece || !p->stored_tok)
        return kvs_nomem(err);
    for (uint32_t b = 0; b < p->n_block; b++) {
        double *stored_tok = &p->stored_tok[b * p->n_level];
        unsigned as = kvs_val_held_as(c, b);

        p->piece[b] = (struct kvs_piece){.n_tok = block_tok, .where = KVS_AT_NONE};
        if (as == KVS_VAL_ABSENT)
            continue;
        for (uint32_t q = 0; q < p->n_level; q++) {
            uint32_t stored = p->level_i[q];

            stored_tok[q] = lab->held[as].tok[b * lab->n_level + stored] *
                            (lab->held[as].ratio[stored] / p->held->ratio[stored]);
        }
        p->piece[b].where = 0;
        p->piece[b].moved = as == KVS_VAL_CONTENT && b > 0;
        p->piece[b].stored_tok = stored_tok;
    }
    p->piece[p->n_block] = (struct kvs_piece){.n_tok = c->new_tok, .where = KVS_AT_NONE};
    if (kvs_tables_new(&config, &p->tables, err))
        return err->code;
    p->inst = kvs_tables_inst_new(p->tables);
    if (!p->inst)
        return kvs_nomem(err);
    kvs_tables_build(p->tables, p->inst, p->piece, p->n_block + 1, &p->problem);
    return KVS_OK;
}

void kvs_val_problem_end(struct kvs_val_problem *p)
{
    kvs_tables_inst_free(p->inst);
    kvs_tables_free(p->tables);
    for (uint32_t q = 0; q < p->n_level; q++)
        kvs_levels_free(p->levels[q]);
    free(p->piece);
    free(p->stored_tok);
    memset(p, 0, sizeof *p);
}

static bool loads_nothing(const struct kvs_plan_problem *problem, const struct kvs_plan *plan)
{
    for (uint32_t l = 0; l < problem->n_layer; l++)
        if (plan->frac_i[l] + 1u < problem->n_frac)
            return false;
    return true;
}

bool kvs_val_evaluate(const struct kvs_val_problem *p, struct kvs_val_predicted *predicted)
{
    const struct kvs_plan *plan = &predicted->plan;
    struct kvs_plan_problem problem = p->problem;
    struct kvs_chain_head head;
    int64_t post_ns, pre_ns = problem.gpu_start_ns;

    if (loads_nothing(&problem, plan))
        problem.n_route = 0; /* waits for no path to begin */
    if (!kvs_plan_eval(&problem, plan, NULL, &predicted->eval))
        return false;
    predicted->io_work_ns = predicted->decode_work_ns = 0;
    kvs_chain_head_init(&problem, &head);
    post_ns = problem.gpu_start_ns + predicted->eval.pre_ns;
    for (uint32_t l = 0; l < problem.n_layer; l++) {
        uint32_t next = l + 1 < problem.n_layer ? plan->frac_i[l + 1] : 0;
        struct kvs_chain_step step;

        kvs_chain_step_at(&problem, l, plan->frac_i[l], next, plan->level[l], &step);
        kvs_chain_append(problem.n_route, &head, &step);
        post_ns += step.wait_ns;
        pre_ns += step.pre_ns;
        predicted->pre_ns[l] = step.pre_ns;
        predicted->pre_end_ns[l] = pre_ns;
        predicted->io_ns[l] = problem.n_route ? step.io_ns[0] : 0;
        predicted->decode_ns[l] = step.decode_ns;
        predicted->post_ns[l] = step.wait_ns;
        predicted->io_end_ns[l] = head.in_ns[0];
        predicted->decode_end_ns[l] = head.x_ns;
        predicted->post_end_ns[l] = post_ns > head.after_ns ? post_ns : head.after_ns;
        predicted->io_work_ns += predicted->io_ns[l];
        predicted->decode_work_ns += step.decode_ns;
    }
    predicted->head_ns = problem.head_ns;
    predicted->compute_work_ns = predicted->eval.pre_ns + predicted->eval.wait_ns + problem.head_ns;
    return true;
}

enum kvs_code kvs_val_plan(const struct kvs_val_lab *lab, const struct kvs_val_problem *p,
                           const char *policy, struct kvs_val_predicted *predicted,
                           struct kvs_err *err)
{
    const struct kvs_planner_ops *planner = kvs_planner_find(policy);
    struct kvs_val_predicted all = {0};
    int64_t bound_ns;

    memset(predicted, 0, sizeof *predicted);
    if (strcmp(policy, "half") == 0)
        memset(predicted->plan.frac_i, (int)p->problem.n_frac / 2, p->problem.n_layer);
    else if (!planner)
        return kvs_fail(err, KVS_ERR_ARG, "unknown policy \"%s\"", policy);
    else if (planner->plan(&p->problem, lab->scratch, &predicted->plan, &predicted->eval, &bound_ns,
                           err))
        return err->code;
    (void)kvs_val_evaluate(p, predicted);
    memset(all.plan.frac_i, (int)p->problem.n_frac - 1, p->problem.n_layer);
    (void)kvs_val_evaluate(p, &all);
    /* the planners count the path's start in every plan; one that loads nothing does without */
    if (planner && planner->may_recompute && all.eval.end_ns < predicted->eval.end_ns)
        *predicted = all;
    return KVS_OK;
}

double kvs_val_even_rate(const struct kvs_val_lab *lab, enum kvs_val_reuse reuse, uint32_t n_tok,
                         uint32_t level)
{
    double bytes_per_tok = 0;

    for (uint32_t l = 0; l < lab->model->n_layer; l++)
        bytes_per_tok += kvs_model_kv_bytes_per_tok(lab->model, l) * lab->held[reuse].ratio[level];
    return n_tok / kvs_cost_prefill_s(lab->cost, 0, n_tok, 0) * bytes_per_tok;
}
