/* Planners, tables and the reader of problems when an allocation fails: an error, no leak. */
#include "test.h"

#include "fault.h"
#include "model/cost.h"
#include "plan/instance.h"
#include "plan/tables.h"

#include <stdio.h>
#include <string.h>

#define FILE_NAME "tests/data/plan_problems.json"

static void problems_are_read_or_refused(void **state)
{
    (void)state;
    for (enum kvs_fault kind = KVS_FAULT_MEM; kind <= KVS_FAULT_IO; kind++) {
        bool came = true;

        for (unsigned n = 1; came; n++) {
            struct kvs_plan_set *set = NULL;
            struct kvs_err err = {0};
            enum kvs_code code;

            kvs_fault_at(kind, n);
            code = kvs_plan_set_open(FILE_NAME, &set, &err);
            came = kvs_fault_end();
            assert_int_equal(code, err.code);
            assert_true(came ? (code != KVS_OK) == (set == NULL) : code == KVS_OK);
            assert_true(code == KVS_OK || err.msg[0]);
            kvs_plan_set_free(set);
        }
    }
}

static void planners_answer_or_say_why_not(void **state)
{
    struct kvs_plan_set *set;

    (void)state;
    assert_int_equal(kvs_plan_set_open(FILE_NAME, &set, NULL), KVS_OK);
    for (unsigned p = 0; kvs_planner_list[p]; p++) {
        bool came = true;

        for (unsigned n = 1; came; n++) {
            struct kvs_plan_scratch *scratch;
            struct kvs_plan_eval eval;
            struct kvs_plan plan;
            struct kvs_err err = {0};
            enum kvs_code code = KVS_ERR_NOMEM;
            int64_t bound;

            kvs_fault_at(KVS_FAULT_MEM, n);
            scratch = kvs_plan_scratch_new();
            if (scratch)
                code = kvs_planner_list[p]->plan(&kvs_plan_set_at(set, 0)->problem, scratch, &plan,
                                                 &eval, &bound, &err);
            came = kvs_fault_end();
            assert_true(came || code == KVS_OK);
            assert_true(code == KVS_OK || code == KVS_ERR_NOMEM);
            assert_true(code == KVS_OK || !scratch || err.msg[0]);
            kvs_plan_scratch_free(scratch);
        }
    }
    kvs_plan_set_free(set);
}

static void tables_are_made_or_refused(void **state)
{
    const struct kvs_table_level level = {.name = "raw16", .k_ratio = 1, .v_ratio = 1};
    struct kvs_tables_config config = {.chunk_tok = 512, .n_frac = 17, .n_level = 1};
    struct kvs_model *model;
    struct kvs_cost *cost;
    struct kvs_hw *hw;
    bool came = true;

    (void)state;
    assert_int_equal(kvs_model_open("llama-3.1-8b", &model, NULL), KVS_OK);
    assert_int_equal(kvs_hw_open("h100-sxm", &hw, NULL), KVS_OK);
    assert_int_equal(kvs_cost_new(model, hw, 1, &cost, NULL), KVS_OK);
    config.model = model;
    config.cost = cost;
    config.level = &level;
    for (unsigned n = 1; came; n++) {
        struct kvs_tables_inst *inst = NULL;
        struct kvs_tables *tables = NULL;
        struct kvs_err err = {0};

        kvs_fault_at(KVS_FAULT_MEM, n);
        if (kvs_tables_new(&config, &tables, &err) == KVS_OK)
            inst = kvs_tables_inst_new(tables);
        came = kvs_fault_end();
        assert_true(came || inst);
        assert_true(tables || err.code == KVS_ERR_NOMEM);
        kvs_tables_inst_free(inst);
        kvs_tables_free(tables);
    }
    kvs_cost_free(cost);
    kvs_hw_free(hw);
    kvs_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(problems_are_read_or_refused),
        cmocka_unit_test(planners_answer_or_say_why_not),
        cmocka_unit_test(tables_are_made_or_refused),
    };
    return cmocka_run_group_tests_name("plan faults", tests, NULL, NULL);
}
