/*
 * The event queue: an M/M/1 queue of customers (an arrival and a departure each), and the hold
 * model (take the next event, schedule another) with many events waiting. Events a second of
 * processor time, one core, one JSON line each.
 */
#include "base/rng.h"
#include "engine/queue.h"

#include <stdio.h>
#include <time.h>

enum { N_CUSTOMER = 5000000, N_HOLD = 5000000, N_PASS = 3, ARRIVE = 1, DEPART = 0 };

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print(const char *name, double per_s, double goal, const char *more)
{
    printf("{\"bench\": \"events.%s\", \"figure\": %.4g, \"unit\": \"events/s\", \"goal\": "
           "%.4g%s}\n",
           name, per_s, goal, more);
}

/* Utilisation 0.8; the mean number in the system, 4 by the formula, shows that it is the queue. */
static bool mm1(uint64_t *n_event, double *mean_n)
{
    const double mean_ns = 1e6, rho = 0.8;
    struct kvs_rng arrivals = kvs_rng_stream(1, "arrivals"), sizes = kvs_rng_stream(1, "sizes");
    struct kvs_queue queue;
    struct kvs_event event;
    uint64_t n_in = 0, n_arrived = 0;
    double area = 0;
    int64_t last_ns = 0;
    kvs_queue_init(&queue);
    bool ok = kvs_queue_add(&queue, 0, ARRIVE, 0, 0);
    while (ok && kvs_queue_take(&queue, &event)) {
        area += (double)n_in * (double)(event.at_ns - last_ns);
        last_ns = event.at_ns;
        if (event.order >> 56 == DEPART) {
            n_in--;
        } else {
            n_in++;
            if (++n_arrived < N_CUSTOMER)
                ok = kvs_queue_add(&queue,
                                   event.at_ns + (int64_t)kvs_rng_exp(&arrivals, mean_ns / rho),
                                   ARRIVE, 0, 0);
            if (n_in > 1)
                continue;
        }
        if (n_in)
            ok = ok && kvs_queue_add(&queue, event.at_ns + (int64_t)kvs_rng_exp(&sizes, mean_ns),
                                     DEPART, 0, 0);
    }
    *n_event = queue.n_run;
    *mean_n = area / (double)last_ns;
    kvs_queue_free(&queue);
    return ok;
}

static bool hold(size_t n_waiting, double *per_s)
{
    struct kvs_rng rng = kvs_rng_stream(1, "hold");
    struct kvs_queue queue;
    struct kvs_event event;
    bool ok = true;
    kvs_queue_init(&queue);
    for (size_t i = 0; i < n_waiting && ok; i++)
        ok = kvs_queue_add(&queue, (int64_t)kvs_rng_below(&rng, 1u << 30), 0, 0, 0);
    double start_s = cpu_s();
    for (int i = 0; i < N_HOLD && ok; i++)
        ok = kvs_queue_take(&queue, &event) &&
             kvs_queue_add(&queue, event.at_ns + (int64_t)kvs_rng_below(&rng, 1u << 30), 0, 0, 0);
    *per_s = N_HOLD / (cpu_s() - start_s);
    kvs_queue_free(&queue);
    return ok;
}

int main(void)
{
    double best = 0, mean_n = 0;
    char more[64];
    for (int pass = 0; pass < N_PASS; pass++) {
        uint64_t n_event;
        double start_s = cpu_s();
        if (!mm1(&n_event, &mean_n))
            return 1;
        double per_s = (double)n_event / (cpu_s() - start_s);
        best = per_s > best ? per_s : best;
    }
    snprintf(more, sizeof more, ", \"mean_in_system\": %.4g, \"formula\": 4", mean_n);
    print("mm1", best, 10e6, more);
    static const size_t n_waiting[] = {100, 10000, 1000000};
    for (size_t i = 0; i < sizeof n_waiting / sizeof *n_waiting; i++) {
        char name[40];
        double per_s;
        if (!hold(n_waiting[i], &per_s))
            return 1;
        snprintf(name, sizeof name, "hold_%zu", n_waiting[i]);
        print(name, per_s, 0, "");
    }
    return 0;
}
