/*
 * bench_report.c - what results cost a request: taking it from the simulator, and its row of
 * requests.csv. One JSON line each.
 */
#include "report/outcome.h"
#include "report/tables_csv.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N_REQUEST = 1000000, N_LAYER = 32, N_PLAN = 50 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void print_line(const char *name, double took_s, double goal)
{
    printf("{\"bench\":\"report.%s\",\"requests_per_s\":%.0f,\"goal\":%.0f}\n", name,
           N_REQUEST / took_s, goal);
}

static struct kvs_sim_request request_of(uint64_t i, const struct kvs_plan *plan)
{
    const int64_t arrive_ns = (int64_t)i * 250000000;
    return (struct kvs_sim_request){
        .index = i ^ 1, /* not quite in order of arrival */
        .session = i * 7,
        .input_tok = 12035,
        .output_tok = 343,
        .hbm_tok = 512,
        .tier_tok = {4096, 2048},
        .load_bytes = {536870912, 268435456},
        .arrive_ns = arrive_ns,
        .admit_ns = arrive_ns + 1000003,
        .first_token_ns = arrive_ns + 287654321,
        .finish_ns = arrive_ns + 9876543210,
        .queue_ns = 1000003,
        .compute_ns = 286654318,
        .plan = plan,
    };
}

int main(void)
{
    static struct kvs_plan plan[N_PLAN];
    static struct kvs_csv csv;
    static struct kvs_outcome outcome;
    const struct kvs_sim_config config = {
        .n_frac = 17, .n_tier = 2, .tier = {{.name = "dram"}, {.name = "nvme"}}};
    struct kvs_sim_result sim = {.n_request = N_REQUEST, .n_replica = 4};
    struct kvs_collect collect;
    FILE *null = fopen("/dev/null", "w");
    if (!null || kvs_collect_init(&collect, N_LAYER, 64, NULL))
        return 1;
    for (unsigned p = 0; p < N_PLAN; p++)
        for (unsigned l = 0; l < N_LAYER; l++)
            plan[p].frac_i[l] = l < p % N_LAYER ? (uint8_t)(1 + p / N_LAYER) : 0;

    double start_s = now_s();
    for (uint64_t i = 0; i < N_REQUEST; i++) {
        const struct kvs_sim_request request = request_of(i, &plan[i * 2654435761u % N_PLAN]);
        if (kvs_collect_request(&collect, &request, NULL))
            return 1;
    }
    print_line("collect", now_s() - start_s, 2e6);

    start_s = now_s();
    kvs_collect_sort(&collect);
    kvs_csv_begin(&csv, null);
    kvs_requests_csv_rows(&csv, &config, "best", &collect);
    kvs_csv_end(&csv);
    print_line("requests_csv", now_s() - start_s, 1e6);

    start_s = now_s();
    if (kvs_outcome_make("best", &sim, &(struct kvs_warmup){0}, &collect, &outcome, NULL))
        return 1;
    print_line("figures", now_s() - start_s, 1e6);
    kvs_outcome_free(&outcome);
    fclose(null);
    return 0;
}
