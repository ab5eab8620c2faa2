#include "dual_in.h"

#include <assert.h>
#include <string.h>

#define N_LOOK 4 /* earlier layers' classes that a layer is compared with */

static uint32_t pad(uint32_t n)
{
    return (n + KVS_DUAL_LANES - 1) / KVS_DUAL_LANES * KVS_DUAL_LANES;
}

size_t kvs_dual_size(const struct kvs_plan_problem *problem)
{
    size_t n_pad = pad(problem->n_frac), n_layer = problem->n_layer;
    size_t cells = n_layer * problem->n_level * (problem->n_route + 3) * n_pad;

    size_t pairs = problem->state_at ? problem->n_frac * n_pad : 0;

    return 64 + (sizeof(struct kvs_dual) / 64 + 1) * 64 +
           (cells + n_layer * DUAL_EDGES * n_pad + (2 * n_layer + 1) * n_pad + 4 * pairs) *
               sizeof(double) +
           n_layer * problem->n_level * n_pad + n_layer * pairs * sizeof(int32_t);
}

static int64_t least_distortion(const struct kvs_plan_problem *problem, uint32_t l)
{
    const int64_t *distortion = problem->layer[l]->distortion;
    int64_t least = distortion[0];

    for (uint32_t c = 1; c < problem->n_frac * problem->n_level; c++)
        least = distortion[c] < least ? distortion[c] : least;
    return least;
}

/* The costs of what the slots hold, field by field. */
static void fill_cells(struct kvs_dual *dual, uint32_t c)
{
    const struct kvs_plan_problem *problem = dual->problem;
    const struct kvs_layer_cost *cost = problem->layer[dual->first[c]];
    uint32_t n_pad = dual->n_pad, n_route = problem->n_route, n_level = problem->n_level;
    double *cell = dual->cell + (size_t)c * n_level * dual->n_field * n_pad;
    const uint8_t *level = dual->level + (size_t)c * n_level * n_pad;
    uint32_t at[KVS_MAX_FRAC] = {0};

    for (uint32_t slot = 0; slot < dual->n_slot[c]; slot++) {
        for (uint32_t i = 0; i < n_pad; i++)
            at[i] = (i < problem->n_frac ? i : 0) * n_level + level[i];
        for (uint32_t f = 0; f < dual->n_field; f++) {
            const int64_t *from = f < n_route        ? cost->io_ns[f]
                                  : f == n_route     ? cost->decode_ns
                                  : f == n_route + 1 ? cost->post_ns
                                                     : cost->distortion;

            for (uint32_t i = 0; i < n_pad; i++)
                cell[i] = (double)from[at[i]];
            cell += n_pad;
        }
        level += n_pad;
    }
}

static void fill_class(struct kvs_dual *dual, uint32_t c, int64_t afford)
{
    const struct kvs_plan_problem *problem = dual->problem;
    const struct kvs_layer_cost *cost = problem->layer[dual->first[c]];
    uint32_t n_pad = dual->n_pad, n_level = problem->n_level, most = 1;
    double *edge = dual->edge + (size_t)c * DUAL_EDGES * n_pad;
    uint8_t *level = dual->level + (size_t)c * n_level * n_pad;

    for (uint32_t i = 0; i < n_pad; i++) { /* lanes above n_frac: nobody reads them, but defined */
        uint32_t from = i < problem->n_frac ? i : 0, n = 0;

        for (uint32_t q = 0; q < n_level; q++) {
            level[n * n_pad + i] = (uint8_t)q;
            n += cost->distortion[from * n_level + q] <= afford;
        }
        most = n > most ? n : most;
        edge[DUAL_FULL * n_pad + i] = (double)(cost->full_ns[from] - cost->kv_ns[from]);
        edge[DUAL_KV * n_pad + i] = (double)cost->kv_ns[from];
        edge[DUAL_WFULL * n_pad + i] = (double)(cost->wfull_ns[from] - cost->wkv_ns[from]);
        edge[DUAL_WKV * n_pad + i] = (double)cost->wkv_ns[from];
        edge[DUAL_BAN * n_pad + i] = n ? 0 : KVS_DUAL_BANNED;
        for (uint32_t slot = n ? n : 1; slot < n_level; slot++)
            level[slot * n_pad + i] = level[(slot - 1) * n_pad + i];
    }
    dual->n_slot[c] = most;
    fill_cells(dual, c);
}

/* Layers that share their costs, told by the pointer. */
static void find_classes(struct kvs_dual *dual)
{
    const struct kvs_plan_problem *problem = dual->problem;

    dual->n_class = 0;
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        uint32_t n = dual->n_class, c = n;

        for (uint32_t back = 1; c == n && back <= N_LOOK && back <= n; back++)
            if (problem->layer[dual->first[n - back]] == problem->layer[l])
                c = n - back;
        if (c == n)
            dual->first[dual->n_class++] = l;
        dual->class_of[l] = c;
    }
}

/* What restart points need more, at mem, which is aligned to a row of vectors; its end. */
static uint8_t *place_rising(struct kvs_dual *dual, double *mem)
{
    const struct kvs_plan_problem *problem = dual->problem;
    size_t pairs = (size_t)problem->n_frac * dual->n_pad;

    dual->rising = mem;
    dual->up = dual->rising + 2 * pairs;
    dual->up_at = dual->up + pairs;
    dual->next = (int32_t *)(dual->up_at + pairs);
    dual->first_state = 0;
    while (dual->first_state < problem->n_layer && !problem->state_at[dual->first_state])
        dual->first_state++;
    return (uint8_t *)(dual->next + problem->n_layer * pairs);
}

struct kvs_dual *kvs_dual_init(void *mem, const struct kvs_plan_problem *problem, int64_t budget)
{
    struct kvs_dual *dual = mem;
    size_t n_layer = problem->n_layer;
    int64_t least = 0, own[KVS_MAX_LAYER] = {0};
    double *rest;

    dual->problem = problem;
    dual->budget = budget;
    dual->box = NULL;
    dual->wide = false;
#ifdef KVS_DUAL_WIDE
    dual->wide = __builtin_cpu_supports("avx2") != 0;
#endif
    dual->n_pad = pad(problem->n_frac);
    dual->n_field = problem->n_route + 3;
    dual->edge = (double *)mem + (sizeof *dual / 64 + 1) * 8;
    dual->value = dual->edge + n_layer * DUAL_EDGES * dual->n_pad;
    dual->reach = dual->value + (n_layer + 1) * dual->n_pad;
    dual->cell = dual->reach + n_layer * dual->n_pad;
    rest = dual->cell + n_layer * problem->n_level * dual->n_field * dual->n_pad;
    dual->level = (uint8_t *)rest;
    if (problem->state_at)
        dual->level = place_rising(dual, rest);
    find_classes(dual);
    for (uint32_t c = 0; c < dual->n_class; c++)
        own[c] = least_distortion(problem, dual->first[c]);
    for (uint32_t l = 0; l < n_layer; l++)
        least += own[dual->class_of[l]];
    for (uint32_t c = 0; c < dual->n_class; c++)
        fill_class(dual, c, budget - least + own[c]);
    return dual;
}

struct kvs_dual *kvs_dual_init_rising(void *mem, const struct kvs_dual *plain,
                                      const struct kvs_plan_problem *problem)
{
    struct kvs_dual *dual = mem;

    *dual = *plain;
    dual->problem = problem;
    place_rising(dual, (double *)mem + (sizeof *dual / 64 + 1) * 8);
    return dual;
}

void kvs_dual_keep_to(struct kvs_dual *dual, const struct kvs_box *box)
{
    dual->box = box;
}

void kvs_prices_clear(const struct kvs_plan_problem *problem, struct kvs_prices *prices)
{
    size_t n = problem->n_layer * sizeof(double);

    for (uint32_t k = 0; k < problem->n_route; k++)
        memset(prices->io[k], 0, n);
    memset(prices->decode, 0, n);
    memset(prices->wait, 0, n);
    prices->pre = prices->distortion = prices->start_ns = 0;
}

void kvs_prices_add(const struct kvs_plan_problem *problem, const struct kvs_path *path,
                    double weight, struct kvs_prices *prices)
{
    uint32_t n_layer = problem->n_layer;

    if (path->all_work) {
        prices->pre += weight;
        prices->start_ns += weight * (double)(problem->gpu_start_ns + problem->head_ns);
        for (uint32_t l = 0; l < n_layer; l++)
            prices->wait[l] += weight;
        return;
    }
    prices->start_ns += weight * (double)problem->head_ns;
    if (path->route < problem->n_route) {
        prices->start_ns += weight * (double)problem->io_start_ns[path->route];
        for (uint32_t l = 0; l <= path->enter; l++)
            prices->io[path->route][l] += weight;
    }
    for (uint32_t l = path->enter; l <= path->compute; l++)
        prices->decode[l] += weight;
    for (uint32_t l = path->compute; l < n_layer; l++)
        prices->wait[l] += weight;
}
