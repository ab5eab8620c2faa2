#include "test.h"

#include "base/data.h"
#include "model/cost.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct kvs_hw *open_hw(const char *name)
{
    struct kvs_hw *hw;
    struct kvs_err err = {0};
    if (kvs_hw_open(name, &hw, &err))
        fail_msg("%s", err.msg);
    return hw;
}

static void every_profile_that_comes_along_opens_and_computes(void **state)
{
    unsigned n = 0;
    char **names = kvs_data_names("configs/hardware");
    struct kvs_err err = {0};
    struct kvs_model *model;
    (void)state;
    assert_non_null(names);
    assert_int_equal(kvs_model_open("llama-3.1-8b", &model, &err), KVS_OK);
    for (; names[n]; n++) {
        struct kvs_cost *cost;
        struct kvs_hw *hw = open_hw(names[n]);
        assert_string_equal(hw->name, names[n]);
        if (kvs_cost_new(model, hw, hw->gpus_per_host > 1 ? 2 : 1, &cost, &err))
            fail_msg("%s", err.msg);
        kvs_cost_free(cost);
        for (const char *const *tier = (const char *const[]){"dram", "nvme", "remote", NULL}; *tier;
             tier++)
            assert_non_null(kvs_hw_tier(hw, *tier));
        kvs_hw_free(hw);
    }
    assert_int_equal(n, 13);
    kvs_model_free(model);
    kvs_data_names_free(names);
}

static void a_figure_tells_where_it_comes_from(void **state)
{
    struct kvs_hw *hw = open_hw("h100-sxm");
    const struct kvs_hw_link *pcie = kvs_hw_link(hw, "pcie");
    (void)state;
    assert_int_equal(hw->gpu->peak_flop_per_s.source, KVS_PUBLISHED);
    assert_true(hw->gpu->peak_flop_per_s.value == 989.5e12);
    assert_int_equal(hw->gpu->gemm_eff.source, KVS_FITTED);
    assert_true(hw->gpu->gemm_eff.rel_error > 0);
    assert_int_equal(pcie->scope, KVS_SCOPE_GPU);
    assert_string_equal(kvs_source_name(pcie->read_bytes_per_s.source), "fitted");
    assert_non_null(strstr(pcie->read_bytes_per_s.ref, "vLLM"));
    const struct kvs_hw_tier *nvme = kvs_hw_tier(hw, "nvme");
    assert_int_equal(nvme->n_hop, 3);
    assert_string_equal(hw->link[nvme->hop[0]].name, "nvme");
    assert_string_equal(hw->link[nvme->hop[2]].name, "pcie");
    assert_null(kvs_hw_link(hw, "tape"));
    kvs_hw_free(hw);
}

static struct kvs_hw_link made_link(double rate, double latency_s, double descriptor_s)
{
    return (struct kvs_hw_link){
        .name = "made",
        .read_bytes_per_s = {.value = rate, .known = true},
        .write_bytes_per_s = {.value = rate / 2, .known = true},
        .latency_s = {.value = latency_s, .known = true},
        .descriptor_s = {.value = descriptor_s, .known = true},
    };
}

static void a_link_charges_descriptors_and_bytes(void **state)
{
    struct kvs_hw_link link = made_link(1e9, 5e-6, 1e-6);
    (void)state;
    assert_true(fabs(kvs_link_s(&link, false, 1e6, 10) - 1.01e-3) < 1e-15);
    assert_true(fabs(kvs_link_s(&link, true, 1e6, 10) - 2.01e-3) < 1e-15);
    assert_true(kvs_link_s(&link, false, 0, 0) == 0);
}

/* --- wrong profiles --------------------------------------------------------------------------- */

#define FIG(value) "{\"value\": " value ", \"source\": \"assumed\"}"
#define HEAD                                                                                       \
    "{\"schema\": \"kvsim.profile\", \"schema_version\": \"1.2.0\", \"name\": \"x\", "             \
    "\"gpus_per_host\": 1, \"gpu\": null"
#define LINK(name, rate)                                                                           \
    "{\"name\": \"" name "\", \"scope\": \"host\", \"read_bytes_per_s\": " rate                    \
    ", \"write_bytes_per_s\": " FIG("1e9") ", \"latency_s\": " FIG(                                \
        "0") ", \"descriptor_s\": " FIG("0") "}"
#define TIER(route) "{\"name\": \"t\", \"scope\": \"host\", \"route\": [" route "]}"

static enum kvs_code parse(const char *text, struct kvs_hw **hw, struct kvs_err *err)
{
    struct kvs_doc *doc;
    *hw = NULL;
    enum kvs_code code = kvs_doc_parse("p.json", text, strlen(text), &doc, err);
    return code ? code : kvs_hw_from(doc, hw, err);
}

static void wrong_profiles_are_named(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"{}", "p.json: (root): missing key \"schema\""},
        {"{\"schema\": \"x\", \"schema_version\": \"1\", \"name\": \"x\", \"gpus_per_host\": 1, "
         "\"gpu\": null, \"links\": [], \"tiers\": []}",
         "p.json: schema: found \"x\", want \"kvsim.profile\""},
        {"{\"schema\": \"kvsim.profile\", \"schema_version\": \"2.0.0\", \"name\": \"x\", "
         "\"gpus_per_host\": 1, \"gpu\": null, \"links\": [], \"tiers\": []}",
         "p.json: schema_version: found \"2.0.0\", this kvsim reads 1.x"},
        {HEAD ", \"links\": [], \"tiers\": [], \"teirs\": []}", "did you mean \"tiers\"?"},
        {HEAD ", \"links\": 3, \"tiers\": []}", "p.json: links: found 3, want an array"},
        {HEAD ", \"links\": [{\"name\": \"a\", \"scope\": \"rack\"}], \"tiers\": []}",
         "p.json: links[0].scope: "},
        {HEAD ", \"links\": [{\"name\": \"a\", \"scope\": \"host\"}], \"tiers\": []}",
         "p.json: links[0].read_bytes_per_s: missing; want {\"value\": number"},
        {HEAD ", \"links\": [" LINK("a", "5") "], \"tiers\": []}",
         "p.json: links[0].read_bytes_per_s: found 5, want an object"},
        {HEAD ", \"links\": [" LINK("a", FIG("0")) "], \"tiers\": []}",
         "p.json: links[0].read_bytes_per_s.value: found 0"},
        {HEAD ", \"links\": [" LINK("a", FIG("\"fast\"")) "], \"tiers\": []}",
         "p.json: links[0].read_bytes_per_s.value: found \"fast\""},
        {HEAD
         ", \"links\": [" LINK("a", "{\"value\": 1e9, \"source\": \"guess\"}") "], "
                                                                               "\"tiers\": []}",
         "p.json: links[0].read_bytes_per_s.source: "},
        {HEAD
         ", \"links\": [" LINK("a", "{\"value\": 1e9, \"source\": \"published\"}") "], "
                                                                                   "\"tiers\": []}",
         "p.json: links[0].read_bytes_per_s.ref: missing; a published figure names its reference"},
        {HEAD ", \"links\": [" LINK("a", "{\"value\": 1e9, \"source\": \"measured\", "
                                         "\"rel_err\": 1}") "], \"tiers\": []}",
         "did you mean \"rel_error\"?"},
        {HEAD ", \"links\": [" LINK("a", FIG("1e9")) ", " LINK("a", FIG("1e9")) "], \"tiers\": []}",
         "p.json: links[1].name: \"a\" is the name of an earlier link"},
        {HEAD ", \"links\": [" LINK("pcie", FIG("1e9")) "], \"tiers\": [" TIER("\"pcei\"") "]}",
         "p.json: tiers[0].route[0]: no link \"pcei\" in this profile; did you mean \"pcie\"?"},
        {HEAD ", \"links\": [" LINK("a", "null") "], \"tiers\": [" TIER("\"a\"") "]}",
         "p.json: tiers[0].route[0]: link \"a\" has no known read_bytes_per_s, so no tier can lie "
         "behind it"},
        {HEAD ", \"links\": [], \"tiers\": [" TIER("") "]}",
         "p.json: tiers[0].route: found 0 links, want 1 to 6"},
        {HEAD ", \"links\": [" LINK("a", FIG("1e9")) "], \"tiers\": [" TIER("\"a\"") ", " TIER(
             "\"a\"") "]}",
         "p.json: tiers[1].name: \"t\" is the name of an earlier tier"},
        {HEAD ", \"links\": [], \"tiers\": [], \"serving\": [{\"name\": \"v\", \"chunk_tok\": 0}]}",
         "p.json: serving[0].chunk_tok: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kvs_err err = {0};
        struct kvs_hw *hw;
        assert_int_not_equal(parse(cases[i].text, &hw, &err), KVS_OK);
        assert_null(hw);
        if (!strstr(err.msg, cases[i].message))
            fail_msg("case %zu: \"%s\" does not hold \"%s\"", i, err.msg, cases[i].message);
    }
}

/* A machine whose GPU was not measured has a profile, but no compute cost. */
static void what_is_not_known_is_no_zero(void **state)
{
    struct kvs_err err = {0};
    struct kvs_hw *hw;
    struct kvs_model *model;
    struct kvs_cost *cost;
    (void)state;
    assert_int_equal(parse(HEAD ", \"links\": [" LINK(
                               "a", "null") "], \"tiers\": [], "
                                            "\"points\": [{}], \"fits\": [], \"env\": {}}",
                           &hw, &err),
                     KVS_OK);
    if (!hw) {
        fail();
        return;
    }
    assert_null(hw->gpu);
    assert_false(hw->link[0].read_bytes_per_s.known);
    assert_true(hw->link[0].write_bytes_per_s.known);
    assert_int_equal(kvs_model_open("llama-3.1-8b", &model, &err), KVS_OK);
    assert_int_equal(kvs_cost_new(model, hw, 1, &cost, &err), KVS_ERR_ABSENT);
    assert_string_equal(err.msg, "x: the profile has no GPU");
    kvs_model_free(model);
    kvs_hw_free(hw);
}

static void one_gpu_profiles_need_no_all_reduce_figure(void **state)
{
    struct kvs_err err = {0};
    struct kvs_model *model;
    struct kvs_cost *cost;
    struct kvs_hw *hw = open_hw("a40");
    (void)state;
    hw->gpu->allreduce_latency_s.known = false;
    assert_int_equal(kvs_model_open("llama-3.1-8b", &model, &err), KVS_OK);
    assert_int_equal(kvs_cost_new(model, hw, 1, &cost, &err), KVS_OK);
    kvs_cost_free(cost);
    assert_int_equal(kvs_cost_new(model, hw, 2, &cost, &err), KVS_ERR_ABSENT);
    assert_string_equal(
        err.msg, "a40: gpu.allreduce_latency_s is not known, which tensor parallelism needs");
    kvs_model_free(model);
    kvs_hw_free(hw);
}

static void an_unknown_profile_gets_the_nearest(void **state)
{
    struct kvs_err err = {0};
    struct kvs_hw *hw;
    (void)state;
    assert_int_equal(kvs_hw_open("h100-sxn", &hw, &err), KVS_ERR_ARG);
    assert_null(hw);
    assert_non_null(strstr(err.msg, "h100-sxm"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_profile_that_comes_along_opens_and_computes),
        cmocka_unit_test(a_figure_tells_where_it_comes_from),
        cmocka_unit_test(a_link_charges_descriptors_and_bytes),
        cmocka_unit_test(wrong_profiles_are_named),
        cmocka_unit_test(what_is_not_known_is_no_zero),
        cmocka_unit_test(one_gpu_profiles_need_no_all_reduce_figure),
        cmocka_unit_test(an_unknown_profile_gets_the_nearest),
    };
    return cmocka_run_group_tests_name("hardware", tests, NULL, NULL);
}
