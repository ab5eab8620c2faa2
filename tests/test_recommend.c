/* Prices, the space of configurations, SLOs, and the search held against the whole space. */
#include "study/front.h"
#include "study/recommend.h"
#include "study/settings.h"
#include "test.h"
#include "tmpdir.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define F(value) "{\"value\": " value ", \"source\": \"assumed\", \"ref\": \"test\"}"
/* clang-format off */
#define DRIVE(name, bytes, price, read)                                                            \
    "{\"name\": \"" name "\", \"capacity_bytes\": " F(bytes) ", \"price\": " F(price)                \
    ", \"read_bytes_per_s\": " F(read) ", \"write_bytes_per_s\": " F("2e9")                         \
    ", \"read_iops\": " F("500000") ", \"delivered_frac\": " F("0.8") ", \"dwpd\": " F("1") "}"
static const char PRICES[] =
    "{\"name\": \"p\", \"currency\": \"EUR\", \"years\": " F("2")
    ", \"gpus\": ["
    "{\"hardware\": \"h100-2gpu\", \"price\": " F("17532") ", \"power_w\": " F("1000") "},"
    "{\"hardware\": \"a100-80g\", \"rent\": " F("0.5") ", \"with_dram_gib\": " F("8")
    ", \"with_drive_bytes\": " F("1e12") "}]"
    ", \"dram_gib\": " F("10")
    ", \"drives\": [" DRIVE("1TB", "1e12", "8766", "5e9") "," DRIVE("2TB", "2e12", "13149", "6e9") "]"
    ", \"nics\": [{\"name\": \"slow\", \"bytes_per_s\": " F("2e9") ", \"price\": " F("-8766") "},"
    "{\"name\": \"fast\", \"bytes_per_s\": " F("45e9") ", \"price\": " F("0") "}]"
    ", \"kwh\": " F("0.1") ", \"pue\": " F("1.5") "}";
/* clang-format on */

static struct kvs_prices *open_prices(void)
{
    struct kvs_prices *prices;
    struct kvs_err err = {0};
    tmpdir_write("p.json", PRICES);
    if (kvs_prices_open("./p.json", &prices, &err))
        fail_msg("%s", err.msg);
    return prices;
}

/* Replicas, tp, DRAM, drives; GPU, drive, NIC, level and placement as they are. */
static struct kvs_space make_space(const struct kvs_prices *prices)
{
    return (struct kvs_space){
        .n = {3, 1, 3, 3, 1, 1, 1, 1, 1},
        .choice = {{1, 2, 3},
                   {1},
                   {0, (uint64_t)1 << 30, (uint64_t)16 << 30},
                   {0, 1, 4},
                   {0, 1},
                   {0, 1},
                   {KVS_AS_IT_IS},
                   {KVS_AS_IT_IS},
                   {KVS_AS_IT_IS}},
        .prices = prices,
    };
}

/* All dimensions, few choices of each. */
static struct kvs_space make_wide_space(const struct kvs_prices *prices)
{
    return (struct kvs_space){
        .n = {2, 1, 2, 2, 2, 2, 2, 2, 2},
        .choice =
            {{1, 3}, {1}, {0, (uint64_t)16 << 30}, {0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}, {0, 1}},
        .name = {[KVS_DIM_LEVEL] = {"raw16", "p4"}, [KVS_DIM_PLACEMENT] = {"local", "hashed"}},
        .prices = prices,
    };
}

/* A rented GPU with its 8 GiB and 1 TB: 8 GiB more are bought, and a drive of two; a slow network
 * saves half an hour's price of each GPU. */
static void what_rented_gpus_bring_along_costs_nothing(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_wide_space(prices);
    const struct kvs_choice bare = {{0, 0, 0, 0, 1, 0, 1, 0, 0}},
                            one = {{0, 0, 0, 1, 1, 0, 1, 0, 0}},
                            large = {{0, 0, 1, 1, 1, 1, 0, 1, 1}};
    (void)state;
    assert_true(fabs(kvs_space_cost(&space, bare).all - 0.5) < 1e-12);
    assert_true(fabs(kvs_space_cost(&space, one).all - 0.5) < 1e-12);
    const struct kvs_cost_hour cost = kvs_space_cost(&space, large);
    assert_true(fabs(cost.gpu - 0.5) < 1e-12 && cost.power <= 0);
    assert_true(fabs(cost.dram - 8 * 10 / 17532.0) < 1e-12);
    assert_true(fabs(cost.drives - 0.75) < 1e-12);
    assert_true(fabs(cost.nic + 0.5) < 1e-12);
    kvs_prices_free(prices);
}

/* Choices among drives that are not there are no configurations; what has no price is not sold. */
static void what_is_offered(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_wide_space(prices);
    struct kvs_choice none = {{0}}, level = {{0}}, one = {{0, 0, 0, 1, 1, 1, 0, 1, 1}};
    uint64_t n = 0;
    (void)state;
    level.i[KVS_DIM_LEVEL] = 1;
    assert_true(kvs_space_offered(&space, none) && !kvs_space_offered(&space, level));
    assert_true(kvs_space_offered(&space, one));
    for (uint64_t i = 0; i < kvs_space_n(&space); i++)
        n += kvs_space_offered(&space, kvs_space_at(&space, i));
    assert_int_equal(n, 2 * 2 * 2 * 2 * (1 + 8)); /* replicas, DRAM, GPU, NIC; none or drives */
    prices->drive[1].price = 0;                   /* a second TB can't be had */
    assert_false(kvs_space_offered(&space, one));
    one.i[KVS_DIM_DRIVE] = 0; /* the first comes with the GPU */
    assert_true(kvs_space_offered(&space, one));
    kvs_prices_free(prices);
}

/* Reflexive and transitive, never across GPU types; the ceiling is above and above it is nothing.
 */
static void no_larger_is_an_order(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_wide_space(prices);
    const uint64_t n = kvs_space_n(&space);
    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        const struct kvs_choice a = kvs_space_at(&space, i), top = kvs_space_ceiling(&space, a);
        assert_true(kvs_space_no_larger(&space, a, a));
        if (kvs_space_offered(&space, a))
            assert_true(kvs_space_no_larger(&space, a, top) && kvs_space_offered(&space, top));
        for (uint64_t k = 0; k < n; k++) {
            const struct kvs_choice b = kvs_space_at(&space, k);
            if (!kvs_space_no_larger(&space, a, b))
                continue;
            assert_int_equal(a.i[KVS_DIM_GPU], b.i[KVS_DIM_GPU]);
            for (uint64_t m = 0; m < n; m++)
                if (kvs_space_no_larger(&space, b, kvs_space_at(&space, m)))
                    assert_true(kvs_space_no_larger(&space, a, kvs_space_at(&space, m)));
        }
    }
    kvs_prices_free(prices);
}

/* What is ruled out with one that failed has no more of anything: else the cheapest may be. */
static void no_larger_has_no_more_of_anything(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_wide_space(prices);
    const uint64_t n = kvs_space_n(&space);
    uint64_t n_pair = 0;
    (void)state;
    prices->drive[1].iops = 1000; /* larger, and slower in small pieces */
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < n; k++) {
            const struct kvs_choice a = kvs_space_at(&space, i), b = kvs_space_at(&space, k);
            const struct kvs_priced_drive *of_a = kvs_space_drive(&space, a),
                                          *of_b = kvs_space_drive(&space, b);
            const double n_a = (double)kvs_space_value(&space, a, KVS_DIM_DRIVES),
                         n_b = (double)kvs_space_value(&space, b, KVS_DIM_DRIVES);
            if (!kvs_space_no_larger(&space, a, b))
                continue;
            n_pair += i != k;
            assert_true(kvs_space_value(&space, a, KVS_DIM_REPLICAS) <=
                        kvs_space_value(&space, b, KVS_DIM_REPLICAS));
            assert_true(kvs_space_value(&space, a, KVS_DIM_DRAM) <=
                        kvs_space_value(&space, b, KVS_DIM_DRAM));
            assert_true(n_a * of_a->bytes <= n_b * of_b->bytes);
            assert_true(n_a * of_a->iops <= n_b * of_b->iops);
            assert_true(n_a * of_a->read * of_a->delivered <= n_b * of_b->read * of_b->delivered);
            assert_true(n_a * of_a->write * of_a->delivered <= n_b * of_b->write * of_b->delivered);
        }
    assert_true(n_pair > n);
    kvs_prices_free(prices);
}

/* 3 GPUs on 2 hosts, each 16 GiB and 4 drives; 2 years are 17,532 hours. */
static void cost_is_what_hardware_and_power_cost_an_hour(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_space(prices);
    const struct kvs_cost_hour cost = kvs_space_cost(&space, (struct kvs_choice){{2, 0, 2, 2}});
    (void)state;
    assert_int_equal(cost.hosts, 2);
    assert_true(fabs(cost.gpu - 3) < 1e-12);
    assert_true(fabs(cost.dram - 2 * 16 * 10 / 17532.0) < 1e-12);
    assert_true(fabs(cost.drives - 8 * 0.5) < 1e-12);
    assert_true(fabs(cost.power - 3 * 1.0 * 0.1 * 1.5) < 1e-12);
    assert_true(fabs(cost.all - (cost.gpu + cost.dram + cost.drives + cost.power)) < 1e-12);
    assert_true(fabs(cost.invest - (3 * 17532 + 320 + 8 * 8766)) < 1e-6);
    for (uint64_t i = 0; i < kvs_space_n(&space); i++)
        assert_int_equal(kvs_space_number(&space, kvs_space_at(&space, i)), i);
    kvs_prices_free(prices);
}

static void expect_bad_prices(const char *from, const char *to, const char *want)
{
    struct kvs_prices *prices;
    struct kvs_err err = {0};
    char *text = strdup(PRICES), *at = strstr(text, from), *changed = NULL;
    assert_non_null(at);
    assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from)) > 0);
    tmpdir_write("p.json", changed);
    assert_int_equal(kvs_exit_status(kvs_prices_open("./p.json", &prices, &err)), 2);
    if (!strstr(err.msg, want))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, want);
    free(text);
    free(changed);
}

static void wrong_prices_are_named_exactly(void **state)
{
    (void)state;
    expect_bad_prices("\"gpus\"", "\"gpu\"", "gpu: unknown key; did you mean \"gpus\"?");
    expect_bad_prices("h100-2gpu", "h100-2gpv", "h100-2gpv");
    expect_bad_prices("\"rent\"", "\"price\"", "gpus[1]: want \"price\" and \"power_w\"");
    expect_bad_prices("\"price\": {\"value\": 8766", "\"price\": {\"value\": 0",
                      "drives[0].price.value: found 0, want above 0");
    expect_bad_prices("\"pue\": ", "\"name2\": ", "name2: unknown key");
    expect_bad_prices("\"years\": {\"value\": 2", "\"years\": {\"value\": -2",
                      "years.value: found");
    expect_bad_prices("\"source\": \"assumed\"", "\"source\": \"published\"",
                      "years.date: missing; want the date of what was published");
    expect_bad_prices("\"source\": \"assumed\"", "\"source\": \"guessed\"",
                      "years.source: found \"guessed\", want \"published\" or \"assumed\"");
}

static void slo_terms_are_columns_and_bounds(void **state)
{
    const struct kvs_strs good = {2, {"ttft.p99=500ms", "tpot.mean=0.05"}},
                          unknown = {1, {"ttft.p98=1s"}}, zero = {1, {"ttft.p50=0s"}};
    struct kvs_slo slo;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_slo_read(&good, &slo, NULL), KVS_OK);
    assert_int_equal(slo.n, 2);
    assert_string_equal(slo.term[0].column, "ttft_p99_s");
    assert_true(slo.term[0].bound_s == 0.5 && slo.term[1].bound_s == 0.05);
    assert_int_equal(kvs_slo_read(&unknown, &slo, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "--slo ttft.p98=1s: want NAME=TIME; did you mean"));
    assert_int_equal(kvs_slo_read(&zero, &slo, NULL), KVS_ERR_ARG);
}

/* The policy that meets the SLO is taken, whatever the other does; a failure has its reason. */
static void measure_takes_the_policy_that_meets(void **state)
{
    static const char header[] = "point,policy,status,verdict,busiest_link,refused,ttft_p99_s";
    const struct kvs_strs text = {1, {"ttft.p99=1s"}};
    struct kvs_slo slo;
    struct kvs_measure m;
    (void)state;
    assert_int_equal(kvs_slo_read(&text, &slo, NULL), KVS_OK);
    assert_int_equal(kvs_measure_read(header,
                                      "0,a,ok,stable,,0,0.5\t0,b,ok,overloaded,,0,0.1\t"
                                      "0,c,ok,stable,nvme,0,0.4\t0,d,ok,stable,,1,0.1",
                                      &slo, &m, NULL),
                     KVS_OK);
    assert_true(m.meets);
    assert_string_equal(m.policy, "c");
    assert_string_equal(m.link, "nvme");
    assert_true(fabs(m.worst_frac - 0.4) < 1e-12);
    assert_int_equal(kvs_measure_read(header, "0,,\"no, never\",,,,", &slo, &m, NULL), KVS_OK);
    assert_false(m.ran || m.meets);
    assert_string_equal(m.reason, "no, never");
}

/* One host, 4 drives of 1 TB; 16 TB written in half a day are 8 writes a day, so a drive made for 1
 * over 5 years lasts 5/8: 1.6 drives a year, of which 0.5 are paid for by writing off in 2 years.
 */
static void wear_is_what_lasts_shorter_than_it_is_written_off(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_space(prices);
    struct kvs_measure measure[27] = {{.ran = false}};
    enum kvs_try tried[27] = {KVS_TRY_UNKNOWN};
    const uint64_t number = kvs_space_number(&space, (struct kvs_choice){{0, 0, 1, 2}});
    const struct kvs_recommend found = {.n = 27, .state = tried, .measure = measure};
    (void)state;
    measure[number] = (struct kvs_measure){
        .ran = true, .span_s = 43200, .write_bytes = {1e15, 16e12}}; /* DRAM, then drives */
    struct kvs_total total = kvs_recommend_total(&found, &space, number);
    assert_true(fabs(total.writes_per_day - 8) < 1e-12);
    assert_true(fabs(total.wear - 4 * 8766 * (8 / 5.0 - 0.5) / 8766) < 1e-12);
    assert_true(fabs(total.all - total.wear -
                     kvs_space_cost(&space, kvs_space_at(&space, number)).all) < 1e-12);
    measure[number].write_bytes[1] = 4e12; /* 2 a day: 2.5 years, longer than it is written off */
    assert_true(kvs_recommend_total(&found, &space, number).wear <= 0);
    assert_true(isnan(kvs_recommend_total(&found, &space, 0).writes_per_day));
    kvs_prices_free(prices);
}

static void the_front_is_a_row_a_configuration_that_ran(void **state)
{
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_space(prices);
    struct kvs_measure measure[27] = {
        {.ran = true, .meets = true, .ttft_p99_s = 0.5, .goodput_per_s = 2, .gpu_busy_frac = 0.5},
        {.ran = false}};
    enum kvs_try tried[27] = {KVS_TRY_DONE, KVS_TRY_DONE};
    const struct kvs_recommend found = {.n = 27, .state = tried, .measure = measure, .found = true};
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    kvs_front_csv(&found, &space, to);
    fclose(to);
    assert_string_equal(text, "configuration,cost_per_h,ttft_p99_s,goodput_req_per_s,meets,front,"
                              "cheapest,busiest\n"
                              "\"1 x 1 h100-2gpu, 1 host\",1.15,0.5,2,1,1,1,GPU\n");
    free(text);
    kvs_prices_free(prices);
}

static void the_busiest_binds(void **state)
{
    const struct kvs_measure gpu = {.gpu_busy_frac = 0.5, .link_frac = 0.4, .link = "nvme"},
                             link = {.gpu_busy_frac = 0.3, .link_frac = 0.4, .link = "nvme"},
                             idle = {.gpu_busy_frac = 0};
    (void)state;
    assert_string_equal(kvs_measure_binding(&gpu), "GPU");
    assert_string_equal(kvs_measure_binding(&link), "nvme");
    assert_string_equal(kvs_measure_binding(&idle), "none");
}

static struct kvs_recommend *search(const struct kvs_space *space, const char *slo_text, bool all)
{
    const struct kvs_strs text = {1, {slo_text}};
    struct kvs_slo slo;
    struct kvs_recommend *found;
    struct kvs_err err = {0};
    assert_int_equal(kvs_slo_read(&text, &slo, NULL), KVS_OK);
    const struct kvs_recommend_options options = {
        .workload = "./w.json", .space = space, .slo = &slo, .n_job = 2, .all = all};
    if (kvs_recommend(&options, &found, &err))
        fail_msg("%s", err.msg);
    return found;
}

static void write_workload(unsigned requests)
{
    char text[700];
    snprintf(text, sizeof text,
             "{\"model\": \"llama-3.1-8b\", \"hardware\": \"h100-2gpu\","
             " \"trace\": {\"generate\": {\"requests\": %u, \"rate\": 6, \"corpus\": 3000,"
             " \"topics\": 100, \"passages\": 16, \"candidates\": 16, \"stray\": 0, \"chat\": 0,"
             " \"fresh_tok\": 0, \"prompts_per_day\": 0}}, \"compare\": [\"load\", \"best\"],"
             " \"planner\": {\"quality\": \"llama-3.1-8b\", \"budget\": 0.05}}",
             requests);
    tmpdir_write("w.json", text);
}

/* The whole space is the oracle: same answer, fewer runs. */
static void expect_same(const struct kvs_space *space, const char *slo, unsigned *n_found)
{
    struct kvs_recommend *quick = search(space, slo, false), *whole = search(space, slo, true);
    uint64_t cheapest = 0;
    assert_int_equal(whole->found, kvs_recommend_cheapest(whole, space, &cheapest));
    assert_int_equal(quick->found, whole->found);
    if (whole->found) {
        ++*n_found;
        assert_int_equal(quick->best, whole->best);
        assert_int_equal(whole->best, cheapest);
        assert_true(kvs_recommend_on_front(whole, space, whole->best) ||
                    whole->n_simulated >= whole->n_offered);
        assert_true(quick->growth == whole->growth);
        assert_true(whole->growth >= 1 &&
                    (whole->growth_not == 0 || whole->growth_not > whole->growth));
    }
    assert_true(quick->n_simulated <= whole->n_simulated);
    kvs_recommend_free(quick);
    kvs_recommend_free(whole);
}

static void search_finds_what_the_whole_space_says(void **state)
{
    static const char *const slo[] = {"ttft.p99=150ms", "ttft.p99=300ms", "ttft.p90=250ms",
                                      "tpot.p50=18ms", "ttft.p99=1ms"};
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_space(prices);
    unsigned n_found = 0;
    (void)state;
    write_workload(150);
    for (size_t i = 0; i < sizeof slo / sizeof *slo; i++)
        expect_same(&space, slo[i], &n_found);
    assert_true(n_found >= 2 && n_found < sizeof slo / sizeof *slo); /* some can't be met */
    kvs_prices_free(prices);
}

/* GPU types, sizes of drives, networks, levels and placements too. */
static void search_over_every_dimension_finds_what_the_whole_space_says(void **state)
{
    static const char *const slo[] = {"ttft.p99=200ms", "ttft.p50=400ms"};
    struct kvs_prices *prices = open_prices();
    const struct kvs_space space = make_wide_space(prices);
    unsigned n_found = 0;
    (void)state;
    write_workload(60);
    for (size_t i = 0; i < sizeof slo / sizeof *slo; i++)
        expect_same(&space, slo[i], &n_found);
    assert_int_equal(n_found, 2);
    kvs_prices_free(prices);
}

static void what_no_configuration_can_do_is_told(void **state)
{
    const struct kvs_strs text = {1, {"ttft.p99=1s"}};
    struct kvs_prices *prices = open_prices();
    struct kvs_space space = make_wide_space(prices);
    struct kvs_recommend *found;
    struct kvs_slo slo;
    struct kvs_err err = {0};
    (void)state;
    write_workload(20);
    space.choice[KVS_DIM_TP][0] = 7; /* heads do not divide */
    assert_int_equal(kvs_slo_read(&text, &slo, NULL), KVS_OK);
    const struct kvs_recommend_options options = {
        .workload = "./w.json", .space = &space, .slo = &slo, .n_job = 2};
    assert_int_equal(kvs_recommend(&options, &found, &err), KVS_ERR_ARG);
    if (!strstr(err.msg, "no configuration runs: ") || !strstr(err.msg, "tp"))
        fail_msg("\"%s\"", err.msg);
    kvs_prices_free(prices);
}

static void settings_name_a_hosts_share(void **state)
{
    const struct kvs_settings settings = {.gpus_of_host = 4,
                                          .tp = 2,
                                          .dram_bytes = 400000000000,
                                          .drive_bytes = 8000000000000,
                                          .dram_threshold_tok = 256,
                                          .drive_threshold_tok = 1024,
                                          .chunk_tok = 4096,
                                          .max_batch = 32};
    char *text;
    size_t n;
    FILE *to = open_memstream(&text, &n);
    (void)state;
    kvs_settings_print(&settings, to);
    fclose(to);
    assert_non_null(strstr(text, "max_local_cpu_size: 100 "));
    assert_non_null(strstr(text, "max_local_disk_size: 2000 "));
    assert_non_null(strstr(text, "\"cpu_bytes_to_use\": 200000000000"));
    assert_non_null(strstr(text, "\"spec_name\": \"TieringOffloadingSpec\""));
    assert_non_null(strstr(text, "\"secondary_tiers\": [{\"type\": \"fs\", \"root_dir\": "));
    assert_non_null(strstr(text, "--hicache-size 100 "));
    assert_non_null(strstr(text, "min_retrieve_tokens: 1024 "));
    assert_non_null(strstr(text, "\"prefetch_threshold\": 1024}"));
    assert_non_null(strstr(text, "--tensor-parallel-size 2 "));
    assert_non_null(strstr(text, "--chunked-prefill-size 4096 "));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rented_gpus_bring_along_costs_nothing),
        cmocka_unit_test(what_is_offered),
        cmocka_unit_test(no_larger_is_an_order),
        cmocka_unit_test(no_larger_has_no_more_of_anything),
        cmocka_unit_test(cost_is_what_hardware_and_power_cost_an_hour),
        cmocka_unit_test(wrong_prices_are_named_exactly),
        cmocka_unit_test(slo_terms_are_columns_and_bounds),
        cmocka_unit_test(measure_takes_the_policy_that_meets),
        cmocka_unit_test(wear_is_what_lasts_shorter_than_it_is_written_off),
        cmocka_unit_test(the_front_is_a_row_a_configuration_that_ran),
        cmocka_unit_test(the_busiest_binds),
        cmocka_unit_test(search_finds_what_the_whole_space_says),
        cmocka_unit_test(search_over_every_dimension_finds_what_the_whole_space_says),
        cmocka_unit_test(what_no_configuration_can_do_is_told),
        cmocka_unit_test(settings_name_a_hosts_share),
    };
    return cmocka_run_group_tests_name("recommend", tests, tmpdir_enter, tmpdir_drop);
}
