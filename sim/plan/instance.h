/*
 * instance.h - plan problems from a JSON file: {"about", "instances": [...]}, times in integer ns.
 *
 * Keys of an instance (L layers, R fractions, Q levels, K routes):
 *
 *     name, layers, levels, routes      text, L, Q, K
 *     fractions                         [R] ascending from 0 to 1
 *     io_ns                             [K][L][R][Q]
 *     decode_ns, post_ns, distortion    [L][R][Q]
 *     full_ns, kv_ns, wfull_ns, wkv_ns  [L][R]
 *     io_start_ns                       [K]
 *     gpu_start_ns, head_ns, budget     numbers
 *     states, state_ns                  may be absent: restart points, ascending, 1 to L - 1; and
 *                                       [K][R] ascending from 0, the time that their states take
 *     optimum_ns, plan                  may be absent or null: the least T, and [i, q] per layer of
 * one plan that reaches it
 */
#ifndef KVS_PLAN_INSTANCE_H
#define KVS_PLAN_INSTANCE_H

#include "plan.h"

#include <stddef.h>

#define KVS_PLAN_MAX_NS 1000000000000000 /* of one entry: 11 days, so that no sum overflows */

struct kvs_plan_instance {
    const char *name;
    struct kvs_plan_problem problem;
    bool has_optimum, has_plan;
    int64_t optimum_ns;
    struct kvs_plan plan; /* as the file has it; not checked against the staircase */
};

struct kvs_plan_set; /* from kvs_plan_set_open or _parse, ended by kvs_plan_set_free */

/* Errors name file, JSON path, what was found and what would do. */
KVS_MUST_CHECK enum kvs_code kvs_plan_set_open(const char *file, struct kvs_plan_set **set,
                                               struct kvs_err *err);
/* The same from memory; name stands for the file in messages. */
KVS_MUST_CHECK enum kvs_code kvs_plan_set_parse(const char *name, const char *text, size_t n_byte,
                                                struct kvs_plan_set **set, struct kvs_err *err);
void kvs_plan_set_free(struct kvs_plan_set *set); /* accepts NULL */
size_t kvs_plan_set_n(const struct kvs_plan_set *set);
const struct kvs_plan_instance *kvs_plan_set_at(const struct kvs_plan_set *set, size_t n);

#endif
