#include "fit.h"

#include "base/hist.h"
#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define N_PARAM 3 /* logarithms of latency_s, descriptor_s, 1 / bytes_per_s */
#define N_RESAMPLE 60
#define LEAST_S 1e-12 /* a cost below this is none */

enum { LATENCY, DESCRIPTOR, BYTE };

/* What a search works on: the points, one value each, and which parameters are free. */
struct target {
    const struct kvs_obs *obs;
    const double *log_s;
    unsigned n;
    bool is_free[N_PARAM];
};

double kvs_link_fit_s(double latency_s, double descriptor_s, double bytes_per_s, double bytes,
                      double depth, double n_descriptor)
{
    double wire = bytes / bytes_per_s;
    if (n_descriptor <= 0)
        return fmax(descriptor_s + wire, (latency_s + wire) / depth);
    depth = fmin(depth, n_descriptor);
    return fmax(latency_s + n_descriptor * (descriptor_s + wire),
                n_descriptor * (latency_s + wire) / depth);
}

static double predict(const double p[N_PARAM], const struct kvs_obs *obs)
{
    return kvs_link_fit_s(exp(p[LATENCY]), exp(p[DESCRIPTOR]), exp(-p[BYTE]), obs->bytes,
                          obs->depth, obs->n_descriptor);
}

static double loss(const struct target *t, const double p[N_PARAM])
{
    double sum = 0;
    for (unsigned i = 0; i < t->n; i++) {
        double off = fabs(log(predict(p, &t->obs[i])) - t->log_s[i]), near = 0.2;
        sum += off <= near ? off * off : near * (2 * off - near);
    }
    return sum;
}

/* --- Nelder and Mead's simplex (1965), over the free parameters ---------------------------------
 */

struct corner {
    double p[N_PARAM], loss;
};

static int by_loss(const void *a, const void *b)
{
    double x = ((const struct corner *)a)->loss, y = ((const struct corner *)b)->loss;
    return (x > y) - (x < y);
}

/* The point at centre + by * (centre - worst). */
static struct corner reflect(const struct target *t, const double *centre,
                             const struct corner *worst, double by)
{
    struct corner c;
    for (int k = 0; k < N_PARAM; k++)
        c.p[k] = centre[k] + by * (centre[k] - worst->p[k]);
    c.loss = loss(t, c.p);
    return c;
}

static void shrink(const struct target *t, struct corner *s, int n)
{
    for (int i = 1; i < n; i++) {
        for (int k = 0; k < N_PARAM; k++)
            s[i].p[k] = (s[0].p[k] + s[i].p[k]) / 2;
        s[i].loss = loss(t, s[i].p);
    }
}

static void step(const struct target *t, struct corner *s, int n)
{
    double centre[N_PARAM] = {0};
    struct corner *worst = &s[n - 1];
    for (int i = 0; i < n - 1; i++)
        for (int k = 0; k < N_PARAM; k++)
            centre[k] += s[i].p[k] / (n - 1);
    struct corner c = reflect(t, centre, worst, 1);
    if (c.loss < s[0].loss) {
        struct corner far = reflect(t, centre, worst, 2);
        *worst = far.loss < c.loss ? far : c;
    } else if (c.loss < s[n - 2].loss) {
        *worst = c;
    } else {
        struct corner in = reflect(t, centre, worst, c.loss < worst->loss ? 0.5 : -0.5);
        if (in.loss < fmin(c.loss, worst->loss))
            *worst = in;
        else
            shrink(t, s, n);
    }
}

/* Searches from p with the given first step, and leaves the best in p. */
static double search(const struct target *t, double p[N_PARAM], double first, int n_step)
{
    struct corner s[N_PARAM + 1];
    int n = 1;
    memcpy(s[0].p, p, sizeof s[0].p);
    s[0].loss = loss(t, p);
    for (int k = 0; k < N_PARAM; k++) {
        if (!t->is_free[k])
            continue;
        s[n] = s[0];
        s[n].p[k] += first;
        s[n].loss = loss(t, s[n].p);
        n++;
    }
    if (n == 1)
        return s[0].loss;
    for (int i = 0; i < n_step; i++) {
        qsort(s, (size_t)n, sizeof *s, by_loss);
        if (s[n - 1].loss - s[0].loss < 1e-14 && i > 20 * n)
            break;
        step(t, s, n);
    }
    qsort(s, (size_t)n, sizeof *s, by_loss);
    memcpy(p, s[0].p, sizeof s[0].p);
    return s[0].loss;
}

/* --- the fit ------------------------------------------------------------------------------------
 */

/* Seconds of one descriptor's share of a point. */
static double each_s(const struct kvs_obs *obs, double s)
{
    return obs->n_descriptor > 0 ? s / obs->n_descriptor : s;
}

/* Where a search begins: the best rate seen, the time of the smallest alone, the least time of one.
 */
static void first_guess(const struct target *t, double p[N_PARAM])
{
    double rate = 0, least = HUGE_VAL, alone = 0, smallest = HUGE_VAL;
    for (unsigned i = 0; i < t->n; i++) {
        const struct kvs_obs *obs = &t->obs[i];
        double s = each_s(obs, exp(t->log_s[i]));
        rate = fmax(rate, obs->bytes / s);
        least = fmin(least, s);
        if (obs->bytes < smallest || (obs->bytes <= smallest && s * obs->depth < alone)) {
            smallest = obs->bytes;
            alone = s * obs->depth;
        }
    }
    p[LATENCY] = log(fmax(alone, LEAST_S));
    p[DESCRIPTOR] = log(fmax(least / 2, LEAST_S));
    p[BYTE] = -log(rate);
}

/* Several starts, since a maximum of two lines has more than one valley. */
static double fit_from(const struct target *t, double p[N_PARAM])
{
    static const double starts[][N_PARAM] = {
        {0, 0, 0}, {-2, -3, 0.5}, {0.5, 1, -0.5}, {-1, -6, 0.2}};
    double guess[N_PARAM], best = HUGE_VAL;
    first_guess(t, guess);
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        double q[N_PARAM];
        for (int k = 0; k < N_PARAM; k++)
            q[k] = guess[k] + (t->is_free[k] ? starts[i][k] : 0);
        if (!t->is_free[DESCRIPTOR])
            q[DESCRIPTOR] = log(LEAST_S);
        if (!t->is_free[BYTE])
            q[BYTE] = log(LEAST_S) - 20;
        search(t, q, 0.7, 400);
        double l = search(t, q, 0.1, 400); /* again from there: simplexes get stuck flat */
        if (l < best) {
            best = l;
            memcpy(p, q, sizeof q);
        }
    }
    return best;
}

static enum kvs_code check(const struct kvs_obs *obs, unsigned n, struct kvs_err *err)
{
    if (n == 0)
        return kvs_fail(err, KVS_ERR_RANGE, "no point to fit");
    for (unsigned i = 0; i < n; i++) {
        bool good = obs[i].bytes > 0 && obs[i].depth >= 1 && obs[i].n >= 1 &&
                    obs[i].n <= KVS_MAX_REPEAT && isfinite(obs[i].bytes) &&
                    isfinite(obs[i].depth) && obs[i].n_descriptor >= 0 &&
                    isfinite(obs[i].n_descriptor);
        for (unsigned k = 0; good && k < obs[i].n; k++)
            good = obs[i].s[k] > 0 && isfinite(obs[i].s[k]);
        if (!good)
            return kvs_fail(err, KVS_ERR_RANGE,
                            "point %u of %u has a size, depth, count or time that is not positive",
                            i, n);
    }
    return KVS_OK;
}

static void find_range(const struct kvs_obs *obs, unsigned n, struct kvs_link_fit *fit)
{
    fit->bytes_min = fit->bytes_max = obs[0].bytes;
    fit->depth_min = fit->depth_max = obs[0].depth;
    for (unsigned i = 1; i < n; i++) {
        fit->bytes_min = fmin(fit->bytes_min, obs[i].bytes);
        fit->bytes_max = fmax(fit->bytes_max, obs[i].bytes);
        fit->depth_min = fmin(fit->depth_min, obs[i].depth);
        fit->depth_max = fmax(fit->depth_max, obs[i].depth);
    }
    fit->n_obs = n;
}

static void find_residual(const struct target *t, const double *p, double *scratch,
                          struct kvs_link_fit *fit)
{
    for (unsigned i = 0; i < t->n; i++) {
        scratch[i] = fabs(predict(p, &t->obs[i]) / exp(t->log_s[i]) - 1);
        fit->worst_frac = fmax(fit->worst_frac, scratch[i]);
    }
    qsort(scratch, t->n, sizeof *scratch, kvs_cmp_double);
    fit->residual_frac = kvs_percentile(scratch, t->n, 50);
}

/* Does any point lie where descriptor_s is what counts? Else its value means nothing. */
static bool descriptor_matters(const struct target *t, const double *p)
{
    double without[N_PARAM];
    memcpy(without, p, sizeof without);
    without[DESCRIPTOR] = log(LEAST_S);
    for (unsigned i = 0; i < t->n; i++)
        if (predict(p, &t->obs[i]) > 1.02 * predict(without, &t->obs[i]))
            return true;
    return false;
}

/* The least time that a descriptor took, other descriptors beside it or not. */
static double shortest(const struct target *t)
{
    double least = HUGE_VAL;
    for (unsigned i = 0; i < t->n; i++)
        least = fmin(least, each_s(&t->obs[i], exp(t->log_s[i])));
    return least;
}

static void set_params(const struct target *t, const double *p, double low[N_PARAM],
                       double high[N_PARAM], struct kvs_link_fit *fit)
{
    bool sizes = t->is_free[BYTE];
    fit->latency_s =
        (struct kvs_param){true, exp(p[LATENCY]), {exp(low[LATENCY]), exp(high[LATENCY])}, ""};
    if (sizes)
        fit->bytes_per_s =
            (struct kvs_param){true, exp(-p[BYTE]), {exp(-high[BYTE]), exp(-low[BYTE])}, ""};
    else
        fit->bytes_per_s = (struct kvs_param){false, 0, {0, 0}, "sizes span less than 4x"};
    if (!t->is_free[DESCRIPTOR])
        fit->descriptor_s = (struct kvs_param){
            false, 0, {0, 0}, sizes ? "one depth only" : "sizes span less than 4x"};
    else if (descriptor_matters(t, p))
        fit->descriptor_s = (struct kvs_param){
            true, exp(p[DESCRIPTOR]), {exp(low[DESCRIPTOR]), exp(high[DESCRIPTOR])}, ""};
    else /* no point shows any; from 2 % of the shortest time on one would */
        fit->descriptor_s = (struct kvs_param){true, 0, {0, 0.02 * shortest(t)}, ""};
}

/* Fits resampled repeats, from the optimum on; column k of draws gets parameter k. */
static void resample(struct target t, const double *p, double *log_s, struct kvs_rng *rng,
                     double draws[N_PARAM][N_RESAMPLE])
{
    t.log_s = log_s;
    for (int r = 0; r < N_RESAMPLE; r++) {
        double q[N_PARAM];
        for (unsigned i = 0; i < t.n; i++) {
            double pick[KVS_MAX_REPEAT];
            for (unsigned k = 0; k < t.obs[i].n; k++)
                pick[k] = t.obs[i].s[kvs_rng_below(rng, t.obs[i].n)];
            log_s[i] = log(kvs_median(pick, t.obs[i].n));
        }
        memcpy(q, p, sizeof q);
        search(&t, q, 0.2, 300);
        for (int k = 0; k < N_PARAM; k++)
            draws[k][r] = q[k];
    }
}

enum kvs_code kvs_fit_link(const struct kvs_obs *obs, unsigned n, uint64_t seed,
                           struct kvs_link_fit *fit, struct kvs_err *err)
{
    double p[N_PARAM], low[N_PARAM], high[N_PARAM], draws[N_PARAM][N_RESAMPLE];
    memset(fit, 0, sizeof *fit);
    enum kvs_code code = check(obs, n, err);
    if (code)
        return code;
    double *log_s = calloc(n, sizeof *log_s), *scratch = calloc(n, sizeof *scratch);
    struct kvs_rng rng = kvs_rng_stream(seed, "fit");
    if (!log_s || !scratch) {
        code = kvs_nomem(err);
        goto done;
    }
    find_range(obs, n, fit);
    for (unsigned i = 0; i < n; i++)
        log_s[i] = log(kvs_median(obs[i].s, obs[i].n));
    struct target t = {obs, log_s, n, {true, true, true}};
    t.is_free[BYTE] = fit->bytes_max >= 4 * fit->bytes_min;
    t.is_free[DESCRIPTOR] = t.is_free[BYTE] && fit->depth_max > fit->depth_min;
    fit_from(&t, p);
    find_residual(&t, p, scratch, fit);
    resample(t, p, scratch, &rng, draws);
    for (int k = 0; k < N_PARAM; k++) {
        qsort(draws[k], N_RESAMPLE, sizeof draws[k][0], kvs_cmp_double);
        low[k] = kvs_percentile(draws[k], N_RESAMPLE, 2.5);
        high[k] = kvs_percentile(draws[k], N_RESAMPLE, 97.5);
    }
    set_params(&t, p, low, high, fit);
done:
    free(log_s);
    free(scratch);
    return code;
}

double kvs_link_fit_knee(const struct kvs_link_fit *fit, double bytes)
{
    if (!fit->latency_s.known || !fit->bytes_per_s.known || !fit->descriptor_s.known)
        return 0;
    double wire = bytes / fit->bytes_per_s.value;
    return fmax(1, (fit->latency_s.value + wire) / (fit->descriptor_s.value + wire));
}

double kvs_param_error(const struct kvs_param *param, double residual_frac)
{
    if (!param->known || param->value <= 0)
        return residual_frac;
    return fmax(residual_frac, (param->ci95[1] - param->ci95[0]) / 2 / param->value);
}
