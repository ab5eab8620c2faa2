/* Plan problems from a file: refused with a sentence, or planned within staircase and bound. */
#include "plan/instance.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte);

static void plan_one(const struct kvs_plan_problem *problem, struct kvs_plan_scratch *scratch)
{
    struct kvs_plan_eval eval, again;
    struct kvs_plan plan;
    int64_t bound;

    if (kvs_planner_find("optimal")->plan(problem, scratch, &plan, &eval, &bound, NULL))
        return;
    if (!kvs_plan_eval(problem, &plan, NULL, &again) || again.end_ns != eval.end_ns)
        abort();
    if (eval.distortion <= problem->budget && bound > eval.end_ns)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_byte)
{
    struct kvs_plan_set *set;
    struct kvs_plan_scratch *scratch;
    struct kvs_err err = {0};

    if (kvs_plan_set_parse("fuzz.json", (const char *)data, n_byte, &set, &err)) {
        if (set || strncmp(err.msg, "fuzz.json", 9) != 0)
            abort();
        return 0;
    }
    scratch = kvs_plan_scratch_new();
    for (size_t n = 0; scratch && n < kvs_plan_set_n(set); n++)
        plan_one(&kvs_plan_set_at(set, n)->problem, scratch);
    kvs_plan_scratch_free(scratch);
    kvs_plan_set_free(set);
    return 0;
}
