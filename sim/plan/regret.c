#include "regret.h"

#include "corner.h"
#include "dual.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define MAX_DEPTH 8
#define DECODE KVS_CORNER_DECODE
#define COMPUTE KVS_CORNER_COMPUTE
#define GPU_DECODE KVS_CORNER_GPU_DECODE
#define N_FACTOR (KVS_MAX_ROUTE + 3)
#define MAX_CORNER (1u << N_FACTOR)

struct box {
    double low[N_FACTOR], high[N_FACTOR];
};

/* A path's length is linear in the factors. */
struct slope {
    double by[N_FACTOR];
};

/* A plan's costs summed over its layers; of the compute that waits, what decodes. */
struct side {
    struct kvs_sums sums;
    double gpu_decode[KVS_MAX_LAYER + 1];
};

struct look {
    const struct kvs_plan_problem *problem;
    struct side plan, load;
    /* recompute-all: start, work and head, and what decodes of it (nothing, as tables have it) */
    double all_ns, all_decode_ns;
    double want_ns;
    uint32_t n_dim, dim[N_FACTOR]; /* factors that are not certain, or matter */
};

void kvs_plan_error_of(const struct kvs_hw *hw, const struct kvs_table_route *route,
                       uint32_t n_route, const struct kvs_table_level *level, uint32_t n_level,
                       struct kvs_plan_error *error)
{
    *error = (struct kvs_plan_error){
        .compute = fmax(hw->gpu->gemm_eff.rel_error, hw->gpu->attn_eff.rel_error)};
    for (uint32_t q = 0; q < n_level; q++) {
        double *of = level[q].on_gpu ? &error->gpu_decode : &error->decode;

        *of = fmax(*of, level[q].decode_error);
    }
    for (uint32_t k = 0; k < n_route; k++) {
        double slowest = 0;

        for (uint32_t h = 0; h < route[k].n_hop; h++) {
            const struct kvs_figure *rate = &route[k].hop[h].link->read_bytes_per_s;
            double s_per_byte = route[k].hop[h].share / rate->value;

            if (s_per_byte > slowest) {
                slowest = s_per_byte;
                error->route[k] = rate->rel_error;
            }
        }
    }
}

static void side_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                    struct side *side)
{
    kvs_sums_of(problem, plan, &side->sums);
    side->gpu_decode[0] = 0;
    for (uint32_t l = 0; l < problem->n_layer; l++) {
        const int64_t *decode_ns = problem->layer[l]->gpu_decode_ns;
        uint32_t at = plan->frac_i[l] * problem->n_level + plan->level[l];

        side->gpu_decode[l + 1] = side->gpu_decode[l] + (decode_ns ? (double)decode_ns[at] : 0);
    }
}

/* T of a plan at a truth, and the slope of its longest path. */
static double longest(const struct look *look, const struct side *side, const double *factor,
                      struct slope *slope)
{
    const struct kvs_plan_problem *problem = look->problem;
    const struct kvs_sums *sums = &side->sums;
    uint32_t n_layer = problem->n_layer, n_route = problem->n_route;
    double x_ns = 0, most, head = (double)problem->head_ns;
    double whole = sums->wait[n_layer], all_decode = side->gpu_decode[n_layer];
    struct slope x = {{0}}; /* of the arrival at the present layer */

    memset(slope, 0, sizeof *slope);
    slope->by[COMPUTE] = (double)problem->gpu_start_ns + sums->work + head - all_decode;
    slope->by[GPU_DECODE] = all_decode;
    most = slope->by[COMPUTE] * factor[COMPUTE] + all_decode * factor[GPU_DECODE];
    for (uint32_t l = 0; l < n_layer; l++) {
        double decode = sums->decode[l + 1] - sums->decode[l], end_ns;
        double gpu_decode = all_decode - side->gpu_decode[l];
        double compute = whole - sums->wait[l] + head - gpu_decode;

        for (uint32_t k = 0; k < n_route; k++) {
            double in = (double)problem->io_start_ns[k] + sums->io[k][l + 1];

            if (in * factor[k] > x_ns) {
                x_ns = in * factor[k];
                x = (struct slope){{0}};
                x.by[k] = in;
            }
        }
        x_ns += decode * factor[DECODE];
        x.by[DECODE] += decode;
        end_ns = x_ns + compute * factor[COMPUTE] + gpu_decode * factor[GPU_DECODE];
        if (end_ns > most) {
            most = end_ns;
            *slope = x;
            slope->by[COMPUTE] = compute;
            slope->by[GPU_DECODE] = gpu_decode;
        }
    }
    return most;
}

static double at(const struct slope *slope, const double *factor)
{
    double sum = 0;

    for (uint32_t f = 0; f < N_FACTOR; f++)
        sum += slope->by[f] * factor[f];
    return sum;
}

static void corner_of(const struct look *look, const struct box *box, uint32_t c, double *factor)
{
    memcpy(factor, box->low, sizeof box->low);
    for (uint32_t d = 0; d < look->n_dim; d++)
        if (c >> d & 1)
            factor[look->dim[d]] = box->high[look->dim[d]];
}

/* The bound over a box, and the largest at its corners. */
static void bound_box(const struct look *look, const struct box *box, struct kvs_regret *regret)
{
    double end_ns[MAX_CORNER], factor[MAX_CORNER][N_FACTOR], least = HUGE_VAL, other = -HUGE_VAL;
    struct slope path[MAX_CORNER], own;
    uint32_t n = 1u << look->n_dim;

    regret->corner_ns = -HUGE_VAL;
    for (uint32_t c = 0; c < n; c++) {
        double load_ns, all_ns;

        corner_of(look, box, c, factor[c]);
        end_ns[c] = longest(look, &look->plan, factor[c], &own);
        load_ns = longest(look, &look->load, factor[c], &path[c]);
        all_ns = (look->all_ns - look->all_decode_ns) * factor[c][COMPUTE] +
                 look->all_decode_ns * factor[c][GPU_DECODE];
        if (end_ns[c] - fmin(load_ns, all_ns) > regret->corner_ns) {
            regret->corner_ns = end_ns[c] - fmin(load_ns, all_ns);
            regret->corner = 0;
            for (uint32_t d = 0; d < look->n_dim; d++)
                regret->corner |= (c >> d & 1) << look->dim[d];
        }
        other = fmax(other, end_ns[c] - all_ns);
    }
    for (uint32_t p = 0; p < n; p++) {
        double most = -HUGE_VAL;

        for (uint32_t c = 0; c < n; c++)
            most = fmax(most, end_ns[c] - at(&path[p], factor[c]));
        least = fmin(least, most);
    }
    regret->most_ns = fmax(least, other);
}

/* Halves while that may help; the widest side first. */
static void search(const struct look *look, const struct box *box, uint32_t depth,
                   struct kvs_regret *regret)
{
    uint32_t widest = 0;
    struct box half[2] = {*box, *box};
    double mid;

    bound_box(look, box, regret);
    if (depth == 0 || look->n_dim == 0 || regret->most_ns <= look->want_ns ||
        regret->corner_ns > look->want_ns || regret->most_ns <= regret->corner_ns + 1)
        return;
    for (uint32_t d = 1; d < look->n_dim; d++)
        if (box->high[look->dim[d]] / box->low[look->dim[d]] >
            box->high[look->dim[widest]] / box->low[look->dim[widest]])
            widest = d;
    widest = look->dim[widest];
    mid = sqrt(box->low[widest] * box->high[widest]);
    half[0].high[widest] = half[1].low[widest] = mid;
    regret->most_ns = -HUGE_VAL;
    for (int h = 0; h < 2; h++) {
        struct kvs_regret part;

        search(look, &half[h], depth - 1, &part);
        regret->most_ns = fmax(regret->most_ns, part.most_ns);
    }
}

/* Whether the factor scales anything that either plan spends time on. */
static bool matters(const struct look *look, uint32_t f)
{
    uint32_t n_layer = look->problem->n_layer;

    if (f == COMPUTE)
        return true;
    if (f == DECODE)
        return look->plan.sums.decode[n_layer] > 0 || look->load.sums.decode[n_layer] > 0;
    if (f == GPU_DECODE)
        return look->all_decode_ns > 0 || look->plan.gpu_decode[n_layer] > 0 ||
               look->load.gpu_decode[n_layer] > 0;
    return f < look->problem->n_route &&
           ((double)look->problem->io_start_ns[f] + look->plan.sums.io[f][n_layer] +
                look->load.sums.io[f][n_layer] >
            0);
}

void kvs_regret(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                const struct kvs_plan *load, double want_ns, struct kvs_regret *regret)
{
    struct look look = {.problem = problem, .want_ns = want_ns};
    struct kvs_plan all = {{0}, {0}};
    struct box box;

    memset(all.frac_i, (int)problem->n_frac - 1, problem->n_layer);
    side_of(problem, &all, &look.plan);
    look.all_ns = (double)(problem->gpu_start_ns + problem->head_ns) + look.plan.sums.work;
    look.all_decode_ns = look.plan.gpu_decode[problem->n_layer];
    side_of(problem, plan, &look.plan);
    side_of(problem, load, &look.load);
    for (uint32_t f = 0; f < N_FACTOR; f++) {
        double error = f == DECODE       ? problem->error.decode
                       : f == COMPUTE    ? problem->error.compute
                       : f == GPU_DECODE ? problem->error.gpu_decode
                                         : problem->error.route[f];

        assert(error >= 0 && isfinite(error));
        box.low[f] = box.high[f] = 1;
        if (error > 0 && matters(&look, f)) {
            box.low[f] = 1 / (1 + error);
            box.high[f] = 1 + error;
            look.dim[look.n_dim++] = f;
        }
    }
    search(&look, &box, MAX_DEPTH, regret);
}

/* Loading all at the best level; where none can be loaded whole there is recomputing to lose
 * against. */
static void load_all(const struct kvs_plan_problem *problem, struct kvs_corner_pick *pick,
                     struct kvs_plan *load)
{
    struct kvs_plan_eval eval;

    *pick = (struct kvs_corner_pick){0};
    kvs_corner_flat(problem, 0, 0, pick);
    if (pick->over > 0) {
        *pick = (struct kvs_corner_pick){0};
        kvs_corner_flat(problem, problem->n_frac - 1, problem->n_frac - 1, pick);
    }
    kvs_corner_plan(problem, pick, load, &eval);
}

void kvs_regret_of(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                   struct kvs_regret *regret)
{
    struct kvs_corner_pick pick;
    struct kvs_plan load;

    load_all(problem, &pick, &load);
    kvs_regret(problem, plan, &load, HUGE_VAL, regret);
    kvs_regret(problem, plan, &load, regret->corner_ns + fabs(regret->corner_ns) / 1000, regret);
}

bool kvs_never_worse(const struct kvs_plan_problem *problem, struct kvs_plan *plan,
                     struct kvs_plan_eval *eval, struct kvs_regret *regret)
{
    struct kvs_corner_pick pick;
    struct kvs_plan load;

    load_all(problem, &pick, &load);
    kvs_regret(problem, plan, &load, KVS_REGRET_FRAC * (double)eval->end_ns, regret);
    if (regret->most_ns <= KVS_REGRET_FRAC * (double)eval->end_ns)
        return true;
    kvs_corner_flat(problem, problem->n_frac - 1, problem->n_frac - 1, &pick);
    kvs_corner_plan(problem, &pick, plan, eval);
    return false;
}
