/*
 * The counts of every shared trace, exactly, as another program counted them (but for its distinct
 * passage lists and sets, which had the empty one as well).
 */
#include "test.h"

#include "cli_json.h"

#include <stdio.h>
#include <string.h>

static const struct expectation {
    const char *file, *args, *want;
} expectations[] = {
    {"mooncake/conversation_trace.jsonl", "--lru 1000,10000,30000,50000,100000",
     "{\"requests\":12031,\"skipped\":0,\"moved\":0,\"span_s\":3536.999,\"sessions\":0,"
     "\"ids\":\"chained\",\"format\":\"mooncake\",\"invented\":null,"
     "\"input_tok\":{\"sum\":144793823,\"mean\":12035.061341534,\"p50\":6909,\"p90\":27367,"
     "\"p95\":39552,\"p99\":85401,\"min\":891,\"max\":126195},"
     "\"output_tok\":{\"sum\":4122048,\"mean\":342.618901172,\"p50\":350,\"p90\":597,\"p95\":698,"
     "\"p99\":1120,\"min\":1,\"max\":2000},"
     "\"block_accesses\":288500,\"unique_blocks\":182790,\"prefix_hits\":105710,"
     "\"content_hits\":105710,\"prefix_hit_tok\":54098411,\"requests_any_prefix_hit\":12030,"
     "\"requests_all_prefix_hits\":118,\"top_1pct_blocks\":1828,\"blocks_used_once\":138646,"
     "\"lru_hits\":{\"1000\":12831,\"10000\":60921,\"30000\":93967,\"50000\":102290,"
     "\"100000\":104924}}"},
    {"mooncake/conversation_trace.jsonl", "--full-blocks",
     "{\"block_accesses\":276491,\"prefix_hits\":105592}"},
    {"ragpulse", "--lru 100,1000,5000",
     "{\"requests\":7106,\"skipped\":0,\"moved\":0,\"span_s\":1209321.0,\"sessions\":3990,"
     "\"ids\":\"content\",\"format\":\"ragpulse\",\"invented\":null,"
     "\"input_tok\":{\"sum\":20917099,\"mean\":2943.582747,\"p50\":3139,\"p90\":3959,"
     "\"p95\":4425,\"p99\":5439,\"min\":1052,\"max\":7712},"
     "\"output_tok\":{\"mean\":283.236138,\"p50\":234,\"p90\":563,\"p95\":670,\"p99\":891,"
     "\"min\":7,\"max\":2183},"
     "\"block_accesses\":71583,\"unique_blocks\":21857,\"prefix_hits\":12856,"
     "\"content_hits\":49712,\"prefix_hit_tok\":6574248,\"content_hit_tok\":15014687,"
     "\"block_tok\":20851449,"
     "\"parts\":{\"sys\":{\"tok\":9777360},\"passage\":{\"tok\":8859192},"
     "\"history\":{\"tok\":1894205},\"web\":{\"tok\":269982},\"user\":{\"tok\":50710}},"
     "\"lru_hits\":{\"100\":26187,\"1000\":38973,\"5000\":47349}}"},
    {"ragpulse/0_trace.jsonl", "--parts passage --lru 32,100,320,1000,2000 --top 84",
     "{\"block_accesses\":33255,\"unique_blocks\":3235,\"prefix_hits\":9554,"
     "\"content_hits\":30006,\"content_hit_tok\":8034879,\"block_tok\":8859192,"
     "\"top_1pct_blocks\":33,\"top_1pct_accesses\":6052,\"top_accesses\":10505,"
     "\"requests_with_blocks\":5641,\"requests_all_content_hits\":4085,"
     "\"block_lists\":5260,\"block_sets\":4689,"
     "\"lru_hits\":{\"32\":6344,\"100\":10056,\"320\":16869,\"1000\":25194,\"2000\":29113}}"},
    {"ragpulse", "--parts sys,passage", "{\"block_accesses\":54573,\"prefix_hits\":12853}"},
    {"ragpulse", "--rows 1-3800",
     "{\"requests\":3800,\"sessions\":2215,\"span_s\":604371.0,"
     "\"input_tok\":{\"sum\":11478851,\"mean\":3020.750263,\"p50\":3166,\"p90\":3922,"
     "\"p95\":4341,\"p99\":5269,\"min\":1052,\"max\":6467},"
     "\"output_tok\":{\"mean\":255.914474,\"p50\":201,\"p90\":508,\"p95\":614,\"p99\":795,"
     "\"min\":7,\"max\":1843},\"block_accesses\":39236,\"prefix_hits\":7063,"
     "\"content_hits\":26718,\"prefix_hit_tok\":3613517,\"content_hit_tok\":8186523}"},
    {"ragpulse", "--rows 1-3800 --parts passage --top 84",
     "{\"block_accesses\":18846,\"unique_blocks\":2580,\"content_hits\":16252,"
     "\"prefix_hits\":4969,\"content_hit_tok\":4356547,\"block_tok\":5015823,"
     "\"top_1pct_blocks\":26,\"top_1pct_accesses\":3082,\"top_accesses\":6196}"},
    {"ragpulse", "--rows 1-3800 --parts sys,passage",
     "{\"block_accesses\":30246,\"prefix_hits\":7063}"},
    {"ragpulse", "--rows 3801-7106",
     "{\"requests\":3306,\"sessions\":1782,\"span_s\":604603.0,"
     "\"input_tok\":{\"sum\":9438248,\"mean\":2854.884453,\"p50\":3099,\"p90\":3987,"
     "\"p95\":4508,\"p99\":5580,\"min\":1052,\"max\":7712},"
     "\"output_tok\":{\"mean\":314.640653,\"p50\":269,\"p90\":613,\"p95\":717,\"p99\":954,"
     "\"min\":7,\"max\":2183},\"block_accesses\":32347,\"prefix_hits\":5788,"
     "\"content_hits\":20951,\"prefix_hit_tok\":2958171,\"content_hit_tok\":6313720}"},
    {"ragpulse", "--rows 3801-7106 --parts passage --top 84",
     "{\"block_accesses\":14409,\"unique_blocks\":2440,\"content_hits\":11957,"
     "\"prefix_hits\":3206,\"content_hit_tok\":3216459,\"block_tok\":3843369,"
     "\"top_1pct_blocks\":25,\"top_1pct_accesses\":2284,\"top_accesses\":4605}"},
    {"ragpulse", "--rows 3801-7106 --parts sys,passage",
     "{\"block_accesses\":24327,\"prefix_hits\":5785}"},
};

static void check(const char *folder)
{
    unsigned n = 0;
    for (unsigned i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        const struct expectation *e = &expectations[i];
        char args[8192], name[512];
        const char *path;
        json_t *got;
        if (strncmp(e->file, folder, strlen(folder)) != 0)
            continue;
        snprintf(name, sizeof name, "traces/%s", e->file);
        path = kvs_shared(name);
        if (!path)
            KVS_SKIP("no %s", name);
        snprintf(args, sizeof args, "trace stats %s --json %s", path, e->args);
        got = kvs_cli_json(args);
        kvs_cli_expect(got, e->want);
        json_decref(got);
        n++;
    }
    assert_true(n > 0);
}

static void mooncake_counts_are_exact(void **state)
{
    (void)state;
    check("mooncake");
}

static void ragpulse_counts_are_exact(void **state)
{
    (void)state;
    check("ragpulse");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mooncake_counts_are_exact),
        cmocka_unit_test(ragpulse_counts_are_exact),
    };
    return cmocka_run_group_tests_name("trace_shared", tests, NULL, NULL);
}
