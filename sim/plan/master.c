#include "master.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* vectors in pivot_rows */
#endif

#define ROWS (KVS_MASTER_PATHS + 2)
#define COLS (KVS_MASTER_PATHS + KVS_MASTER_PLANS + 2)
#define TINY 1e-9
#define FREE_T UINT32_MAX /* the basic variable t, which is no column */

enum { ROW_WHOLE, ROW_BUDGET, ROW_PATH }; /* shares add up to 1; distortion; first path */
enum { COL_NONE, COL_BUDGET, COL_FIRST }; /* artificial; slack of the budget; first other */

/*
 * Rows: sum y = 1; sum D y + slack = budget; for each path t - sum c y - slack = 0. Times and
 * distortions are scaled to about 1.
 */
struct kvs_master {
    const struct kvs_plan_problem *problem;
    double scale_ns, scale_distortion;
    uint32_t n_row, n_col, row_t, n_plan, n_path;
    bool stands_in; /* plan 0 is none */
    uint32_t basis[ROWS];
    uint32_t plan_of[COLS]; /* of a column; UINT32_MAX: a slack */
    uint32_t slack_of[KVS_MASTER_PATHS], col_of[KVS_MASTER_PLANS];
    struct kvs_path path[KVS_MASTER_PATHS];
    struct kvs_plan plan[KVS_MASTER_PLANS];
    struct kvs_sums sums[KVS_MASTER_PLANS];
    double rhs[ROWS];
    double cell[ROWS][COLS];
};

size_t kvs_master_size(void)
{
    return (sizeof(struct kvs_master) + 63) / 64 * 64;
}

static double cost_of(const struct kvs_master *m, uint32_t path, uint32_t plan)
{
    return kvs_path_ns(m->problem, &m->path[path], &m->sums[plan]) / m->scale_ns;
}

static inline __attribute__((always_inline)) void pivot_rows(struct kvs_master *m, uint32_t row,
                                                             uint32_t col)
{
    double *restrict own = m->cell[row];
    double by = 1 / own[col];
    uint32_t n_col = m->n_col;

    for (uint32_t c = 0; c < n_col; c++)
        own[c] *= by;
    own[col] = 1;
    m->rhs[row] *= by;
    for (uint32_t r = 0; r < m->n_row; r++) {
        double *restrict other = m->cell[r];
        double times = other[col];

        if (r == row || times == 0)
            continue;
        for (uint32_t c = 0; c < n_col; c++)
            other[c] -= times * own[c];
        other[col] = 0;
        m->rhs[r] -= times * m->rhs[row];
    }
    m->basis[row] = col;
}

#if defined(__x86_64__)
/* The same operations, more of them at once: the same bits. */
__attribute__((target("avx2"))) static void pivot_wide(struct kvs_master *m, uint32_t row,
                                                       uint32_t col)
{
    pivot_rows(m, row, col);
}
#endif

static void pivot(struct kvs_master *m, uint32_t row, uint32_t col)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        pivot_wide(m, row, col);
        return;
    }
#endif
    pivot_rows(m, row, col);
}

/* Enters columns that lower t while there are any. */
static void primal(struct kvs_master *m)
{
    for (uint32_t turn = 0; turn < 4 * ROWS; turn++) {
        const double *gain = m->cell[m->row_t];
        uint32_t col = COL_NONE, row = UINT32_MAX;
        double most = TINY, least = HUGE_VAL;

        for (uint32_t c = COL_BUDGET; c < m->n_col; c++) {
            if (gain[c] > most) {
                most = gain[c];
                col = c;
            }
        }
        if (col == COL_NONE)
            return;
        for (uint32_t r = 0; r < m->n_row; r++) {
            double at = m->cell[r][col];

            if (r == m->row_t || at <= TINY)
                continue;
            if (m->rhs[r] / at < least) {
                least = m->rhs[r] / at;
                row = r;
            }
        }
        if (row == UINT32_MAX)
            return;
        pivot(m, row, col);
    }
}

/* Repairs rows below 0, keeping t optimal. */
static void dual(struct kvs_master *m)
{
    for (uint32_t turn = 0; turn < 4 * ROWS; turn++) {
        uint32_t row = UINT32_MAX, col = COL_NONE;
        double worst = -TINY, least = HUGE_VAL;

        for (uint32_t r = 0; r < m->n_row; r++) {
            if (r != m->row_t && m->rhs[r] < worst) {
                worst = m->rhs[r];
                row = r;
            }
        }
        if (row == UINT32_MAX)
            return;
        for (uint32_t c = COL_BUDGET; c < m->n_col; c++) {
            double at = m->cell[row][c], cost = -m->cell[m->row_t][c];

            if (at >= -TINY)
                continue;
            cost = cost > 0 ? cost : 0;
            if (cost / -at < least) {
                least = cost / -at;
                col = c;
            }
        }
        if (col == COL_NONE)
            return;
        pivot(m, row, col);
    }
}

/* The tableau of plan 0 and path 0. */
static void begin(struct kvs_master *m, int64_t budget)
{
    double cost, distortion, limit = (double)budget;

    m->scale_distortion = limit > 1 ? limit : 1;
    m->n_plan = m->n_path = 1;
    m->n_row = 3;
    m->n_col = 4;
    cost = cost_of(m, 0, 0);
    distortion = m->sums[0].distortion / m->scale_distortion;
    for (uint32_t r = 0; r < 3; r++)
        memset(m->cell[r], 0, m->n_col * sizeof(double));
    m->slack_of[0] = COL_FIRST;
    m->col_of[0] = COL_FIRST + 1;
    for (uint32_t c = 0; c <= COL_FIRST; c++)
        m->plan_of[c] = UINT32_MAX;
    m->plan_of[COL_FIRST + 1] = 0;

    m->cell[ROW_WHOLE][COL_NONE] = m->cell[ROW_WHOLE][COL_FIRST + 1] = m->rhs[ROW_WHOLE] = 1;
    m->basis[ROW_WHOLE] = COL_FIRST + 1;
    m->cell[ROW_BUDGET][COL_NONE] = -distortion;
    m->cell[ROW_BUDGET][COL_BUDGET] = 1;
    m->rhs[ROW_BUDGET] = limit / m->scale_distortion - distortion;
    m->basis[ROW_BUDGET] = COL_BUDGET;
    m->cell[ROW_PATH][COL_NONE] = m->rhs[ROW_PATH] = cost;
    m->cell[ROW_PATH][COL_FIRST] = -1;
    m->basis[ROW_PATH] = FREE_T;
    m->row_t = ROW_PATH;
}

struct kvs_master *kvs_master_init(void *mem, const struct kvs_plan_problem *problem,
                                   int64_t budget, const struct kvs_plan *plan)
{
    struct kvs_master *m = mem;

    m->problem = problem;
    m->stands_in = false;
    m->plan[0] = *plan;
    kvs_sums_of(problem, plan, &m->sums[0]);
    m->scale_ns = kvs_path_longest(problem, &m->sums[0], &m->path[0]);
    m->scale_ns = m->scale_ns > 1 ? m->scale_ns : 1;
    begin(m, budget);
    return m;
}

struct kvs_master *kvs_master_init_empty(void *mem, const struct kvs_plan_problem *problem,
                                         int64_t budget, double most_ns,
                                         const struct kvs_path *path)
{
    struct kvs_master *m = mem;
    struct kvs_sums *sums = &m->sums[0];

    m->problem = problem;
    m->stands_in = true;
    memset(&m->plan[0], 0xff, sizeof m->plan[0]); /* like no plan */
    memset(sums, 0, sizeof *sums);
    sums->work = sums->wait[problem->n_layer] = most_ns; /* the waiting work of the last layer */
    m->path[0] = *path;
    m->scale_ns = most_ns;
    begin(m, budget);
    return m;
}

bool kvs_master_add_plan(struct kvs_master *m, const struct kvs_plan *plan)
{
    uint32_t n = m->n_plan, col = m->n_col;
    double cost[KVS_MASTER_PATHS], distortion;

    if (n == KVS_MASTER_PLANS)
        return false;
    for (uint32_t p = 0; p < n; p++)
        if (memcmp(m->plan[p].frac_i, plan->frac_i, m->problem->n_layer) == 0 &&
            memcmp(m->plan[p].level, plan->level, m->problem->n_layer) == 0)
            return false;
    m->plan[n] = *plan;
    kvs_sums_of(m->problem, plan, &m->sums[n]);
    distortion = m->sums[n].distortion / m->scale_distortion;
    for (uint32_t s = 0; s < m->n_path; s++)
        cost[s] = cost_of(m, s, n);
    for (uint32_t r = 0; r < m->n_row; r++) {
        double sum = m->cell[r][COL_NONE] + distortion * m->cell[r][COL_BUDGET];

        for (uint32_t s = 0; s < m->n_path; s++)
            sum += cost[s] * m->cell[r][m->slack_of[s]];
        m->cell[r][col] = sum;
    }
    m->plan_of[col] = n;
    m->col_of[n] = col;
    m->n_plan++;
    m->n_col++;
    primal(m);
    return true;
}

bool kvs_master_add_path(struct kvs_master *m, const struct kvs_path *path)
{
    uint32_t s = m->n_path, row = m->n_row, col = m->n_col;
    const double *t = m->cell[m->row_t];
    double *own = m->cell[row];

    if (s == KVS_MASTER_PATHS)
        return false;
    for (uint32_t p = 0; p < s; p++)
        if (m->path[p].all_work == path->all_work && m->path[p].route == path->route &&
            m->path[p].enter == path->enter && m->path[p].compute == path->compute)
            return false;
    m->path[s] = *path;
    /* slack = t - sum c y, with what is basic replaced by its row */
    for (uint32_t c = 0; c < col; c++)
        own[c] = t[c] + (m->plan_of[c] == UINT32_MAX ? 0 : cost_of(m, s, m->plan_of[c]));
    m->rhs[row] = m->rhs[m->row_t];
    for (uint32_t r = 0; r < row; r++) {
        double cost;

        if (m->basis[r] == FREE_T || m->plan_of[m->basis[r]] == UINT32_MAX)
            continue;
        cost = cost_of(m, s, m->plan_of[m->basis[r]]);
        for (uint32_t c = 0; c < col; c++)
            own[c] -= cost * m->cell[r][c];
        m->rhs[row] -= cost * m->rhs[r];
    }
    for (uint32_t r = 0; r < row; r++)
        m->cell[r][col] = 0;
    own[col] = 1;
    m->basis[row] = col;
    m->plan_of[col] = UINT32_MAX;
    m->slack_of[s] = col;
    m->n_path++;
    m->n_row++;
    m->n_col++;
    dual(m);
    return true;
}

double kvs_master_value(const struct kvs_master *m)
{
    return m->rhs[m->row_t] * m->scale_ns;
}

uint32_t kvs_master_n_plan(const struct kvs_master *m)
{
    return m->n_plan;
}

double kvs_master_share(const struct kvs_master *m, uint32_t n, struct kvs_plan *plan)
{
    if (plan)
        *plan = m->plan[n];
    if (n == 0 && m->stands_in)
        return 0;
    for (uint32_t r = 0; r < m->n_row; r++)
        if (m->basis[r] == m->col_of[n])
            return m->rhs[r] > 0 ? m->rhs[r] : 0;
    return 0;
}

static void add_times(double *to, const double *from, double times, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        to[i] += times * from[i];
}

void kvs_master_mix(const struct kvs_master *m, struct kvs_sums *mix)
{
    uint32_t n = m->problem->n_layer + 1;

    for (uint32_t k = 0; k < m->problem->n_route; k++)
        memset(mix->io[k], 0, n * sizeof(double));
    memset(mix->decode, 0, n * sizeof(double));
    memset(mix->wait, 0, n * sizeof(double));
    mix->work = mix->distortion = 0;
    for (uint32_t r = 0; r < m->n_row; r++) {
        const struct kvs_sums *sums;

        if (m->basis[r] == FREE_T || m->plan_of[m->basis[r]] == UINT32_MAX || m->rhs[r] <= 0)
            continue;
        sums = &m->sums[m->plan_of[m->basis[r]]];
        for (uint32_t k = 0; k < m->problem->n_route; k++)
            add_times(mix->io[k], sums->io[k], m->rhs[r], n);
        add_times(mix->decode, sums->decode, m->rhs[r], n);
        add_times(mix->wait, sums->wait, m->rhs[r], n);
        mix->work += m->rhs[r] * sums->work;
        mix->distortion += m->rhs[r] * sums->distortion;
    }
}

uint32_t kvs_master_n_path(const struct kvs_master *m)
{
    return m->n_path;
}

const struct kvs_path *kvs_master_path(const struct kvs_master *m, uint32_t n)
{
    return &m->path[n];
}

double kvs_master_duals(const struct kvs_master *m, double weight[KVS_MASTER_PATHS])
{
    const double *t = m->cell[m->row_t];
    double sum = 0;

    for (uint32_t s = 0; s < m->n_path; s++) {
        weight[s] = t[m->slack_of[s]] < 0 ? -t[m->slack_of[s]] : 0;
        sum += weight[s];
    }
    for (uint32_t s = 0; s < m->n_path; s++)
        weight[s] /= sum;
    return t[COL_BUDGET] < 0 ? -t[COL_BUDGET] * m->scale_ns / m->scale_distortion : 0;
}
