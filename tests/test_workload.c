/* workload.json: what is wrong is told by file, place, what was found and what would do. */
#include "base/data.h"
#include "report/workload.h"
#include "test.h"
#include "tmpdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N(table) (sizeof(table) / sizeof *(table))

static const char base_text[] = "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-sxm\",\n"
                                " \"trace\": {\"generate\": {\"requests\": 20}},\n"
                                " \"tiers\": [{\"name\": \"dram\", \"capacity\": \"16GiB\"}]}\n";

static enum kvs_code open_with(const char *text, const struct kvs_strs *sets,
                               struct kvs_workload **w, struct kvs_err *err)
{
    FILE *to = fopen("w.json", "w");
    assert_non_null(to);
    assert_true(fputs(text, to) >= 0);
    assert_int_equal(fclose(to), 0);
    *err = (struct kvs_err){0};
    return kvs_workload_open("w.json", sets, w, err);
}

/* A star in want stands for names that a registry or a folder lists. */
static void expect_message(const char *msg, const char *want)
{
    const char *star = strchr(want, '*');
    const size_t n = star ? (size_t)(star - want) : 0;
    const char *tail = star ? star + 1 : "";
    if (!star)
        assert_string_equal(msg, want);
    else if (strncmp(msg, want, n) != 0 || strlen(msg) < n + strlen(tail) ||
             strcmp(msg + strlen(msg) - strlen(tail), tail) != 0)
        fail_msg("\"%s\" is not \"%s\"", msg, want);
}

static void expect_failure(const char *text, const char *set, const char *want)
{
    struct kvs_strs sets = {.n = set ? 1 : 0, .v = {set}};
    struct kvs_workload *w;
    struct kvs_err err;
    enum kvs_code code = open_with(text, &sets, &w, &err);
    assert_null(w);
    expect_message(err.msg, want);
    assert_int_equal(kvs_exit_status(code), 2);
}

static void wrong_settings_are_named_exactly(void **state)
{
    static const struct {
        const char *set, *want;
    } cases[] = {
        {"modle=\"llama-3.1-8b\"",
         "w.json: modle: unknown key; did you mean \"model\"? known: kvsim, about, model, "
         "hardware, hardware_set, trace, arrivals, seed, cluster, tiers, planner, slo, warmup, "
         "compare, output"},
        {"hardware_set={\"links.nvm.latency_s\": 1}",
         "w.json: hardware_set[\"links.nvm.latency_s\"]: the hardware profile has no \"nvm\"; did "
         "you mean \"nvme\"? known: *"},
        {"hardware_set={\"links.nvme.latency_s\": \"fast\"}",
         "w.json: hardware_set[\"links.nvme.latency_s\"]: *"},
        {"hardware_set={\"links\": 1}",
         "w.json: hardware_set.links: links is no figure; want the path of one"},
        {"colour=1", "w.json: colour: unknown key; known: kvsim, about, model, hardware, "
                     "hardware_set, trace, arrivals, seed, cluster, tiers, planner, slo, warmup, "
                     "compare, output"},
        {"model=7", "w.json: model: found 7, want a string"},
        {"model=\"llama-3.1-8c\"", "w.json: model: model \"llama-3.1-8c\" is not known; did you "
                                   "mean \"llama-3.1-8b\"? known: *"},
        {"hardware=\"tpu\"", "w.json: hardware: hardware \"tpu\" is not known; known: *"},
        {"hardware=\"./none.json\"",
         "w.json: hardware: no file ./none.json; want a file or a name of configs/"},
        {"cluster.replicas=0", "w.json: cluster.replicas: found 0, want a whole number in 1..4096"},
        {"cluster.replicas=1.5",
         "w.json: cluster.replicas: found 1.5, want a whole number in 1..4096"},
        {"cluster.replicas=\"two\"",
         "w.json: cluster.replicas: found \"two\", want a whole number in 1..4096"},
        {"cluster.replica=2",
         "w.json: cluster.replica: unknown key; did you mean \"replicas\"? known: replicas, "
         "decode_replicas, handover_link, tp, "
         "max_batch, chunk_tok, prefill_batch, router, scheduler, layout, serving, repoll, "
         "max_pending_loads, reuse, preemption, hbm_cache, hbm_evict"},
        {"cluster.tp=3",
         "w.json: cluster.tp: llama-3.1-8b: tensor parallelism of 3 does not divide 32 heads"},
        {"cluster.chunk_tok=\"8KB\"", "w.json: cluster.chunk_tok: found \"8KB\", want tokens like "
                                      "\"4k\", \"4Ki\" or a whole number in 16..1000000"},
        {"cluster.router=\"least-load\"", "w.json: cluster.router: found \"least-load\", want one "
                                          "of *; did you mean \"least-loaded\"?"},
        {"cluster.scheduler=\"fcsf\"", "w.json: cluster.scheduler: found \"fcsf\", want one of *; "
                                       "did you mean \"fcfs\"?"},
        {"cluster.repoll=-1", "w.json: cluster.repoll: found -1, want a time like \"150ms\", "
                              "\"2s\" or a number of seconds in 0..60"},
        {"cluster.max_pending_loads=\"two\"", "w.json: cluster.max_pending_loads: found \"two\", "
                                              "want a whole number in 0..65536"},
        {"cluster.reuse=\"suffix\"",
         "w.json: cluster.reuse: found \"suffix\", want one of prefix, content"},
        /* wrong names are told where nothing uses them, too */
        {"cluster={\"handover_link\":\"nick\"}",
         "w.json: cluster.handover_link: found \"nick\", want one of *"},
        {"planner={\"codec\":\"gpu-publish\"}",
         "w.json: planner.codec: codec \"gpu-publish\" is not known; did you mean *"},
        {"planner={\"codec\":\"no/such.json\"}", "w.json: planner.codec: no file *"},
        {"planner={\"quality\":\"mistral\"}",
         "w.json: planner.quality: quality table \"mistral\" is not known; *"},
        {"tiers=[{\"name\":\"dram\",\"network\":\"nick\"}]",
         "w.json: tiers[0].network: found \"nick\", want one of *"},
        {"cluster={\"decode_replicas\":1,\"handover_link\":\"nick\"}",
         "w.json: cluster.handover_link: found \"nick\", want one of *; did you mean \"nic\"?"},
        {"cluster.serving=\"vlm\"", "w.json: cluster.serving: found \"vlm\", want one of *; did "
                                    "you mean \"vllm\"?"},
        {"cluster.layout=\"vllm-block\"", "w.json: cluster.layout: found \"vllm-block\", want one "
                                          "of *; did you mean \"vllm-blocks\"?"},
        {"cluster.preemption=\"drop\"",
         "w.json: cluster.preemption: found \"drop\", want one of recompute, swap, never"},
        {"cluster.hbm_cache=\"yes\"",
         "w.json: cluster.hbm_cache: found \"yes\", want true or false"},
        {"cluster.hbm_evict=\"lruu\"",
         "w.json: cluster.hbm_evict: found \"lruu\", want one of *; did you mean \"lru\"?"},
        {"cluster=[]", "w.json: cluster: found an array, want an object"},
        {"cluster.tp=16", "w.json: cluster.tp: found 16 GPUs, want at most the *"},
        {"tiers=[{\"name\":\"nvme\",\"capacity\":\"1GiB\"},"
         "{\"name\":\"dram\",\"capacity\":\"1GiB\"}]",
         "w.json: tiers[1].name: found \"dram\" behind \"nvme\", want the nearest tier first*"},
        {"trace={\"path\":\".\",\"format\":\"moncake\"}",
         "w.json: trace.format: trace format moncake: unknown; did you mean \"mooncake\"?*"},
        {"trace={\"path\":\".\"}", "w.json: trace.path: .: is a folder that no format knows*"},
        {"tiers={}", "w.json: tiers: found an object, want an array"},
        {"tiers[0].name=\"drum\"", "w.json: tiers[0].name: found \"drum\", want one of dram, nvme, "
                                   "remote; did you mean \"dram\"?"},
        {"tiers[0].capacity=\"16GX\"", "w.json: tiers[0].capacity: found \"16GX\", want bytes like "
                                       "\"4TiB\", \"512GB\" or a number"},
        {"tiers[0].capacity=0", "w.json: tiers[0].capacity: found 0, want at least 1 byte; leave "
                                "the tier out to be without it"},
        {"tiers[0].capacity=-5",
         "w.json: tiers[0].capacity: found -5, want bytes like \"4TiB\", \"512GB\" or a number"},
        {"tiers[0].evict=\"mru\"",
         "w.json: tiers[0].evict: found \"mru\", want one of *; did you mean \"lru\"?"},
        {"tiers[0].size=1",
         "w.json: tiers[0].size: unknown key; known: name, capacity, level, states, evict, "
         "write, admit, admit_n, admit_share, placement, replicas, hot_reads, network, nodes_lost"},
        {"tiers[0].level=\"p44\"", "w.json: tiers[0].level: codec gpu-published has no level "
                                   "\"p44\"; did you mean \"p4\"? known: raw16, *"},
        {"tiers[0].level=\"p4/zz\"",
         "w.json: tiers[0].level: codec gpu-published has no level \"zz\"; known: raw16, *"},
        {"tiers[0].states=[0]", "w.json: tiers[0].states[0]: found 0, want *"},
        {"tiers[0].states=[32]", "w.json: tiers[0].states[0]: found 32, want *"},
        {"tiers[0].states=[8, 8]", "w.json: tiers[0].states[1]: found 8 twice, want a layer once"},
        {"tiers[0].states=16", "w.json: tiers[0].states: found 16, want an array"},
        {"tiers[0]={\"name\": \"nvme\", \"states\": [16], \"write\": \"back\"}",
         "w.json: tiers[0].states: has no meaning with write \"back\", which stores what HBM "
         "evicts, "
         "and HBM keeps no hidden states; want \"write\": \"through\""},
        {"tiers[0].level=4", "w.json: tiers[0].level: found 4, want a string"},
        {"tiers[0].write=\"around\"",
         "w.json: tiers[0].write: found \"around\", want one of through, back, exclusive"},
        {"tiers[0].admit=\"touch\"", "w.json: tiers[0].admit: found \"touch\", want one of *; did "
                                     "you mean \"touched\"?"},
        {"tiers[0].admit_n=0", "w.json: tiers[0].admit_n: found 0, want a whole number in 1..1000"},
        {"tiers[0].admit_n=3",
         "w.json: tiers[0].admit_n: found 3, want none without admit \"touched\""},
        {"tiers[0].admit_share=0.5",
         "w.json: tiers[0].admit_share: found 0.5, want none without admit \"random\""},
        {"tiers[1]={\"name\":\"dram\"}",
         "w.json: tiers[1].name: found \"dram\" a second time, want a tier once"},
        {"tiers[1]={\"name\":\"remote\"}", "w.json: tiers[1].capacity: missing; want bytes like "
                                           "\"4TiB\": the profile h100-sxm states none for remote"},
        {"tiers[1]={}", "w.json: tiers[1]: missing key \"name\"; want a string"},
        {"tiers[3]={\"name\":\"nvme\"}",
         "--set tiers[3]: tiers[3]: the array has 1 elements; [1] appends one"},
        {"compare=[]", "w.json: compare: found 0 policies, want 1 to 32"},
        {"compare=\"best\"", "w.json: compare: found \"best\", want an array"},
        {"compare=[\"best\",\"lod\"]",
         "w.json: compare[1]: found \"lod\", want one of *; did you mean \"load\"?"},
        {"compare=[\"best\",\"best\"]",
         "w.json: compare[1]: found \"best\" a second time, want a policy once"},
        {"compare=[3]", "w.json: compare[0]: found 3, want a string"},
        {"planner.fractions=1", "w.json: planner.fractions: found 1, want a whole number in 2..64"},
        {"planner.fraction=9", "w.json: planner.fraction: unknown key; did you mean \"fractions\"? "
                               "known: fractions, repair, codec, decoders, quality, budget"},
        {"slo.ttft=\"2 parsecs\"", "w.json: slo.ttft: found \"2 parsecs\", want a time like "
                                   "\"150ms\", \"2s\" or a number of seconds in 0..1000000"},
        {"slo.ttft=-1", "w.json: slo.ttft: found -1, want a time like \"150ms\", \"2s\" or a "
                        "number of seconds in 0..1000000"},
        {"slo.tpot=true", "w.json: slo.tpot: found true, want a time like \"150ms\", \"2s\" or a "
                          "number of seconds in 0..1000000"},
        {"warmup.cut=\"some\"", "w.json: warmup.cut: found \"some\", want one of none, requests, "
                                "time, auto; did you mean \"none\"?"},
        {"warmup.requests=5", "w.json: warmup.requests: found 5 with cut none, want a number above "
                              "0 with cut requests and none without"},
        {"warmup.cut=\"time\"", "w.json: warmup.time: found 0 with cut time, want a time above 0 "
                                "with cut time and none without"},
        {"output.plots=1", "w.json: output.plots: found 1, want true or false"},
        {"output.timeline_requests=5000",
         "w.json: output.timeline_requests: found 5000, want a whole number in 0..1000"},
        {"trace=[]", "w.json: trace: found an array, want an object"},
        {"trace={}", "w.json: trace: found neither, want one of path and generate"},
        {"trace.path=\"nowhere.jsonl\"",
         "w.json: trace.path: no file nowhere.jsonl; get the trace (workloads/README.md says "
         "where) or give its place: --set trace.path='\"FILE\"'"},
        {"trace.path=\"-\"",
         "w.json: trace.path: found \"-\", want a file: every policy reads it from its start"},
        {"trace.generate.request=5",
         "w.json: trace.generate.request: unknown key; did you mean \"requests\"? known: *"},
        {"trace.generate.requests=\"many\"", "w.json: trace.generate.requests: found \"many\", "
                                             "want a whole number in 1..1000000000000"},
        {"arrivals.process=\"poison\"", "w.json: arrivals.process: found \"poison\", want one of "
                                        "trace, poisson, gamma; did you mean \"poisson\"?"},
        {"arrivals.process=\"poisson\"", "w.json: arrivals.rate: found 0, want requests per second "
                                         "above 0 for process poisson"},
        {"arrivals.rate=4", "w.json: arrivals.rate: found 4, want none without process poisson or "
                            "gamma; trace.rate makes a trace's own times faster"},
        {"arrivals={\"process\":\"poisson\",\"rate\":4,\"cv\":2}",
         "w.json: arrivals.cv: found 2, want none without process gamma"},
        {"arrivals={\"process\":\"gamma\",\"rate\":4,\"loop\":\"closed\",\"in_flight\":2}",
         "w.json: arrivals.process: found gamma, want none: in a closed loop the users' answers "
         "say when requests come"},
        {"arrivals.loop=\"closed\"", "w.json: arrivals.in_flight: found 0, want how many requests "
                                     "a closed loop has in flight"},
        {"arrivals.in_flight=3", "w.json: arrivals.in_flight: found 3, want none without loop "
                                 "closed; cluster.max_batch bounds what runs at once"},
        {"arrivals.think=\"fixed\"", "w.json: arrivals.think: found fixed, want none in an open "
                                     "loop: nobody waits for an answer"},
        {"arrivals={\"loop\":\"sessions\",\"think\":\"fixed\"}",
         "w.json: arrivals.think_time: found 0, want a time above 0 for think fixed"},
        {"arrivals={\"loop\":\"sessions\",\"think_time\":\"3s\"}",
         "w.json: arrivals.think_time: found 3, want none without think fixed or exponential"},
        {"arrivals.rates=1", "w.json: arrivals.rates: unknown key; did you mean \"rate\"? known: "
                             "process, rate, cv, loop, in_flight, think, think_time"},
        {"seed=-1", "w.json: seed: found -1, want a whole number"},
        {"seed=1.5", "w.json: seed: found 1.5, want a whole number"},
        {"cluster.replicas=", "--set cluster.replicas:  is no JSON (unexpected token near end of "
                              "file); a text needs its quotes: --set 'cluster.replicas=\"...\"'"},
        {"cluster.replicas=two",
         "--set cluster.replicas: two is no JSON (invalid token near 'two'); a text needs its "
         "quotes: --set 'cluster.replicas=\"...\"'"},
        {"cluster..replicas=2",
         "--set cluster..replicas: no path; want one like cluster.replicas or tiers[0].capacity"},
        {"model.name=\"x\"",
         "--set model.name: model.name: what holds it is a plain value, no object"},
        {"cluster.replicas", "--set cluster.replicas: want PATH=VALUE, like cluster.replicas=2"},
        {"=2", "--set =2: want PATH=VALUE, like cluster.replicas=2"},
    };
    (void)state;
    for (size_t i = 0; i < N(cases); i++)
        expect_failure(base_text, cases[i].set, cases[i].want);
}

static void wrong_documents_are_named_exactly(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{}", "w.json: (root): missing key \"model\"; want a string"},
        {"{\"model\": \"llama-3.1-8b\"}",
         "w.json: (root): missing key \"hardware\"; want a string"},
        {"{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-sxm\"}",
         "w.json: (root): missing key \"trace\"; want an object or array"},
        {"[]", "w.json: (root): found an array, want an object"},
        {"{\"model\": \"x\", \"model\": \"y\"}",
         "w.json:1:22: duplicate object key near '\"model\"'"},
        {"{\"model\": \"x\"} {}", "w.json:1:16: end of file expected near '{'"},
        {"{\"model\": \"x\"", "w.json:1:13: '}' expected near end of file"},
        {"", "w.json:1:0: unexpected token near end of file"},
    };
    (void)state;
    for (size_t i = 0; i < N(cases); i++)
        expect_failure(cases[i].text, NULL, cases[i].want);
}

static void file_that_is_not_there_is_named(void **state)
{
    struct kvs_workload *w;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_workload_open("none.json", NULL, &w, &err), KVS_ERR_ARG);
    assert_string_equal(err.msg, "none.json: no such file; want a workload file or a name of "
                                 "workloads/, like quickstart");
    err = (struct kvs_err){0};
    assert_int_equal(kvs_workload_open("quickstrat", NULL, &w, &err), KVS_ERR_ARG);
    expect_message(err.msg, "workload \"quickstrat\" is not known; did you mean \"quickstart\"? *");
}

static struct kvs_workload *open_base(const char *set)
{
    struct kvs_strs sets = {.n = set ? 1 : 0, .v = {set}};
    struct kvs_workload *w;
    struct kvs_err err;
    if (open_with(base_text, &sets, &w, &err))
        fail_msg("%s", err.msg);
    return w;
}

static void defaults_fill_what_is_left_out(void **state)
{
    struct kvs_workload *w = open_base(NULL);
    (void)state;
    assert_string_equal(w->name, "w");
    assert_int_equal(w->seed, 1);
    assert_int_equal(w->sim.n_replica, 1);
    assert_int_equal(w->sim.chunk_tok, 8192);
    assert_true(w->sim.hbm_cache);
    assert_int_equal(w->sim.n_tier, 1);
    assert_string_equal(w->sim.tier[0].name, "dram");
    assert_true(w->sim.tier[0].capacity_bytes == (uint64_t)16 << 30);
    assert_int_equal(w->n_policy, 5);
    assert_string_equal(w->policy[0].name, "recompute");
    assert_string_equal(w->policy[4].name, "best");
    assert_true(w->sim.slo_ttft_s == 2.0);
    kvs_workload_free(w);
}

static void tiers_left_out_are_all_whose_size_the_profile_states(void **state)
{
    static const char text[] = "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-sxm\","
                               " \"trace\": {\"generate\": {\"requests\": 20}}}";
    struct kvs_workload *w;
    struct kvs_err err;
    (void)state;
    assert_int_equal(open_with(text, NULL, &w, &err), KVS_OK);
    assert_true(w->sim.n_tier >= 2);
    for (uint32_t i = 0; i < w->sim.n_tier; i++)
        assert_true(w->sim.tier[i].capacity_bytes > 0);
    kvs_workload_free(w);
}

static void what_ifs_replace_figures_and_are_assumed(void **state)
{
    struct kvs_workload *w = open_base(
        "hardware_set={\"links.nvme.read_bytes_per_s\": \"28GB/s\", \"links.nic.latency_s\": "
        "\"40us\", \"gpus_per_host\": 4, \"tiers.remote.capacity_bytes\": \"1TiB\"}");
    (void)state;
    const struct kvs_hw_link *nvme = kvs_hw_link(w->sim.hw, "nvme");
    assert_true(nvme->read_bytes_per_s.value == 28e9);
    assert_int_equal(nvme->read_bytes_per_s.source, KVS_ASSUMED);
    assert_string_equal(nvme->read_bytes_per_s.ref, "set by the workload");
    assert_true(nvme->write_bytes_per_s.value != 28e9);
    assert_true(kvs_hw_link(w->sim.hw, "nic")->latency_s.value == 40e-6);
    assert_int_equal(w->sim.hw->gpus_per_host, 4);
    assert_true(kvs_hw_tier(w->sim.hw, "remote")->capacity_bytes == (uint64_t)1 << 40);
    kvs_workload_free(w);
}

static void no_cache_keeps_nothing_between_requests(void **state)
{
    struct kvs_workload *w = open_base("compare=[\"no-cache\",\"recompute\"]");
    (void)state;
    struct kvs_sim_config none = kvs_workload_config(w, 0), all = kvs_workload_config(w, 1);
    assert_false(none.hbm_cache);
    assert_int_equal(none.n_tier, 0);
    assert_string_equal(none.planner->name, "recompute");
    assert_true(all.hbm_cache);
    assert_int_equal(all.n_tier, 1);
    kvs_workload_free(w);
}

/* What a run records must run again, and record itself. */
static void record_is_a_workload_that_records_the_same(void **state)
{
    struct kvs_workload *w = open_base("slo.ttft=\"150ms\""), *again;
    struct kvs_err err;
    (void)state;
    json_t *first = kvs_workload_record(w);
    char *text = json_dumps(first, JSON_INDENT(2));
    assert_non_null(text);
    if (open_with(text, NULL, &again, &err))
        fail_msg("%s", err.msg);
    json_t *second = kvs_workload_record(again);
    assert_true(json_equal(first, second));
    assert_true(again->sim.slo_ttft_s == 0.15);
    json_decref(first);
    json_decref(second);
    free(text);
    kvs_workload_free(w);
    kvs_workload_free(again);
}

/* A quality table lies beside the workload, wherever the program runs; its record names it so that
 * it is found from anywhere. */
static void quality_table_is_found_from_the_workloads_folder(void **state)
{
    const struct kvs_strs sets = {.n = 0};
    struct kvs_workload *w;
    struct kvs_err err = {0};
    char *table = NULL, command[600], folder_now[300];
    (void)state;
    assert_non_null(getcwd(folder_now, sizeof folder_now));
    assert_int_equal(
        kvs_data_find("quality table", "configs/quality", "llama-3.1-8b", &table, NULL), KVS_OK);
    snprintf(command, sizeof command, "mkdir sub && cp %s sub/q.json", table);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c) */
    FILE *to = fopen("sub/w.json", "w");
    assert_non_null(to);
    fputs("{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-sxm\","
          " \"trace\": {\"generate\": {\"requests\": 20}}, \"cluster\": {\"reuse\": \"content\"},"
          " \"planner\": {\"repair\": \"deviation\", \"quality\": \"q.json\"},"
          " \"tiers\": [{\"name\": \"dram\", \"level\": \"p8\"}]}",
          to);
    assert_int_equal(fclose(to), 0);
    if (kvs_workload_open("sub/w.json", &sets, &w, &err))
        fail_msg("%s", err.msg);
    assert_true(w->sim.repair.n > 0);
    json_t *record = kvs_workload_record(w);
    snprintf(command, sizeof command, "%s/sub/q.json", folder_now);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(record, "planner"), "quality")), command);
    json_decref(record);
    kvs_workload_free(w);
    free(table);
    assert_int_equal(system("rm -r sub"), 0); /* NOLINT(cert-env33-c) */
}

/* The keys of every object of value stand in schema's properties, and the other way round. */
static void expect_same_keys(const json_t *schema, const json_t *value, const char *where)
{
    const char *key;
    json_t *inner, *properties = json_object_get(schema, "properties");
    if (!properties)
        return; /* described elsewhere */
    json_object_foreach((json_t *)value, key, inner)
    {
        json_t *inner_schema = json_object_get(properties, key);
        if (!inner_schema)
            fail_msg("%s.%s is not in the schema", where, key);
        json_t *items = json_object_get(inner_schema, "items");
        if (json_is_object(inner))
            expect_same_keys(inner_schema, inner, key);
        else if (json_is_array(inner) && json_is_object(json_array_get(inner, 0)))
            expect_same_keys(items, json_array_get(inner, 0), key);
    }
    json_object_foreach(properties, key, inner)
    {
        if (!json_object_get(value, key))
            fail_msg("%s.%s is in the schema only", where, key);
    }
}

static void schema_names_every_key(void **state)
{
    struct kvs_workload *w = open_base(NULL);
    struct kvs_err err = {0};
    char *path;
    (void)state;
    assert_int_equal(kvs_data_file("configs/schema/workload.schema.json", &path, &err), KVS_OK);
    json_t *schema = json_load_file(path, 0, NULL), *record = kvs_workload_record(w);
    assert_non_null(schema);
    expect_same_keys(schema, record, "(root)");
    json_decref(schema);
    json_decref(record);
    free(path);
    kvs_workload_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_settings_are_named_exactly),
        cmocka_unit_test(wrong_documents_are_named_exactly),
        cmocka_unit_test(file_that_is_not_there_is_named),
        cmocka_unit_test(defaults_fill_what_is_left_out),
        cmocka_unit_test(tiers_left_out_are_all_whose_size_the_profile_states),
        cmocka_unit_test(what_ifs_replace_figures_and_are_assumed),
        cmocka_unit_test(no_cache_keeps_nothing_between_requests),
        cmocka_unit_test(record_is_a_workload_that_records_the_same),
        cmocka_unit_test(quality_table_is_found_from_the_workloads_folder),
        cmocka_unit_test(schema_names_every_key),
    };
    return cmocka_run_group_tests_name("workload", tests, tmpdir_enter, tmpdir_drop);
}
