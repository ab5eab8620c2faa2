/*
 * measure.h - the order of measuring: warm-up, rounds in shuffled order, repeats until steady.
 *
 * A task is a point and the benchmark that runs it. Every round runs each unfinished task once, in
 * an order shuffled with the recorded seed, so that a slow spell of the machine spreads over all
 * points. A task ends when it has the least number of repeats and its last five are steady, at the
 * most, or when the time is up. Clock and machine are hooks: tests pass their own.
 */
#ifndef KVS_PROBES_MEASURE_H
#define KVS_PROBES_MEASURE_H

#include "point.h"

/*
 * Runs the point's benchmark for about secs and fills sample (zeroed, histogram ready).
 * KVS_ERR_ABSENT makes the point unavailable, other errors make it failed, with the message as
 * reason; KVS_ERR_NOMEM ends the measuring.
 */
typedef enum kvs_code kvs_run_fn(void *self, struct kvs_point *point, double secs,
                                 struct kvs_sample *sample, struct kvs_err *err);

struct kvs_task {
    struct kvs_point *point;
    kvs_run_fn *run;
    void *self;
};

struct kvs_effort {
    double warm_s, repeat_s; /* of one run */
    unsigned min_repeat, max_repeat;
    double cap_s; /* no new round after that; the least number is always made */
    uint64_t seed;
};

struct kvs_hooks {
    void *self;
    bool (*stopped)(void *self);                           /* Ctrl-C: ends measuring early */
    double (*now_s)(void *self);                           /* since the epoch */
    void (*before)(void *self, struct kvs_health *health); /* around every repeat */
    void (*after)(void *self, struct kvs_health *health);
    void (*progress)(void *self, const struct kvs_point *next, unsigned n_done, unsigned n_run,
                     double left_s);
    unsigned n_core;
};

/* Measures all tasks. What was measured when it was stopped is kept; *complete tells. */
KVS_MUST_CHECK enum kvs_code kvs_measure(struct kvs_task *tasks, unsigned n,
                                         const struct kvs_effort *effort,
                                         const struct kvs_hooks *hooks, bool *complete,
                                         struct kvs_err *err);

/* The hooks of the real machine, without progress; stop is read, NULL: never. */
struct kvs_machine {
    const volatile int *stop;
    double psi_us, steal, total, nivcsw, at_s; /* readings before the repeat */
};
struct kvs_hooks kvs_machine_hooks(struct kvs_machine *machine, const volatile int *stop);

int64_t kvs_now_ns(void); /* CLOCK_MONOTONIC */
double kvs_cpu_ns(void);  /* of all threads of this process, user and system */

#endif
