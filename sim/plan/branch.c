#include "branch.h"

#include "splice.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define N_POOL 96    /* plans known to all cases */
#define N_WALK 14    /* of one case */
#define PRECISE 2e-3 /* of one case's bound */
#define PATIENCE 4   /* splits, after which .. */
#define HURRY 4      /* .. one part in so many of what is missing must be gained */
#define NO_SPLIT UINT32_MAX

/* What is known of one node of the tree. */
struct node {
    struct kvs_box box;
    struct kvs_certificate certificate;
    double bound_ns;
    uint32_t layer; /* where to split it; NO_SPLIT: its mixture has but one staircase */
    uint8_t frac_i;
};

struct kvs_branch {
    const struct kvs_plan_problem *problem;
    void *relax_mem, *splice_mem;
    uint32_t n, n_pool;
    struct kvs_case tree[KVS_MAX_CASE];
    struct node node[KVS_MAX_CASE];
    struct kvs_plan pool[N_POOL];
};

static size_t own_size(void)
{
    return (sizeof(struct kvs_branch) + 63) / 64 * 64;
}

size_t kvs_branch_size(const struct kvs_plan_problem *problem)
{
    return own_size() + kvs_splice_size() + kvs_relax_size(problem);
}

/* Layers of plan n with more than each fraction: a staircase seen from the side. */
static void count_above(const struct kvs_plan_problem *problem, const struct kvs_plan *plan,
                        double above[KVS_MAX_FRAC])
{
    memset(above, 0, problem->n_frac * sizeof *above);
    for (uint32_t l = 0; l < problem->n_layer; l++)
        if (plan->frac_i[l] > 0)
            above[plan->frac_i[l] - 1]++;
    for (uint32_t f = problem->n_frac - 1; f-- > 0;)
        above[f] += above[f + 1];
}

/* Where the mixture's staircases differ most: at the fraction whose border lies in the most
 * different layers, and there in the mean of these. */
static void choose_split(const struct kvs_relax *relax, struct node *node)
{
    const struct kvs_plan_problem *problem = relax->problem;
    double mean[KVS_MAX_FRAC] = {0}, spread[KVS_MAX_FRAC] = {0}, above[KVS_MAX_FRAC], whole = 0;
    uint32_t n_plan = kvs_master_n_plan(relax->master), best = 0;
    struct kvs_plan plan;

    node->layer = NO_SPLIT;
    for (int turn = 0; turn < 2; turn++) {
        for (uint32_t n = 0; n < n_plan; n++) {
            double share = kvs_master_share(relax->master, n, &plan);

            if (share <= 0)
                continue;
            whole += turn ? 0 : share;
            count_above(problem, &plan, above);
            for (uint32_t f = 0; f < problem->n_frac - 1; f++) {
                if (turn)
                    spread[f] += share * fabs(above[f] - mean[f] / whole);
                else
                    mean[f] += share * above[f];
            }
        }
    }
    for (uint32_t f = 1; f < problem->n_frac - 1; f++)
        best = spread[f] > spread[best] ? f : best;
    if (spread[best] <= 1e-6)
        return;
    node->layer = (uint32_t)(mean[best] / whole);
    node->frac_i = (uint8_t)best;
    assert(node->layer < problem->n_layer);
}

/* Makes the relaxation's plans known to cases that come later. */
static void pool(struct kvs_branch *b, const struct kvs_relax *relax)
{
    uint32_t n_plan = kvs_master_n_plan(relax->master);

    for (uint32_t n = 0; n < n_plan && b->n_pool < N_POOL; n++)
        if (kvs_master_share(relax->master, n, &b->pool[b->n_pool]) > 0)
            b->n_pool++;
}

/* A relaxation of the node's box, from its parent's certificate, and what plans it leads to. */
static void explore(struct kvs_branch *b, uint32_t n, const struct kvs_certificate *from,
                    double enough, struct kvs_optimum *out)
{
    struct node *node = &b->node[n];
    struct kvs_relax *relax =
        kvs_relax_init_box(b->relax_mem, out->relax, &node->box, from, b->pool, b->n_pool);

    node->layer = NO_SPLIT;
    relax->stop_ns = (double)out->end_ns * (1 - enough);
    kvs_relax_run(relax, N_WALK, PRECISE);
    node->bound_ns = relax->bound_ns;
    node->certificate = relax->certificate;
    b->tree[n] = (struct kvs_case){.certificate = &node->certificate};
    if (node->bound_ns >= relax->stop_ns)
        return;
    choose_split(relax, node);
    pool(b, relax);
    kvs_optimum_splice(relax, b->splice_mem, enough, out);
}

static void split(struct kvs_branch *b, uint32_t n, double enough, struct kvs_optimum *out)
{
    const struct node *node = &b->node[n];
    uint32_t below = b->n++, above = b->n++;
    struct kvs_box *low = &b->node[below].box, *high = &b->node[above].box;

    *low = *high = node->box;
    for (uint32_t l = node->layer; l < b->problem->n_layer; l++)
        low->high[l] = low->high[l] < node->frac_i ? low->high[l] : node->frac_i;
    for (uint32_t l = 0; l <= node->layer; l++)
        high->low[l] = high->low[l] > node->frac_i ? high->low[l] : (uint8_t)(node->frac_i + 1);
    explore(b, below, &node->certificate, enough, out);
    explore(b, above, &node->certificate, enough, out);
    b->tree[n] = (struct kvs_case){.is_split = true,
                                   .layer = (uint8_t)node->layer,
                                   .frac_i = node->frac_i,
                                   .below = below,
                                   .above = above};
}

/* The case with the least bound. */
static uint32_t weakest(const struct kvs_branch *b)
{
    uint32_t least = UINT32_MAX;

    for (uint32_t n = 0; n < b->n; n++)
        if (!b->tree[n].is_split &&
            (least == UINT32_MAX || b->node[n].bound_ns < b->node[least].bound_ns))
            least = n;
    return least;
}

struct kvs_branch *kvs_branch_init(void *mem, const struct kvs_optimum *out)
{
    struct kvs_branch *b = mem;
    struct node *root = &b->node[0];

    b->problem = out->relax->problem;
    b->splice_mem = (char *)mem + own_size();
    b->relax_mem = (char *)b->splice_mem + kvs_splice_size();
    b->n = 1;
    b->n_pool = 0;
    for (uint32_t l = 0; l < b->problem->n_layer; l++) {
        root->box.low[l] = 0;
        root->box.high[l] = (uint8_t)(b->problem->n_frac - 1);
    }
    root->bound_ns = out->relax->bound_ns;
    root->certificate = out->relax->certificate;
    b->tree[0] = (struct kvs_case){.certificate = &root->certificate};
    choose_split(out->relax, root);
    pool(b, out->relax);
    return b;
}

void kvs_branch_run(struct kvs_branch *b, uint32_t n_case, double enough, struct kvs_optimum *out)
{
    double start_ns = out->relax->bound_ns;
    uint32_t n = weakest(b);

    assert(2 * n_case <= KVS_MAX_CASE);
    while (b->n + 2 < 2 * n_case && b->node[n].layer != NO_SPLIT) {
        double stop_ns = (double)out->end_ns * (1 - enough), now_ns = b->node[n].bound_ns;

        if (now_ns >= stop_ns ||
            (b->n > 2 * PATIENCE && (now_ns - start_ns) * HURRY < stop_ns - start_ns))
            break;
        split(b, n, enough, out);
        n = weakest(b);
    }
    kvs_dual_keep_to(out->relax->dual, NULL);
    out->bound_ns = b->node[n].bound_ns;
    out->tree = b->tree;
    out->n_tree = b->n;
}
