/*
 * Over many seeds: whatever the generator's options and the filter's, requests keep their promises,
 * and a trace written and read again is the same.
 */
#include "test.h"

#include "base/opt.h"
#include "base/rng.h"
#include "workloads/gen.h"
#include "workloads/kvt.h"
#include "workloads/trace_filter.h"
#include "workloads/trace_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

enum { N_SEED = 60, N_REQUEST = 200 };

static double between(struct kvs_rng *rng, double low, double high)
{
    return low + (high - low) * kvs_rng_unit(rng);
}

static struct kvs_gen_options random_options(struct kvs_rng *rng)
{
    struct kvs_gen_options o;
    bool help;
    char *argv[] = {(char *)"generate", NULL};
    assert_int_equal(kvs_opt_argv(kvs_gen_table, kvs_gen_n_opt, 1, argv, &o, NULL, &help, NULL),
                     KVS_OK);
    o.n_request = N_REQUEST;
    o.rate_per_s = between(rng, 0.01, 1000);
    o.burst = kvs_rng_below(rng, 2) ? 1 : between(rng, 0.1, 5);
    o.n_corpus = 20 + kvs_rng_below(rng, 3000);
    o.n_passage = kvs_rng_below(rng, 20);
    o.n_topic = 1 + kvs_rng_below(rng, 500);
    o.n_candidate = 1 + kvs_rng_below(rng, 30);
    o.topic_skew = between(rng, 0, 2);
    o.passage_skew = between(rng, 0, 2);
    o.rank_decay = between(rng, 0, 30);
    o.stray_frac = between(rng, 0, 1);
    o.drift_per_day = between(rng, 0, 1000);
    o.turns = between(rng, 1, 20);
    o.think_s = between(rng, 0, 100);
    o.history_turns = kvs_rng_below(rng, 17);
    o.chat_frac = between(rng, 0, 0.5);
    o.web_frac = between(rng, 0, 0.5);
    o.lengths = (int)kvs_rng_below(rng, 3);
    o.output_tok = between(rng, 1, 3000);
    return o;
}

static struct kvs_trace *random_trace(uint64_t seed)
{
    struct kvs_rng rng = kvs_rng_stream(seed, "prop_trace");
    struct kvs_gen_options options = random_options(&rng);
    struct kvs_trace_filter filter = {.limit = kvs_rng_below(&rng, 2) ? 150 : 0,
                                      .rate = between(&rng, 0.1, 10),
                                      .population = 1 + kvs_rng_below(&rng, 3)};
    struct kvs_trace *inner, *trace = NULL;
    struct kvs_err err = {0};
    if (kvs_gen_open(&options, seed, &inner, &err) ||
        kvs_trace_filtered(inner, &filter, &trace, &err))
        fail_msg("seed %u: %s", (unsigned)seed, err.msg);
    return trace;
}

static void requests_keep_their_promises(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= N_SEED; seed++) {
        struct kvs_trace *trace = random_trace(seed);
        const struct kvs_request *req = NULL;
        int64_t last_ns = 0;
        unsigned n = 0;
        while (kvs_trace_next(trace, &req, NULL) == KVS_OK && req) {
            uint64_t sum_tok = 0;
            bool ok = req->arrive_ns >= last_ns && req->session && req->n_block;
            for (uint32_t i = 0; i < req->n_block; i++) {
                ok = ok && req->block[i].n_tok && req->block[i].part < KVS_N_PART;
                sum_tok += req->block[i].n_tok;
            }
            if (!ok || sum_tok + 6 > req->input_tok || !req->output_tok)
                fail_msg("seed %u: request %u", (unsigned)seed, n);
            last_ns = req->arrive_ns;
            n++;
        }
        assert_true(n == 150 || n % N_REQUEST == 0);
        kvs_trace_close(trace);
    }
}

static void expect_same(struct kvs_trace *a, struct kvs_trace *b, uint64_t seed)
{
    const struct kvs_request *x = NULL, *y = NULL;
    do {
        assert_int_equal(kvs_trace_next(a, &x, NULL), KVS_OK);
        assert_int_equal(kvs_trace_next(b, &y, NULL), KVS_OK);
        if (!x != !y || (x && (x->arrive_ns != y->arrive_ns || x->session != y->session ||
                               x->input_tok != y->input_tok || x->output_tok != y->output_tok ||
                               x->n_block != y->n_block ||
                               memcmp(x->block, y->block, x->n_block * sizeof *x->block) != 0)))
            fail_msg("seed %u: not the same", (unsigned)seed);
    } while (x);
    kvs_trace_close(a);
    kvs_trace_close(b);
}

static struct kvs_trace *open_trace(const char *path)
{
    struct kvs_trace *trace = NULL;
    struct kvs_err err = {0};
    if (kvs_trace_open(path, NULL, &trace, &err))
        fail_msg("%s", err.msg);
    return trace;
}

/* The file as zstd writes it, in its place. */
static void compress_file(const char *path)
{
    static char plain[1 << 24], packed[1 << 24];
    FILE *file = fopen(path, "rb");
    size_t n;
    assert_non_null(file);
    n = fread(plain, 1, sizeof plain, file);
    assert_true(n < sizeof plain);
    assert_int_equal(fclose(file), 0);
    n = ZSTD_compress(packed, sizeof packed, plain, n, 3);
    assert_false(ZSTD_isError(n));
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(packed, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void what_is_written_reads_the_same(void **state)
{
    char folder[] = "/tmp/kvsim-prop-XXXXXX", kvt[64], json[64], command[80];
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(kvt, sizeof kvt, "%s/x.kvt", folder);
    snprintf(json, sizeof json, "%s/x.jsonl", folder);
    for (uint64_t seed = 1; seed <= N_SEED / 4; seed++) {
        struct kvs_trace *trace = random_trace(seed);
        assert_int_equal(kvs_trace_copy(trace, kvt, NULL, NULL, NULL, NULL), KVS_OK);
        kvs_trace_close(trace);
        expect_same(random_trace(seed), open_trace(kvt), seed);
        trace = open_trace(kvt);
        assert_int_equal(kvs_trace_copy(trace, json, NULL, NULL, NULL, NULL), KVS_OK);
        kvs_trace_close(trace);
        compress_file(json);
        expect_same(open_trace(json), open_trace(kvt), seed);
    }
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0); /* NOLINT: a path of our own making */
}

/* Against the definition, with a bad block in each place and room for reading in groups or not. */
static void blocks_of_a_kvt_fit_as_defined(void **state)
{
    struct kvs_trace_block block[3 * KVT_GROUP];
    struct kvs_rng rng = kvs_rng_stream(7, "kvt blocks");
    uint64_t sum, want;
    (void)state;
    for (uint32_t n = 0; n <= 2 * KVT_GROUP; n++)
        for (uint32_t room = n; room <= 3 * KVT_GROUP; room += KVT_GROUP / 2) {
            want = 0;
            for (uint32_t i = 0; i < 3 * KVT_GROUP; i++) {
                block[i] = (struct kvs_trace_block){kvs_rng_u64(&rng), 0, UINT32_MAX};
                if (i >= n)
                    continue; /* bad, and none of the request's */
                block[i].n_tok = i % 3 ? UINT32_MAX : 1 + (uint32_t)kvs_rng_below(&rng, 600);
                block[i].part = (uint32_t)kvs_rng_below(&rng, KVS_N_PART);
                want += block[i].n_tok;
            }
            assert_true(kvt_blocks_fit(block, n, room, &sum));
            assert_true(sum == want);
            for (uint32_t i = 0; i < n; i++) {
                const struct kvs_trace_block good = block[i];
                block[i].n_tok = 0;
                assert_false(kvt_blocks_fit(block, n, room, &sum));
                block[i] = good;
                block[i].part = KVS_N_PART;
                assert_false(kvt_blocks_fit(block, n, room, &sum));
                block[i].part = UINT32_MAX;
                assert_false(kvt_blocks_fit(block, n, room, &sum));
                block[i] = good;
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_a_kvt_fit_as_defined),
        cmocka_unit_test(requests_keep_their_promises),
        cmocka_unit_test(what_is_written_reads_the_same),
    };
    return cmocka_run_group_tests_name("prop_trace", tests, NULL, NULL);
}
