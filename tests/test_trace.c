#include "test.h"

#include "workloads/trace.h"
#include "workloads/trace_stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct kvs_trace *open_file(const char *path, bool skip_bad)
{
    struct kvs_trace_options options = {.skip_bad = skip_bad};
    struct kvs_err err = {0};
    struct kvs_trace *trace;
    if (kvs_trace_open(path, &options, &trace, &err))
        fail_msg("%s", err.msg);
    return trace;
}

/* Sums over a whole trace, which it closes. */
static struct kvs_stats_sums sums_of(struct kvs_trace *trace)
{
    struct kvs_stats_options options = {.chained = kvs_trace_chained(trace)};
    struct kvs_stats *stats = kvs_stats_new(&options);
    struct kvs_stats_sums sums;
    struct kvs_err err = {0};
    int64_t last_ns = 0;
    assert_non_null(stats);
    for (;;) {
        const struct kvs_request *req;
        if (kvs_trace_next(trace, &req, &err))
            fail_msg("%s", err.msg);
        if (!req)
            break;
        assert_true(req->arrive_ns >= last_ns);
        last_ns = req->arrive_ns;
        assert_int_equal(kvs_stats_add(stats, req, &err), KVS_OK);
    }
    assert_int_equal(kvs_stats_end(stats, &sums, &err), KVS_OK);
    kvs_stats_free(stats);
    kvs_trace_close(trace);
    return sums;
}

/* The sample's blocks by hand: [0 1 2] [0 1] [0 3] [0 1 2 4] [5] [5 6] [0] [7 8] [7 8] [0 1 9]. */
static void mooncake_sample_counts(void **state)
{
    struct kvs_trace *trace = open_file("tests/data/mooncake.jsonl", false);
    struct kvs_stats_sums sums;
    (void)state;
    assert_string_equal(kvs_trace_format(trace), "mooncake");
    assert_true(kvs_trace_chained(trace));
    assert_int_equal(kvs_trace_block_tok(trace), 512);
    sums = sums_of(trace);
    assert_int_equal(sums.n_request, 10);
    assert_int_equal(sums.n_access, 22);
    assert_int_equal(sums.n_unique, 10);
    assert_int_equal(sums.prefix_hits, 12);
    assert_int_equal(sums.content_hits, 12);
    assert_int_equal(sums.prefix_hit_tok, 5820);
    assert_int_equal(sums.last_ns, 6000000000);
}

static void a_request_before_the_last_is_moved_to_it(void **state)
{
    static const int64_t want_ms10[] = {0,     0,     2500,  30000, 30000,
                                        35005, 35005, 40000, 50000, 60000};
    struct kvs_trace *trace = open_file("tests/data/mooncake.jsonl", false);
    struct kvs_err err = {0};
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        const struct kvs_request *req;
        assert_int_equal(kvs_trace_next(trace, &req, &err), KVS_OK);
        assert_int_equal(req->arrive_ns, want_ms10[i] * 100000);
    }
    assert_int_equal(kvs_trace_moved(trace), 1);
    kvs_trace_close(trace);
}

static void the_last_block_is_as_long_as_what_is_left(void **state)
{
    struct kvs_trace *trace = open_file("tests/data/mooncake.jsonl", false);
    const struct kvs_request *req;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_trace_next(trace, &req, &err), KVS_OK);
    assert_int_equal(req->input_tok, 1100);
    assert_int_equal(req->output_tok, 10);
    assert_int_equal(req->n_block, 3);
    assert_int_equal(req->block[0].n_tok, 512);
    assert_int_equal(req->block[2].id, 2);
    assert_int_equal(req->block[2].n_tok, 76);
    kvs_trace_close(trace);
}

/* By hand: a prompt's parts are sys, passages, history, web, user, whatever their order in the row;
 * the clock's restart is 604800 s after the last one; 28 blocks of 11 ids. */
static void ragpulse_sample_counts(void **state)
{
    struct kvs_stats_sums sums = sums_of(open_file("tests/data/ragpulse", false));
    (void)state;
    assert_int_equal(sums.n_request, 4);
    assert_int_equal(sums.n_session, 3);
    assert_int_equal(sums.n_access, 28);
    assert_int_equal(sums.n_unique, 11);
    assert_int_equal(sums.prefix_hits, 10);
    assert_int_equal(sums.prefix_hit_tok, 94);
    assert_int_equal(sums.content_hits, 17);
    assert_int_equal(sums.content_hit_tok, 162);
    assert_int_equal(sums.last_ns, 604705 * 1000000000ll);
    assert_int_equal(sums.part[KVS_PART_PASSAGE].n_access, 7);
    assert_int_equal(sums.part[KVS_PART_PASSAGE].n_tok, 116);
    assert_int_equal(sums.n_list, 4);
    assert_int_equal(sums.top_1pct, 1);
    assert_int_equal(sums.top_1pct_access, 4); /* sys 20 (or 21, 1): in every prompt */
}

static void ragpulse_parts_stand_in_prompt_order(void **state)
{
    static const uint64_t want[] = {20, 21, 22, 30, 50};
    struct kvs_trace *trace = open_file("tests/data/ragpulse/0_trace.jsonl", false);
    const struct kvs_request *req = NULL;
    struct kvs_err err = {0};
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(kvs_trace_next(trace, &req, &err), KVS_OK);
    assert_int_equal(req->n_block, 5);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(req->block[i].id, want[i]);
    assert_int_equal(req->block[4].part, KVS_PART_USER);
    assert_int_equal(req->input_tok, 36);
    kvs_trace_close(trace);
}

#define KVSIM_HEAD "{\"kvsim_trace\":1,\"ids\":\"content\",\"block_tok\":0}\n"
#define MOON_ROW "{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1]}"
#define RAG_HEAD                                                                                   \
    "{\"timestamp\":\"1\",\"input_length\":50,\"output_length\":1,\"session_id\":\"s\","           \
    "\"hash_ids\":{\"sys_prompt\":["

/* What is wrong, in which words. */
static const struct bad {
    const char *name, *text, *message;
} bads[] = {
    {"a.jsonl",
     MOON_ROW "\n{\"timestamp\":0,\"input_length\":-4,\"output_length\":1,\"hash_ids\":[1]}",
     "a.jsonl:2: input_length: found -4, want an integer from 1 to 4294967295"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":5,\"hash_ids\":[1]}",
     "a.jsonl:1: output_length: missing, want tokens"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":513,\"output_length\":1,\"hash_ids\":[1]}",
     "a.jsonl:1: hash_ids: found 1 ids, want 2, one for each 512 of input_length's 513 tokens"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1,]}",
     "a.jsonl:1: hash_ids: found ], want an integer from 0 to 18446744073709551615"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":5.5,\"output_length\":1,\"hash_ids\":[1]}",
     "a.jsonl:1: input_length: found 5.5, want an integer from 1 to 4294967295"},
    {"a.jsonl", "{\"timestamp\":-0.5,\"input_length\":5,\"output_length\":1,\"hash_ids\":[1]}",
     "a.jsonl:1: timestamp: found -0.5, want a time of at least 0 and at most 292 years"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":05,\"output_length\":1,\"hash_ids\":[1]}",
     "a.jsonl:1: input_length: found 05, want an integer from 1 to 4294967295"},
    {"a.jsonl", MOON_ROW " {", "a.jsonl:1: (row): found {, want the line's end"},
    {"a.jsonl", "{\"timestamp\":0,\"timestamp\":0,\"input_length\":5,\"hash_ids\":[1]}",
     "a.jsonl:1: timestamp: given twice"},
    {"a.jsonl", MOON_ROW "\n[1]", "a.jsonl:2: (row): found [1], want an object"},
    {"a.jsonl", MOON_ROW "\n{\"timestamp\":0,\"x\":{\"y\":[tru]},\"input_length\":5}",
     "a.jsonl:2: (row): found tru, want a value of JSON"},
    {"a.jsonl", MOON_ROW "\n{\"timestamp\":0,\"input_length\":5",
     "a.jsonl:2: input_length: found the line's end, want a comma or }"},
    {"a.jsonl", "{\"timestamp\":0,\"input_length\":5,\"output_length\":1,\"hash_ids\":7}",
     "a.jsonl:1: hash_ids: found 7, want a list"},
    {"a.jsonl", MOON_ROW "\n{\"x\":\"\\u12g4\"}",
     "a.jsonl:2: (row): found u12g4\", want four hex digits after \\u"},
    {"a.jsonl", MOON_ROW "\n{\"x\":\"\\q\"}",
     "a.jsonl:2: (row): found q\", want an escape of JSON"},
    {"a.jsonl", MOON_ROW "\n{\"x",
     "a.jsonl:2: (row): found the line's end, want the rest of a string and its closing quote"},
    {"a.jsonl", MOON_ROW "\n{7:1}", "a.jsonl:2: (row): found 7:1, want a string"},
    {"a.jsonl", MOON_ROW "\n{\"x\"}", "a.jsonl:2: (row): found }, want a colon after the key"},
    {"a.jsonl", MOON_ROW "\n{\"x\":1.}", "a.jsonl:2: (row): found 1., want a number of JSON"},
    {"a.jsonl", MOON_ROW "\n{\"x\":1e}", "a.jsonl:2: (row): found 1e, want a number of JSON"},
    {"a.jsonl", MOON_ROW "\n{\"x\":{\"y\"}}",
     "a.jsonl:2: (row): found }, want a colon after the key"},
    {"a.jsonl", MOON_ROW "\n{\"x\":[1 2]}",
     "a.jsonl:2: (row): found 2, want a comma or the end of it"},
    {"a.jsonl", "", "a.jsonl: holds no line; say its format; known: kvsim, kvt, "},
    {"a.txt", "hello\n",
     "a.txt: the first line is of no trace format; say its format; known: kvsim, "},
    {"tests/data/ragpulse/x.jsonl",
     RAG_HEAD "20],\"passages_ids\":[7],\"history\":[],"
              "\"web_search\":[],\"user_input\":[]}}",
     "tests/data/ragpulse/x.jsonl:1: hash_ids.passages_ids: found 7, want an id of "
     "2_passages.jsonl"},
    {"tests/data/ragpulse/x.jsonl",
     RAG_HEAD "20],\"passages_ids\":[1,1,1],\"history\":[],\"web_search\":[],\"user_input\":[]}}",
     "tests/data/ragpulse/x.jsonl:1: the input's 50 tokens are fewer than the 70 of its blocks"},
    {"tests/data/ragpulse/x.jsonl",
     RAG_HEAD "20],\"passages_ids\":[],\"history\":[],\"user_input\":[]}}",
     "tests/data/ragpulse/x.jsonl:1: web_search: missing, want a list of ids"},
    {"tests/nowhere/x.jsonl", RAG_HEAD "],\"passages_ids\":[]}}",
     "tests/nowhere/1_sys_prompt.jsonl: No such file or directory"},
    {"k.jsonl", "{\"kvsim_trace\":2,\"ids\":\"content\"}",
     "k.jsonl:1: kvsim_trace: found 2, want an integer from 1 to 1"},
    {"k.jsonl", "{\"kvsim_trace\":1,\"ids\":\"both\"}",
     "k.jsonl:1: ids: found \"both\", want \"content\" or \"chained\""},
    {"k.jsonl",
     KVSIM_HEAD "{\"arrive_ns\":0,\"input_tok\":9,\"output_tok\":1,\"blocks\":[[\"pasage\",1,2]]}",
     "k.jsonl:2: blocks: found \"pasage\", want text, sys, passage, history, web or user"},
    {"k.jsonl",
     KVSIM_HEAD "{\"arrive_ns\":0,\"input_tok\":9,\"output_tok\":1,\"blocks\":[[\"sys\",1]]}",
     "k.jsonl:2: blocks: found ], want a block as [part, id, tokens]"},
    {"k.jsonl",
     KVSIM_HEAD "{\"arrive_ns\":0,\"input_tok\":9,\"output_tok\":1,\"blocks\":[[\"sys\",1,0]]}",
     "k.jsonl:2: blocks: found 0, want an integer from 1 to 4294967295"},
};

static void first_error(const struct bad *bad, struct kvs_err *err)
{
    struct kvs_trace *trace;
    const struct kvs_request *req = NULL;
    if (kvs_trace_open_mem(bad->name, bad->text, strlen(bad->text), NULL, &trace, err))
        return;
    while (kvs_trace_next(trace, &req, err) == KVS_OK && req)
        ;
    kvs_trace_close(trace);
}

static void a_bad_line_is_named_with_field_and_remedy(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        struct kvs_err err = {0};
        first_error(&bads[i], &err);
        if (err.code == KVS_OK || strncmp(err.msg, bads[i].message, strlen(bads[i].message)) != 0)
            fail_msg("%s\nfound \"%s\"\nwant  \"%s\"", bads[i].text, err.msg, bads[i].message);
    }
}

static void bad_lines_are_skipped_and_counted_on_request(void **state)
{
    static const char text[] = MOON_ROW "\n\n{\"timestamp\":1}\n" MOON_ROW "\nnonsense\n" MOON_ROW;
    struct kvs_trace_options options = {.skip_bad = true};
    struct kvs_trace *trace;
    const struct kvs_request *req;
    struct kvs_err err = {0};
    unsigned n = 0;
    (void)state;
    assert_int_equal(kvs_trace_open_mem("a.jsonl", text, sizeof text - 1, &options, &trace, &err),
                     KVS_OK);
    while (kvs_trace_next(trace, &req, &err) == KVS_OK && req)
        n++;
    assert_int_equal(err.code, KVS_OK);
    assert_int_equal(n, 3);
    assert_int_equal(kvs_trace_skipped(trace), 2);
    kvs_trace_close(trace);
}

/* [1 2], then [3 2]: block 2 is known, but what stands before it is not. */
static void a_known_block_behind_an_unknown_one_is_no_prefix_hit(void **state)
{
    static const char text[] =
        "{\"timestamp\":0,\"input_length\":1024,\"output_length\":1,\"hash_ids\":[1,2]}\n"
        "{\"timestamp\":0,\"input_length\":1024,\"output_length\":1,\"hash_ids\":[3,2]}\n";
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    struct kvs_stats_sums sums;
    (void)state;
    assert_int_equal(kvs_trace_open_mem("a.jsonl", text, sizeof text - 1, NULL, &trace, &err),
                     KVS_OK);
    sums = sums_of(trace);
    assert_int_equal(sums.prefix_hits, 0);
    assert_int_equal(sums.content_hits, 1);
}

static void what_is_json_may_stand_beside_the_fields(void **state)
{
    static const char text[] = "{\"timestamp\":0,\"x\":[-1.5e+3,0.25E-2,{\"a\":{},\"b\":[]},"
                               "\"\\u00e9\\\\\\\"\",true,null],"
                               "\"input_length\" : 5 ,\"output_length\":1,\"hash_ids\":[ 1 ]}";
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    (void)state;
    if (kvs_trace_open_mem("a.jsonl", text, sizeof text - 1, NULL, &trace, &err))
        fail_msg("%s", err.msg);
    assert_int_equal(sums_of(trace).n_access, 1);
}

static void nesting_without_end_is_refused(void **state)
{
    char text[400] = "{\"timestamp\":0,\"hash_ids\":[],\"input_length\":1,\"x\":";
    struct kvs_trace *trace;
    const struct kvs_request *req;
    struct kvs_err err = {0};
    (void)state;
    memset(text + strlen(text), '[', 100);
    assert_int_equal(kvs_trace_open_mem("a.jsonl", text, strlen(text), NULL, &trace, &err), KVS_OK);
    assert_int_equal(kvs_trace_next(trace, &req, &err), KVS_ERR_RANGE);
    assert_string_equal(err.msg, "a.jsonl:1: (row): nested deeper than 64");
    kvs_trace_close(trace);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void a_bad_table_of_ragpulse_is_named(void **state)
{
    static const struct {
        const char *table, *message;
    } cases[] = {
        {"{\"sys_prompt_id\": 1, \"token_length\": 5}\n{\"sys_prompt_id\": 1, "
         "\"token_length\": 5}\n",
         "1_sys_prompt.jsonl:2: (row): sys_prompt_id 1 is given twice"},
        {"{\"sys_prompt_id\": 1, \"token_length\": 0}\n",
         "1_sys_prompt.jsonl:1: token_length: found 0, want an integer from 1 to 4294967295"},
        {"{\"sys_prompt_id\": 1}\n", "1_sys_prompt.jsonl:1: token_length: missing, want tokens"},
        {"{\"sys_prompt_id\": 1, \"token_length\": 4294967295}\n", "is too large"},
    };
    char folder[] = "/tmp/kvsim-table-XXXXXX", table[64], rows[64], command[80];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(table, sizeof table, "%s/1_sys_prompt.jsonl", folder);
    snprintf(rows, sizeof rows, "%s/0_trace.jsonl", folder);
    write_text(rows, RAG_HEAD "],\"passages_ids\":[]}}\n");
    for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kvs_trace *trace;
        struct kvs_err err = {0};
        write_text(table, cases[i].table);
        assert_int_not_equal(kvs_trace_open(folder, NULL, &trace, &err), KVS_OK);
        if (!strstr(err.msg, cases[i].message))
            fail_msg("found \"%s\", want \"%s\"", err.msg, cases[i].message);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
}

static void progress_rises_to_the_end(void **state)
{
    static const char *const files[] = {"tests/data/mooncake.jsonl", "tests/data/ragpulse",
                                        "tests/data/agentic.jsonl"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct kvs_trace *trace = open_file(files[i], false);
        const struct kvs_request *req = NULL;
        double last = 0;
        do {
            double now = kvs_trace_done_frac(trace);
            assert_true(now >= last && now <= 1);
            last = now;
            assert_int_equal(kvs_trace_next(trace, &req, NULL), KVS_OK);
        } while (req);
        assert_true(kvs_trace_done_frac(trace) == 1);
        kvs_trace_close(trace);
    }
}

static void an_unknown_format_names_the_nearest(void **state)
{
    struct kvs_trace_options options = {.format = "moncake"};
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_trace_open("x", &options, &trace, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "did you mean \"mooncake\"?"));
    assert_null(trace);
}

static void a_folder_of_no_format_is_refused(void **state)
{
    struct kvs_trace *trace;
    struct kvs_err err = {0};
    (void)state;
    assert_int_equal(kvs_trace_open("tests", NULL, &trace, &err), KVS_ERR_ARG);
    assert_non_null(strstr(err.msg, "is a folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mooncake_sample_counts),
        cmocka_unit_test(a_request_before_the_last_is_moved_to_it),
        cmocka_unit_test(the_last_block_is_as_long_as_what_is_left),
        cmocka_unit_test(ragpulse_sample_counts),
        cmocka_unit_test(ragpulse_parts_stand_in_prompt_order),
        cmocka_unit_test(a_bad_line_is_named_with_field_and_remedy),
        cmocka_unit_test(bad_lines_are_skipped_and_counted_on_request),
        cmocka_unit_test(a_known_block_behind_an_unknown_one_is_no_prefix_hit),
        cmocka_unit_test(what_is_json_may_stand_beside_the_fields),
        cmocka_unit_test(nesting_without_end_is_refused),
        cmocka_unit_test(a_bad_table_of_ragpulse_is_named),
        cmocka_unit_test(progress_rises_to_the_end),
        cmocka_unit_test(an_unknown_format_names_the_nearest),
        cmocka_unit_test(a_folder_of_no_format_is_refused),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
