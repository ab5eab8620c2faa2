/*
 * Each format on a small made-up sample, worked out by hand.
 */
#include "test.h"

#include "workloads/trace.h"

#include <stdio.h>
#include <string.h>

enum { MAX_BLOCK = 8 };

struct row {
    int64_t arrive_ns;
    uint32_t input_tok, output_tok, n_block;
    struct kvs_trace_block block[MAX_BLOCK];
};

static struct kvs_trace *open_file(const char *path, const char *format, double chars_per_tok)
{
    struct kvs_trace_options options = {.chars_per_tok = chars_per_tok};
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    if (kvs_trace_open(path, &options, &trace, &err))
        fail_msg("%s", err.msg);
    assert_string_equal(kvs_trace_format(trace), format);
    return trace;
}

/* Reads n rows as wanted and the end; the sessions into session (or NULL). */
static void expect_rows(struct kvs_trace *trace, const struct row *row, unsigned n,
                        uint64_t *session)
{
    struct kvs_err err = {0};
    const struct kvs_request *req;
    for (unsigned i = 0; i < n; i++) {
        if (kvs_trace_next(trace, &req, &err))
            fail_msg("%s", err.msg);
        assert_non_null(req);
        assert_int_equal(req->arrive_ns, row[i].arrive_ns);
        assert_int_equal(req->input_tok, row[i].input_tok);
        assert_int_equal(req->output_tok, row[i].output_tok);
        assert_int_equal(req->n_block, row[i].n_block);
        for (unsigned k = 0; k < req->n_block; k++) {
            if (row[i].block[k].id != UINT64_MAX) /* a hash */
                assert_int_equal(req->block[k].id, row[i].block[k].id);
            assert_int_equal(req->block[k].n_tok, row[i].block[k].n_tok);
            assert_int_equal(req->block[k].part, row[i].block[k].part);
        }
        if (session)
            session[i] = req->session;
    }
    assert_int_equal(kvs_trace_next(trace, &req, &err), KVS_OK);
    assert_null(req);
    kvs_trace_close(trace);
}

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static void azure_times_cross_days_and_leap_years(void **state)
{
    static const struct row want[] = {
        {0, 374, 44, 0, {{0}}},
        {1000000100, 396, 109, 0, {{0}}},
        {8985599319410000 + 0, 10, 1, 0, {{0}}},
        {8985599319410000 + 86400000000000 + 1500000000, 11, 0, 0, {{0}}},
    };
    (void)state;
    /* from 2023-11-16 23:59:59.68059 to 2024-02-28 23:59:59: 104 days less 0.68059 s */
    expect_rows(open_file("tests/data/azure.csv", "azure", 0), want, COUNT(want), NULL);
}

static void burstgpt_finds_its_columns_by_the_header(void **state)
{
    static const struct row first[] = {{0, 472, 18, 0, {{0}}},
                                       {40500000000, 1087, 230, 0, {{0}}},
                                       {113000000000, 417, 0, 0, {{0}}}};
    static const struct row second[] = {
        {0, 100, 20, 0, {{0}}}, {2000000000, 50, 10, 0, {{0}}}, {8000000000, 130, 30, 0, {{0}}}};
    uint64_t session[3];
    (void)state;
    expect_rows(open_file("tests/data/burstgpt.csv", "burstgpt", 0), first, 3, session);
    assert_int_equal(session[0], 0);
    expect_rows(open_file("tests/data/burstgpt_sessions.csv", "burstgpt", 0), second, 3, session);
    assert_true(session[0] == session[2] && session[0] != session[1] && session[0]);
}

static void vidur_requests_come_once_a_second(void **state)
{
    static const struct row want[] = {{0, 3772, 54, 0, {{0}}}, {1000000000, 1, 0, 0, {{0}}}};
    (void)state;
    expect_rows(open_file("tests/data/vidur.csv", "vidur", 0), want, 2, NULL);
}

static void gmi_blocks_share_the_input_evenly(void **state)
{
    static const struct row want[] = {
        {0, 100, 7, 3, {{9, 33, 0}, {8, 33, 0}, {7, 34, 0}}},
        {1000000000, 70, 8, 2, {{9, 35, 0}, {7, 35, 0}}},
        {2000000005, 3, 1, 0, {{0}}},
    };
    (void)state;
    expect_rows(open_file("tests/data/gmi.jsonl", "gmi", 0), want, 3, NULL);
}

static void bailian_sessions_follow_parents(void **state)
{
    static const struct row want[] = {
        {0, 33, 10, 3, {{0, 16, 0}, {1, 16, 0}, {2, 1, 0}}},
        {750000000, 32, 10, 2, {{0, 16, 0}, {3, 16, 0}}},
        {1500000000, 60, 10, 3, {{0, 16, 0}, {1, 16, 0}, {4, 16, 0}}},
        {2500000000, 48, 10, 3, {{0, 16, 0}, {1, 16, 0}, {4, 16, 0}}},
    };
    uint64_t session[4];
    (void)state;
    expect_rows(open_file("tests/data/bailian.jsonl", "bailian", 0), want, 4, session);
    assert_true(session[0] == session[2] && session[0] == session[3] && session[0] != session[1]);
}

static void lmcache_lookups_hold_full_chunks(void **state)
{
    static const struct row want[] = {
        {0, 1000, 0, 3, {{UINT64_MAX, 256, 0}, {UINT64_MAX, 256, 0}, {UINT64_MAX, 256, 0}}},
        {1500000000, 512, 0, 2, {{UINT64_MAX, 256, 0}, {UINT64_MAX, 256, 0}}},
    };
    (void)state;
    expect_rows(open_file("tests/data/lmcache_lookup.jsonl", "lmcache_lookup", 0), want, 2, NULL);
}

static void lmcache_agent_counts_four_characters_a_token(void **state)
{
    static const struct row want[] = {
        {0, 150, 3, 2, {{0, 64, 0}, {1, 64, 0}}},
        {5000, 1, 0, 0, {{0}}},
        {1000001000, 200, 100, 3, {{0, 64, 0}, {1, 64, 0}, {2, 64, 0}}},
    };
    uint64_t session[3];
    (void)state;
    expect_rows(open_file("tests/data/lmcache_agent.jsonl", "lmcache_agent", 0), want, 3, session);
    assert_true(session[0] == session[2] && session[0] != session[1]);
}

static void mtrag_blocks_end_where_their_characters_do(void **state)
{
    /* 4.5 characters a token: 450 + 450 + 99 end at tokens 100, 200, 222; the rest has no name */
    static const struct row want[] = {
        {0,
         222,
         20,
         3,
         {{0, 100, KVS_PART_SYS}, {1, 100, KVS_PART_PASSAGE}, {2, 22, KVS_PART_USER}}},
        /* 450, 850, 1300, 1301, 1302 end at 100, 188.9, 288.9, 289.1, 289.3; a block has a token */
        {6497000000,
         311,
         10,
         5,
         {{0, 100, KVS_PART_SYS},
          {3, 89, KVS_PART_PASSAGE},
          {1, 100, KVS_PART_PASSAGE},
          {4, 1, KVS_PART_USER},
          {5, 1, KVS_PART_USER}}},
    };
    (void)state;
    expect_rows(open_file("tests/data/mtrag.jsonl", "mtrag", 0), want, 2, NULL);
}

static void agentic_sessions_overlap_and_ids_stay_apart(void **state)
{
    static const uint64_t a = UINT64_C(1) << 32, b = UINT64_C(2) << 32;
    const struct row want[] = {
        {0, 130, 5, 2, {{a + 1, 64, 0}, {a + 2, 64, 0}}},
        {30500000000, 64, 6, 1, {{a + 1, 64, 0}}},
        {60500000000, 63, 1, 0, {{0}}}, /* session b began at 60 s */
        {61000000000, 200, 7, 3, {{a + 1, 64, 0}, {a + 2, 64, 0}, {a + 3, 64, 0}}},
        {61000000000, 65, 1, 1, {{b + 1, 64, 0}}},
        {70500000000, 192, 0, 3, {{a + 1, 64, 0}, {a + 7, 64, 0}, {a + 8, 64, 0}}},
    };
    uint64_t session[6];
    (void)state;
    expect_rows(open_file("tests/data/agentic.jsonl", "agentic", 0), want, 6, session);
    assert_int_equal(session[2], 2);
    assert_int_equal(session[3], 1);
}

static void kvsim_keeps_parts_sessions_and_nameless_tokens(void **state)
{
    static const struct row want[] = {
        {0, 900, 120, 2, {{3, 512, KVS_PART_SYS}, {41, 380, KVS_PART_PASSAGE}}},
        {1000, 5, 0, 0, {{0}}},
    };
    uint64_t session[2];
    (void)state;
    expect_rows(open_file("tests/data/kvsim.jsonl", "kvsim", 0), want, 2, session);
    assert_true(session[0] == UINT64_MAX && session[1] == 0);
}

static const struct bad {
    const char *text, *message;
} bads[] = {
    {"TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-13-16 18:15:46.68,1,2\r\n",
     "f:2: TIMESTAMP: found 2023-13-16, want YYYY-MM-DD HH:MM:SS.f"},
    {"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,1\n",
     "f:2: ContextTokens: found the line's end, want a comma"},
    {"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.68,1,2,3\n",
     "f:2: (row): found ,3, want the line's end"},
    {"Timestamp,Model,Request tokens\n", "f:1: header: want columns Timestamp, Request tokens "
                                         "and Response tokens"},
    {"Timestamp,Request tokens,Response tokens\n1,0,5\n",
     "f:2: Request tokens: found 0, want an integer from 1 to 4294967295"},
    {"num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n5,6,10,1\n",
     "f:2: num_total_tokens: found 10, want the sum of the others, 11"},
    {"{\"timestamp\":\"5\",\"input_length\":1,\"output_length\":1,\"hash_ids\":[1,2]}",
     "f:1: hash_ids: found 2 ids for 1 tokens"},
    {"{\"chat_id\":1,\"parent_chat_id\":-2,\"hash_ids\":[]}",
     "f:1: parent_chat_id: found -2, want an integer from 0 to 4294967294"},
    {"{\"chat_id\":1,\"parent_chat_id\":-1,\"timestamp\":1,\"input_length\":16,"
     "\"output_length\":1,\"hash_ids\":[1,2]}",
     "f:1: hash_ids: found 2 ids, want 1 or one more, one for each 16 of input_length's 16"},
    {"{\"timestamp\":1,\"seq_len\":300,\"chunk_size\":256,\"chunk_hashes\":[\"a\",\"b\"]}",
     "f:1: chunk_hashes: found 2, want at most 1, one for each full 256 of seq_len's 300 tokens"},
    {"{\"timestamp\":1,\"seq_len\":300,\"chunk_size\":0,\"chunk_hashes\":[]}",
     "f:1: chunk_size: found 0, want an integer from 1 to"},
    {"{\"session\":0,\"timestamp_us\":0,\"input_chars\":600,\"output_chars\":9,\"hash_ids\":[0]}",
     "f:1: hash_ids: found 1 ids, want 2, one for each full 256 of input_chars' 600 characters"},
    {"{\"session\":0,\"timestamp_ms\":0,\"input_chars\":6,\"output_chars\":9,"
     "\"segments\":[[0,\"X\",6]]}",
     "f:1: segments: found \"X\", want one of T S U P D Q A R"},
    {"{\"session\":0,\"timestamp_ms\":0,\"input_chars\":5,\"output_chars\":9,"
     "\"segments\":[[0,\"S\",6]]}",
     "f:1: input_chars: found 5, want at least the segments' 6"},
    {"{\"hash_id_scope\":\"global\",\"block_size\":64,\"requests\":[]}",
     "f:1: hash_id_scope: found \"global\", want \"local\""},
    {"{\"hash_id_scope\":\"local\",\"block_size\":64,\"requests\":[{\"t\":1,\"in\":3,\"out\":4}]}",
     "f:1: requests: hash_ids: missing in the session's request 1"},
    {"{\"hash_id_scope\":\"local\",\"block_size\":64,"
     "\"requests\":[{\"t\":1,\"in\":64,\"out\":4,\"hash_ids\":[]}]}",
     "f:1: hash_ids: found 0 ids, want 1, one for each full 64 of in's 64 tokens"},
};

static void a_bad_line_of_each_format_is_named(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT(bads); i++) {
        struct kvs_err err = {0};
        struct kvs_trace *trace;
        const struct kvs_request *req = NULL;
        if (!kvs_trace_open_mem("f", bads[i].text, strlen(bads[i].text), NULL, &trace, &err)) {
            while (kvs_trace_next(trace, &req, &err) == KVS_OK && req)
                ;
            kvs_trace_close(trace);
        }
        if (strncmp(err.msg, bads[i].message, strlen(bads[i].message)) != 0)
            fail_msg("%s\nfound \"%s\"\nwant  \"%s\"", bads[i].text, err.msg, bads[i].message);
    }
}

static void every_format_says_what_it_is(void **state)
{
    (void)state;
    for (const char *const *name = kvs_trace_formats(); *name; name++)
        assert_non_null(kvs_trace_format_help(*name));
    assert_null(kvs_trace_format_help("nothing"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(azure_times_cross_days_and_leap_years),
        cmocka_unit_test(burstgpt_finds_its_columns_by_the_header),
        cmocka_unit_test(vidur_requests_come_once_a_second),
        cmocka_unit_test(gmi_blocks_share_the_input_evenly),
        cmocka_unit_test(bailian_sessions_follow_parents),
        cmocka_unit_test(lmcache_lookups_hold_full_chunks),
        cmocka_unit_test(lmcache_agent_counts_four_characters_a_token),
        cmocka_unit_test(mtrag_blocks_end_where_their_characters_do),
        cmocka_unit_test(agentic_sessions_overlap_and_ids_stay_apart),
        cmocka_unit_test(kvsim_keeps_parts_sessions_and_nameless_tokens),
        cmocka_unit_test(a_bad_line_of_each_format_is_named),
        cmocka_unit_test(every_format_says_what_it_is),
    };
    return cmocka_run_group_tests_name("trace_formats", tests, NULL, NULL);
}
