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
#include <xxhash.h>
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

/* A chunk's requests can be, from the definition. */
static bool fits_naive(const struct kvt_request *request, uint32_t n_request,
                       const struct kvs_trace_block *block, uint32_t n_block, int64_t since_ns)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < n_request; i++) {
        uint64_t sum = 0;
        if (request[i].n_block > n_block - at || !request[i].input_tok || request[i].zero ||
            request[i].arrive_ns < since_ns)
            return false;
        since_ns = request[i].arrive_ns;
        for (uint32_t end = at + request[i].n_block; at < end; at++) {
            if (!block[at].n_tok || block[at].part >= KVS_N_PART)
                return false;
            sum += block[at].n_tok;
        }
        if (sum > request[i].input_tok)
            return false;
    }
    return at == n_block;
}

static const struct kvt_work *const works[] = {
    &kvt_work_base,
#if defined(__x86_64__)
    &kvt_work_avx2,
    &kvt_work_avx512,
#endif
    NULL,
};

static bool runs_here(const struct kvt_work *work)
{
#if defined(__x86_64__)
    if (work == &kvt_work_avx512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi2");
    if (work == &kvt_work_avx2)
        return __builtin_cpu_supports("avx2");
#endif
    return work == &kvt_work_base;
}

static void expect_fits(const struct kvt_request *request, uint32_t n_request,
                        const struct kvs_trace_block *block, uint32_t n_block, uint64_t seed)
{
    const bool want = fits_naive(request, n_request, block, n_block, 5);
    for (unsigned i = 0; works[i]; i++)
        if (runs_here(works[i]) && works[i]->fits(request, n_request, block, n_block, 5) != want)
            fail_msg("seed %llu: form %u has %d", (unsigned long long)seed, i, !want);
}

/* Something that can't be, or just can, at one place. */
static void spoil(struct kvs_rng *rng, struct kvt_request *request, struct kvs_trace_block *block)
{
    switch (kvs_rng_below(rng, 10)) {
    case 0:
        block->n_tok = 0;
        break;
    case 1:
        block->part = KVS_N_PART + (uint32_t)kvs_rng_below(rng, 2);
        break;
    case 2:
        block->part = UINT32_MAX;
        break;
    case 3:
        block->n_tok = UINT32_MAX;
        break;
    case 4:
        request->input_tok = 0;
        break;
    case 5:
        request->input_tok--;
        break;
    case 6:
        request->zero = 1u << kvs_rng_below(rng, 32);
        break;
    case 7:
        request->arrive_ns -= (int64_t)kvs_rng_below(rng, 3);
        break;
    case 8:
        request->n_block += kvs_rng_below(rng, 2) ? 1 : UINT32_MAX;
        break;
    default:
        block->id = UINT64_MAX;
    }
}

/* Every form the processor has, beside the definition; blocks end where their memory does. */
static void a_chunk_of_a_kvt_fits_as_defined(void **state)
{
    enum { MOST = 40 };
    (void)state;
    for (uint64_t seed = 1; seed <= 3000; seed++) {
        struct kvs_rng rng = kvs_rng_stream(seed, "kvt chunk");
        struct kvt_request request[MOST];
        const uint32_t n_request = 1 + (uint32_t)kvs_rng_below(&rng, MOST);
        const uint64_t longest = 1 + kvs_rng_below(&rng, 50);
        uint32_t n_block = 0;
        for (uint32_t i = 0; i < n_request; i++) {
            request[i] = (struct kvt_request){.arrive_ns = 5 + i / 2, .session = kvs_rng_u64(&rng)};
            n_block += request[i].n_block = (uint32_t)kvs_rng_below(&rng, longest);
        }
        struct kvs_trace_block *block = malloc((n_block + !n_block) * sizeof *block);
        assert_non_null(block);
        for (uint32_t i = 0, at = 0; i < n_request; i++) {
            for (uint32_t end = at + request[i].n_block; at < end; at++) {
                block[at] = (struct kvs_trace_block){kvs_rng_u64(&rng),
                                                     1 + (uint32_t)kvs_rng_below(&rng, 600),
                                                     (uint32_t)kvs_rng_below(&rng, KVS_N_PART)};
                request[i].input_tok += block[at].n_tok;
            }
            request[i].input_tok += !request[i].input_tok;
        }
        assert_true(fits_naive(request, n_request, block, n_block, 5));
        expect_fits(request, n_request, block, n_block, seed);
        if (n_block) {
            spoil(&rng, &request[kvs_rng_below(&rng, n_request)],
                  &block[kvs_rng_below(&rng, n_block)]);
            expect_fits(request, n_request, block, n_block, seed);
        }
        free(block);
    }
}

static void every_form_of_the_checksum_is_xxh3(void **state)
{
    unsigned char data[5000];
    struct kvs_rng rng = kvs_rng_stream(3, "kvt sum");
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)kvs_rng_u64(&rng);
    for (size_t n = 0; n <= sizeof data; n += n < 600 ? 1 : 97)
        for (unsigned i = 0; works[i]; i++)
            if (runs_here(works[i]))
                assert_true(works[i]->sum(data, n) == XXH3_64bits(data, n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_of_a_kvt_fits_as_defined),
        cmocka_unit_test(every_form_of_the_checksum_is_xxh3),
        cmocka_unit_test(requests_keep_their_promises),
        cmocka_unit_test(what_is_written_reads_the_same),
    };
    return cmocka_run_group_tests_name("prop_trace", tests, NULL, NULL);
}
