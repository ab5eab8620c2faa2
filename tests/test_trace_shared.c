/*
 * The counts of every shared trace, exactly, as another program counted them (but for its distinct
 * passage lists and sets, which had the empty one as well).
 */
#include "test.h"

#include "cli_json.h"

#include <math.h>
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
    /* the hits that libCacheSim 0.3.5 has on the traces exported as oracleGeneral */
    {"mooncake/conversation_trace.jsonl",
     "--lru 1000,10000,30000,50000,100000 --evict fifo,s3fifo,sieve,belady",
     "{\"fifo_hits\":{\"1000\":12559,\"10000\":53812,\"30000\":87152,\"50000\":98096,"
     "\"100000\":103651},\"s3fifo_hits\":{\"1000\":15676,\"10000\":55525,\"30000\":73541,"
     "\"50000\":82850,\"100000\":98108},\"sieve_hits\":{\"1000\":13871,\"10000\":38013,"
     "\"30000\":79595,\"50000\":99189,\"100000\":104755},\"belady_hits\":{\"1000\":54994,"
     "\"10000\":105710}}"},
    {"ragpulse", "--lru 100,1000,5000 --evict fifo,s3fifo,sieve,belady",
     "{\"fifo_hits\":{\"100\":24088,\"1000\":36420,\"5000\":45083},"
     "\"s3fifo_hits\":{\"100\":29390,\"1000\":44456,\"5000\":48306},"
     "\"sieve_hits\":{\"100\":26013,\"1000\":42150,\"5000\":48532},"
     "\"belady_hits\":{\"100\":36486,\"1000\":48032,\"5000\":49726}}"},
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
    {"azure/AzureLLMInferenceTrace_conv.csv", "",
     "{\"requests\":19366,\"span_s\":3501.721937,\"block_accesses\":0,\"format\":\"azure\","
     "\"input_tok\":{\"sum\":22361870,\"mean\":1154.697407828,\"p50\":1020,\"p90\":2735,"
     "\"p95\":4083,\"p99\":4142,\"min\":2,\"max\":14050},"
     "\"output_tok\":{\"sum\":4088665,\"mean\":211.125942373,\"p50\":129,\"p90\":424,\"p95\":451,"
     "\"p99\":601,\"min\":7,\"max\":1000}}"},
    {"vidur_lengths/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv", "",
     "{\"requests\":28257,\"block_accesses\":0,\"format\":\"vidur\","
     "\"input_tok\":{\"mean\":2588.078033762,\"p50\":2730,\"p90\":3702,\"p99\":3934,\"min\":1,"
     "\"max\":4054},\"output_tok\":{\"mean\":291.430371235,\"p50\":167,\"p90\":372,\"p99\":3273,"
     "\"max\":4056}}"},
    {"gmi/gmi_trace.jsonl", "--lru 1000,5000,20000",
     "{\"requests\":1931,\"span_s\":86245.210179283,\"format\":\"gmi\",\"ids\":\"content\","
     "\"input_tok\":{\"mean\":2095.145002589,\"p50\":2215,\"p90\":3777,\"p95\":3790,\"p99\":3814,"
     "\"min\":6,\"max\":4233},\"output_tok\":{\"mean\":146.883997929,\"p50\":76,\"p90\":261,"
     "\"p95\":434,\"p99\":1548,\"max\":5945},\"block_accesses\":119692,\"unique_blocks\":37180,"
     "\"prefix_hits\":77220,\"content_hits\":82490,\"top_1pct_blocks\":372,"
     "\"lru_hits\":{\"1000\":74960,\"5000\":79416,\"20000\":82184}}"},
    /* its 53 prompts of no character have one token here */
    {"lmcache_agent/magagent.jsonl", "--chars-per-tok 1",
     "{\"requests\":746,\"sessions\":25,\"span_s\":6448.642891,\"ids\":\"chained\","
     "\"input_tok\":{\"sum\":5901136,\"p50\":4762,\"p90\":25807,\"max\":45300},"
     "\"block_accesses\":22718,\"unique_blocks\":3654,\"prefix_hits\":19064,"
     "\"content_hits\":19064,\"requests_with_blocks\":691}"},
    {"lmcache_agent/taubench.jsonl", "--chars-per-tok 1",
     "{\"requests\":471,\"sessions\":24,\"span_s\":180.91819,"
     "\"input_tok\":{\"mean\":662.704883227,\"max\":4257},\"block_accesses\":980,"
     "\"unique_blocks\":142,\"prefix_hits\":838,\"requests_with_blocks\":277}"},
    {"mtrag_nonprefix/clapnq.jsonl", "--chars-per-tok 1",
     "{\"requests\":189,\"sessions\":29,\"span_s\":4750.2,\"ids\":\"content\","
     "\"input_tok\":{\"sum\":42675055,\"p50\":141205,\"p90\":580569,\"max\":664995},"
     "\"output_tok\":{\"mean\":2315.037037037,\"p50\":2194,\"p90\":3826},"
     "\"block_accesses\":2534,\"unique_blocks\":411,\"prefix_hits\":1255,"
     "\"prefix_hit_tok\":17447049,\"content_hits\":2070,\"content_hit_tok\":36351486}"},
    {"mtrag_nonprefix/clapnq.jsonl", "--chars-per-tok 1 --parts passage",
     "{\"block_accesses\":1202,\"unique_blocks\":107,\"content_hits\":1042,"
     "\"top_1pct_blocks\":2,\"top_1pct_accesses\":154}"},
    {"mtrag_nonprefix/cloud.jsonl", "--chars-per-tok 1",
     "{\"requests\":173,\"sessions\":22,\"span_s\":3437.537,"
     "\"input_tok\":{\"sum\":42667749,\"p50\":186519,\"p90\":517552,\"max\":643003},"
     "\"output_tok\":{\"mean\":2468.803468208,\"p50\":2389,\"p90\":4110},"
     "\"block_accesses\":3397,\"unique_blocks\":501,\"prefix_hits\":2111,"
     "\"prefix_hit_tok\":23666940,\"content_hits\":2883,\"content_hit_tok\":35348501}"},
    {"mtrag_nonprefix/cloud.jsonl", "--chars-per-tok 1 --parts passage",
     "{\"block_accesses\":1708,\"unique_blocks\":206,\"content_hits\":1490,"
     "\"top_1pct_blocks\":3,\"top_1pct_accesses\":299}"},
    {"mtrag_nonprefix/fiqa.jsonl", "--chars-per-tok 1",
     "{\"requests\":232,\"sessions\":27,\"span_s\":2465.576,"
     "\"input_tok\":{\"sum\":27056415,\"p50\":94856,\"p90\":200676,\"max\":327895},"
     "\"output_tok\":{\"mean\":2153.577586207,\"p50\":2215,\"p90\":3121},"
     "\"block_accesses\":10725,\"unique_blocks\":887,\"prefix_hits\":7896,"
     "\"prefix_hit_tok\":23620949,\"content_hits\":9837,\"content_hit_tok\":25943793}"},
    {"mtrag_nonprefix/fiqa.jsonl", "--chars-per-tok 1 --parts passage",
     "{\"block_accesses\":7316,\"unique_blocks\":474,\"content_hits\":6841,"
     "\"top_1pct_blocks\":5,\"top_1pct_accesses\":322}"},
    {"agentic_cc/sessions_a.jsonl.zst", "",
     "{\"requests\":15098,\"sessions\":213,\"ids\":\"chained\","
     "\"input_tok\":{\"sum\":1724817796,\"p50\":97950,\"p90\":204618,\"p99\":435056,"
     "\"min\":8868,\"max\":894371},\"output_tok\":{\"p50\":209,\"p90\":792,\"p99\":3220,"
     "\"max\":10522},\"block_accesses\":26942797,\"unique_blocks\":1021538,"
     "\"prefix_hits\":25921259,\"prefix_hit_tok\":1658960576}"},
#ifndef __SANITIZE_ADDRESS__ /* some 20 s then */
    {"agentic_cc/sessions_b.jsonl.zst", "",
     "{\"requests\":24099,\"sessions\":359,"
     "\"input_tok\":{\"sum\":2860905756,\"p50\":102711,\"p90\":221699,\"p99\":465772,"
     "\"min\":6343,\"max\":785289},\"output_tok\":{\"p50\":219,\"p90\":946,\"p99\":4024,"
     "\"max\":18195},\"block_accesses\":44689724,\"unique_blocks\":1671050,"
     "\"prefix_hits\":43018674,\"prefix_hit_tok\":2753195136}"},
#endif
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

static void azure_counts_are_exact(void **state)
{
    (void)state;
    check("azure");
}

static void vidur_counts_are_exact(void **state)
{
    (void)state;
    check("vidur");
}

static void gmi_counts_are_exact(void **state)
{
    (void)state;
    check("gmi");
}

static void lmcache_agent_counts_are_exact(void **state)
{
    (void)state;
    check("lmcache_agent");
}

static void mtrag_counts_are_exact(void **state)
{
    (void)state;
    check("mtrag");
}

static void agentic_counts_are_exact(void **state)
{
    (void)state;
    check("agentic");
}

/* Shares of input characters with a cache for each session: prefix hits, other content hits. */
static void mtrag_shares_with_a_cache_per_session(void **state)
{
    static const struct {
        const char *domain;
        double prefix, other;
    } want[] = {{"clapnq", 0.3621, 0.4420}, {"cloud", 0.5220, 0.2683}, {"fiqa", 0.8095, 0.0843}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char args[8192], name[100];
        const char *path;
        json_t *got;
        double sum, prefix, content;
        snprintf(name, sizeof name, "traces/mtrag_nonprefix/%s.jsonl", want[i].domain);
        path = kvs_shared(name);
        if (!path)
            KVS_SKIP("no %s", name);
        snprintf(args, sizeof args, "trace stats %s --json --per-session --chars-per-tok 1", path);
        got = kvs_cli_json(args);
        sum = json_number_value(json_object_get(json_object_get(got, "input_tok"), "sum"));
        prefix = json_number_value(json_object_get(got, "prefix_hit_tok")) / sum;
        content = json_number_value(json_object_get(got, "content_hit_tok")) / sum;
        assert_true(fabs(prefix - want[i].prefix) < 5.1e-5);
        assert_true(fabs(content - prefix - want[i].other) < 5.1e-5);
        json_decref(got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mooncake_counts_are_exact),
        cmocka_unit_test(ragpulse_counts_are_exact),
        cmocka_unit_test(azure_counts_are_exact),
        cmocka_unit_test(vidur_counts_are_exact),
        cmocka_unit_test(gmi_counts_are_exact),
        cmocka_unit_test(lmcache_agent_counts_are_exact),
        cmocka_unit_test(mtrag_counts_are_exact),
        cmocka_unit_test(mtrag_shares_with_a_cache_per_session),
        cmocka_unit_test(agentic_counts_are_exact),
    };
    return cmocka_run_group_tests_name("trace_shared", tests, NULL, NULL);
}
