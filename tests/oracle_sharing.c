/*
 * oracle_sharing.c - shared links (engine/net) on the event queue (engine/queue), against queueing
 * theory: flows over one link are an M/G/1 queue with processor sharing, two links one after the
 * other a tandem of them; and max-min rates against a search over all allocations.
 */
#include "test.h"

#include "base/rng.h"
#include "base/units.h"
#include "engine/net.h"
#include "engine/queue.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STAGE = 2, N_BATCH = 30, MAX_FLOW = 4096 };

struct job {
    int64_t arrive_ns;
    double work_ns[MAX_STAGE]; /* alone, on each stage's link */
    uint32_t stage;
};

/* Jobs that cross links 0, 1, ... one after the other. */
struct station {
    uint32_t n_stage;
    struct kvs_net *net;
    struct kvs_queue queue;
    uint32_t version[MAX_FLOW], job_of[MAX_FLOW];
    struct job *job;
    size_t n_job;
    double *sojourn_s;
    uint32_t n_inside, n_done;
    uint32_t *n_met; /* jobs inside, as each arrival found it */
    double inside_s; /* integral of n_inside */
    int64_t last_ns;
};

/* Flows whose rate changed end at another time: their earlier events are outdated. */
static void schedule(struct station *s)
{
    uint32_t n;
    const uint32_t *changed = kvs_net_changed(s->net, &n);
    for (uint32_t i = 0; i < n; i++)
        assert_true(kvs_queue_add(&s->queue, kvs_net_end_ns(s->net, changed[i]), 0, changed[i],
                                  ++s->version[changed[i]]));
}

static void enter(struct station *s, int64_t now_ns, uint32_t job_i)
{
    const struct job *job = &s->job[job_i];
    const double work_ns = job->work_ns[job->stage];
    struct kvs_flow_spec spec = {.n_hop = 1, .n_bytes = work_ns};
    spec.link[0] = job->stage;
    spec.s_per_byte[0] = 1e-9;
    spec.work_ns = (int64_t)ceil(work_ns);
    uint32_t flow = kvs_net_start(s->net, now_ns, &spec);
    assert_true(flow < MAX_FLOW);
    s->job_of[flow] = job_i;
    schedule(s);
}

static void leave(struct station *s, int64_t now_ns, uint32_t flow)
{
    uint32_t job_i = s->job_of[flow];
    struct job *job = &s->job[job_i];
    kvs_net_stop(s->net, now_ns, flow);
    schedule(s);
    s->version[flow]++;
    kvs_net_forget(s->net, flow);
    if (++job->stage < s->n_stage) {
        enter(s, now_ns, job_i);
        return;
    }
    s->n_inside--;
    s->n_done++;
    s->sojourn_s[job_i] = (double)(now_ns - job->arrive_ns) * 1e-9;
}

static void run(struct station *s)
{
    struct kvs_event event;
    uint32_t next = 0;
    s->net = kvs_net_new(s->n_stage);
    kvs_queue_init(&s->queue);
    assert_non_null(s->net);
    assert_true(kvs_queue_add(&s->queue, s->job[0].arrive_ns, 1, 0, 0));
    while (kvs_queue_take(&s->queue, &event)) {
        s->inside_s += s->n_inside * (double)(event.at_ns - s->last_ns) * 1e-9;
        s->last_ns = event.at_ns;
        if (event.order >> 56 == 0) {
            if (event.version == s->version[event.what])
                leave(s, event.at_ns, event.what);
            continue;
        }
        s->n_met[next] = s->n_inside++;
        enter(s, event.at_ns, next++);
        if (next < s->n_job)
            assert_true(kvs_queue_add(&s->queue, s->job[next].arrive_ns, 1, 0, 0));
    }
    assert_int_equal(s->n_done, s->n_job);
    assert_int_equal(s->n_inside, 0);
    /* Little's law, to the letter: all time inside is somebody's */
    double all_s = 0;
    for (size_t i = 0; i < s->n_job; i++)
        all_s += s->sojourn_s[i];
    assert_true(fabs(all_s - s->inside_s) <= 1e-6 * all_s);
    kvs_net_free(s->net);
    kvs_queue_free(&s->queue);
}

/* Mean and standard error by batch means, the first tenth left out. */
static void batch_means(const double *value, size_t n, double *mean, double *error)
{
    size_t first = n / 10, each = (n - first) / N_BATCH;
    double sum = 0, square = 0;
    for (size_t b = 0; b < N_BATCH; b++) {
        double batch = 0;
        for (size_t i = 0; i < each; i++)
            batch += value[first + b * each + i] / (double)each;
        sum += batch;
        square += batch * batch;
    }
    *mean = sum / N_BATCH;
    *error = sqrt((square / N_BATCH - *mean * *mean) / (N_BATCH - 1));
}

static void meets(const char *what, const double *value, size_t n, double want, double most_error)
{
    double mean, error;
    batch_means(value, n, &mean, &error);
    print_message("# %s: %.4f, formula %.4f, error %.4f\n", what, mean, want, error);
    assert_true(error < most_error * want);
    assert_true(fabs(mean - want) <= 3 * error);
}

static double draw_fixed(struct kvs_rng *rng)
{
    (void)rng;
    return 1;
}

static double draw_exponential(struct kvs_rng *rng)
{
    return kvs_rng_exp(rng, 1);
}

/* Nine of ten short, one long: mean 1, squared coefficient of variation 5.1. */
static double draw_uneven(struct kvs_rng *rng)
{
    return kvs_rng_below(rng, 10) ? kvs_rng_exp(rng, 0.5) : kvs_rng_exp(rng, 5.5);
}

static struct station make(uint32_t n_stage, size_t n_job, double gap_s, const double *mean_s,
                           double (*draw)(struct kvs_rng *), uint64_t seed)
{
    struct kvs_rng arrivals = kvs_rng_stream(seed, "arrivals");
    struct kvs_rng sizes = kvs_rng_stream(seed, "sizes");
    struct station s = {.n_stage = n_stage, .n_job = n_job};
    double at_s = 0;
    s.job = calloc(n_job, sizeof *s.job);
    s.sojourn_s = calloc(n_job, sizeof *s.sojourn_s);
    s.n_met = calloc(n_job, sizeof *s.n_met);
    assert_true(s.job && s.sojourn_s && s.n_met);
    for (size_t i = 0; i < n_job; i++) {
        at_s += kvs_rng_exp(&arrivals, gap_s);
        s.job[i].arrive_ns = kvs_ns(at_s);
        for (uint32_t k = 0; k < n_stage; k++)
            s.job[i].work_ns[k] = fmax(1, mean_s[k] * 1e9 * draw(&sizes));
    }
    return s;
}

static void drop(struct station *s)
{
    free(s->job);
    free(s->sojourn_s);
    free(s->n_met);
}

static const struct {
    const char *name;
    double (*draw)(struct kvs_rng *);
} sizes[] = {{"fixed", draw_fixed}, {"exponential", draw_exponential}, {"uneven", draw_uneven}};

/*
 * M/G/1 with processor sharing (Kleinrock 1976, 4.4): whatever the sizes are, a job of x seconds
 * stays x / (1 - rho) in the mean, and an arrival finds n jobs with probability (1 - rho) rho^n.
 */
static void flows_over_one_link_are_mg1_ps(void **state)
{
    (void)state;
    for (int load = 5; load <= 7; load += 2)
        for (size_t z = 0; z < 3; z++) {
            const double rho = load / 10.0, mean_s = 0.01;
            char what[80];
            struct station s = make(1, 60000, mean_s / rho, &mean_s, sizes[z].draw, 3 + z);
            run(&s);
            snprintf(what, sizeof what, "M/G/1-PS, %s sizes, load %.1f: seconds", sizes[z].name,
                     rho);
            meets(what, s.sojourn_s, s.n_job, mean_s / (1 - rho), 0.1);
            for (size_t i = 0; i < s.n_job; i++)
                s.sojourn_s[i] /= s.job[i].work_ns[0] * 1e-9;
            snprintf(what, sizeof what, "M/G/1-PS, %s sizes, load %.1f: slowdown", sizes[z].name,
                     rho);
            meets(what, s.sojourn_s, s.n_job, 1 / (1 - rho), 0.05);
            for (uint32_t n = 0; n < 3; n++) {
                for (size_t i = 0; i < s.n_job; i++)
                    s.sojourn_s[i] = s.n_met[i] == n;
                snprintf(what, sizeof what, "M/G/1-PS, %s sizes, load %.1f: met %u", sizes[z].name,
                         rho, n);
                meets(what, s.sojourn_s, s.n_job, (1 - rho) * pow(rho, n), 0.05);
            }
            drop(&s);
        }
}

/* Two of them in a row: departures are Poisson again, so each stage is as if it were alone (Kelly
 * 1979, chapter 3). */
static void two_links_in_a_row_are_a_tandem_queue(void **state)
{
    (void)state;
    for (size_t z = 1; z < 3; z++) {
        static const double mean_s[] = {0.010, 0.006};
        const double gap_s = 0.015;
        char what[80];
        struct station s = make(2, 60000, gap_s, mean_s, sizes[z].draw, 23 + z);
        run(&s);
        snprintf(what, sizeof what, "tandem, %s sizes: seconds", sizes[z].name);
        meets(what, s.sojourn_s, s.n_job,
              mean_s[0] / (1 - mean_s[0] / gap_s) + mean_s[1] / (1 - mean_s[1] / gap_s), 0.1);
        drop(&s);
    }
}

/* --- max-min by brute force --------------------------------------------------------------------
 */

enum { N_FLOW = 3, N_LINK = 3 };

struct scene {
    int room[N_LINK], cap[N_FLOW];
    bool uses[N_FLOW][N_LINK];
};

static int by_size(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/*
 * The allocation whose rates, sorted, are the largest in the order of the dictionary. Three flows
 * divide rooms that are multiples of 6 at most by 3, then by 2: the optimum is in whole numbers.
 */
static void best_allocation(const struct scene *scene, int best[N_FLOW])
{
    int best_sorted[N_FLOW] = {-1, -1, -1}, rate[N_FLOW];
    for (rate[0] = 0; rate[0] <= scene->cap[0]; rate[0]++)
        for (rate[1] = 0; rate[1] <= scene->cap[1]; rate[1]++)
            for (rate[2] = 0; rate[2] <= scene->cap[2]; rate[2]++) {
                bool fits = true;
                for (int j = 0; j < N_LINK; j++) {
                    int use = 0;
                    for (int f = 0; f < N_FLOW; f++)
                        use += scene->uses[f][j] ? rate[f] : 0;
                    fits &= use <= scene->room[j];
                }
                int sorted[N_FLOW] = {rate[0], rate[1], rate[2]}, f = 0;
                qsort(sorted, N_FLOW, sizeof *sorted, by_size);
                while (f < N_FLOW && sorted[f] == best_sorted[f])
                    f++;
                if (fits && f < N_FLOW && sorted[f] > best_sorted[f]) {
                    memcpy(best_sorted, sorted, sizeof sorted);
                    memcpy(best, rate, sizeof rate);
                }
            }
}

static void rates_are_those_of_the_search_over_all_allocations(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "max-min");
        struct kvs_net *net = kvs_net_new(N_LINK);
        struct scene scene;
        uint32_t flow[N_FLOW];
        int best[N_FLOW] = {0};
        for (int j = 0; j < N_LINK; j++)
            scene.room[j] = 6 * (1 + (int)kvs_rng_below(&rng, 5));
        for (int f = 0; f < N_FLOW; f++) {
            struct kvs_flow_spec spec = {.n_bytes = 1e9};
            scene.cap[f] = 6 * (1 + (int)kvs_rng_below(&rng, 5));
            for (uint32_t j = 0; j < N_LINK; j++) {
                scene.uses[f][j] = kvs_rng_below(&rng, 2) || (j == 2 && spec.n_hop == 0);
                if (!scene.uses[f][j])
                    continue;
                spec.link[spec.n_hop] = j;
                spec.s_per_byte[spec.n_hop++] = 1.0 / scene.room[j];
                scene.cap[f] = scene.room[j] < scene.cap[f] ? scene.room[j] : scene.cap[f];
            }
            spec.work_ns = (int64_t)ceil(spec.n_bytes / scene.cap[f] * 1e9);
            flow[f] = kvs_net_start(net, 0, &spec);
        }
        best_allocation(&scene, best);
        for (int f = 0; f < N_FLOW; f++)
            if (fabs(kvs_net_rate(net, flow[f]) - best[f]) > 1e-6)
                fail_msg("seed %llu: flow %d has rate %g, the search says %d",
                         (unsigned long long)seed, f, kvs_net_rate(net, flow[f]), best[f]);
        kvs_net_free(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flows_over_one_link_are_mg1_ps),
        cmocka_unit_test(two_links_in_a_row_are_a_tandem_queue),
        cmocka_unit_test(rates_are_those_of_the_search_over_all_allocations),
    };
    return cmocka_run_group_tests_name("sharing", tests, NULL, NULL);
}
