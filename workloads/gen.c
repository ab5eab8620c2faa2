#include "gen.h"

#include "base/map.h"
#include "base/rng.h"
#include "base/units.h"
#include "trace_format.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- options -------------------------------------------------------------------------------------
 */

static const char *const length_names[] = {"measured", "lognormal", "fixed", NULL};

#define OPT(name, kind, field, by_default, least, most, text)                                      \
    .key = (name), .type = KVS_OPT_##kind, .offset = offsetof(struct kvs_gen_options, field),      \
    .def = (by_default), .min = (least), .max = (most), .help = (text)
const struct kvs_opt kvs_gen_table[] = {
    {OPT("requests", U64, n_request, "3800", 1, 1e12, "requests in all"), .letter = 'n'},
    {OPT("rate", DOUBLE, rate_per_s, "0.00629", 1e-9, 1e9, "requests per second")},
    {OPT("burst", DOUBLE, burst, "1", 0.01, 100,
         "gaps between sessions: deviation over mean (1: Poisson; else Gamma)")},
    {OPT("corpus", U64, n_corpus, "8302", 1, 4e9, "passages in the corpus")},
    {OPT("passages", U64, n_passage, "6", 0, 64, "passages retrieved for a request")},
    {OPT("topics", U64, n_topic, "194", 1, 4e9, "topics that are asked about")},
    {OPT("topic_skew", DOUBLE, topic_skew, "0.73", 0, 10, "Zipf exponent of topics")},
    {OPT("candidates", U64, n_candidate, "10", 1, 256, "passages that fit a topic")},
    {OPT("passage_skew", DOUBLE, passage_skew, "0.53", 0, 10,
         "Zipf exponent of passages over topics")},
    {OPT("rank_decay", DOUBLE, rank_decay, "0.67", 0, 100,
         "how firmly candidates keep their order (0: any order)")},
    {OPT("stray", DOUBLE, stray_frac, "0.053", 0, 1,
         "share of passages that come from anywhere in the corpus")},
    {OPT("drift", DOUBLE, drift_per_day, "0.08", 0, 1e6,
         "share of topics replaced by fresh ones in a day")},
    {OPT("turns", DOUBLE, turns, "1.716", 1, 1e6, "mean turns of a session")},
    {OPT("think", TIME, think_s, "44s", 0, 1e9,
         "median time between a session's turns, arrival to arrival")},
    {OPT("stay", DOUBLE, stay_frac, "0.35", 0, 1, "share of later turns that keep the topic")},
    {OPT("stock", DOUBLE, stock_frac, "0.15", 0, 1,
         "share of questions in a topic's stock wording")},
    {OPT("history", U64, history_turns, "8", 0, 16, "past turns that a prompt holds")},
    {OPT("chat", DOUBLE, chat_frac, "0.153", 0, 1, "share of requests without retrieval")},
    {OPT("web", DOUBLE, web_frac, "0.05", 0, 1, "share of requests with web results")},
    {OPT("prompts_per_day", U64, prompts_per_day, "1", 0, 1e6,
         "versions of the dated system prompt in a day (0: one for ever)")},
    {OPT("fresh_tok", U64, fresh_tok, "437", 0, 1e6,
         "tokens before the passages that no two prompts share (date, question's wording)")},
    {OPT("lengths", ENUM, lengths, "measured", 0, 0,
         "spread of lengths about their means: RAGPulse's own, lognormal, or none"),
     .names = length_names},
    {OPT("passage_tok", DOUBLE, passage_tok, "266", 1, 1e6, "mean tokens of a passage")},
    {OPT("output_tok", DOUBLE, output_tok, "256", 1, 1e6, "mean tokens of an answer")},
    {OPT("user_tok", DOUBLE, user_tok, "7.3", 1, 1e6, "mean tokens of a question")},
    {OPT("web_tok", DOUBLE, web_tok, "408", 1, 1e6, "mean tokens of a web result")},
};
const unsigned kvs_gen_n_opt = sizeof kvs_gen_table / sizeof kvs_gen_table[0];

/* --- lengths -------------------------------------------------------------------------------------
 */

/*
 * A length's quantile curve, measured on rows 1-3800 of RAGPulse (flashserve/RAGPulse, 0_trace and
 * its tables; passages by access), with straight lines between the knots; and the deviation of its
 * logarithm.
 */
enum { N_KNOT = 12 };
static const double knot_at[N_KNOT] = {0,    0.01, 0.05, 0.10, 0.25,  0.50,
                                       0.75, 0.90, 0.95, 0.99, 0.999, 1};
struct curve {
    double tok[N_KNOT];
    double sigma;
};
static const struct curve curve_output = {{7, 45, 70, 84, 121, 201, 345, 508, 614, 795, 1117, 1843},
                                          0.689};
static const struct curve curve_passage = {
    {3, 62, 129, 150, 206, 278, 328, 362, 384, 405, 472, 512}, 0.420};
static const struct curve curve_user = {{1, 1, 2, 3, 4, 6, 9, 12, 16, 26, 75, 114}, 0.689};
static const struct curve curve_web = {{3, 21, 79, 92, 279, 512, 512, 512, 512, 512, 512, 512},
                                       0.800};

static double curve_mean(const struct curve *curve)
{
    double sum = 0;
    for (int i = 1; i < N_KNOT; i++)
        sum += (knot_at[i] - knot_at[i - 1]) * (curve->tok[i] + curve->tok[i - 1]) / 2;
    return sum;
}

static double curve_at(const struct curve *curve, double u)
{
    int i = 1;
    while (i < N_KNOT - 1 && u > knot_at[i])
        i++;
    return curve->tok[i - 1] + (curve->tok[i] - curve->tok[i - 1]) * (u - knot_at[i - 1]) /
                                   (knot_at[i] - knot_at[i - 1]);
}

/* A length of that mean, at least 1. */
static uint32_t draw_tok(const struct curve *curve, int lengths, double mean, struct kvs_rng *rng)
{
    double tok = mean;
    if (lengths == KVS_GEN_MEASURED)
        tok = curve_at(curve, kvs_rng_unit(rng)) * mean / curve_mean(curve);
    else if (lengths == KVS_GEN_LOGNORMAL)
        tok = kvs_rng_lognormal(rng, log(mean) - curve->sigma * curve->sigma / 2, curve->sigma);
    tok = floor(tok + 0.5);
    return tok < 1 ? 1 : tok > 1e7 ? (uint32_t)1e7 : (uint32_t)tok;
}

/* --- ids -----------------------------------------------------------------------------------------
 */

/* Ids say what they are in the bits from 48 on; passages count from 0, as in the corpus. */
static uint64_t id_of(enum kvs_part part, uint64_t n)
{
    return (part == KVS_PART_PASSAGE ? 0 : (uint64_t)(part + 1) << 48) | n;
}

/* RAGPulse's system prompts: 512 tokens that never change, 512 that change every day, and the rest
 * with the question's date and wording in it; another three for chat and web search. */
enum { SYS_RAG, SYS_CHAT, SYS_CHAT_END, SYS_WEB, SYS_WEB_2, SYS_DATED };
enum {
    SYS_TOK = 512,
    SYS_CHAT_END_TOK = 4,
    SYS_WEB_END_TOK = 447,
    NO_HISTORY_TOK = 11,
    TURN_EXTRA_TOK = 40, /* what a past turn adds besides question and answer */
    HISTORY_BLOCK_TOK = 512,
    WEB_MAX = 4,
    MAX_PASSAGE = 64,
    MAX_CANDIDATE = 256,
    MAX_HISTORY = 16,
    MAX_HISTORY_BLOCK = 1024,
    MAX_HISTORY_TOK = MAX_HISTORY_BLOCK * HISTORY_BLOCK_TOK,
    MAX_BLOCK = 3 + MAX_PASSAGE + MAX_HISTORY_BLOCK + WEB_MAX + 1
};

/* --- sessions ------------------------------------------------------------------------------------
 */

enum kind { RAG, CHAT, WEB };

/* A request's prompt; the blocks follow. */
struct prompt {
    uint32_t n_block;
    uint64_t n_tok;
    struct kvs_trace_block block[];
};

struct session {
    int64_t next_ns;
    uint64_t id, topic;
    uint32_t n_turn;                /* made so far */
    uint32_t turn_tok[MAX_HISTORY]; /* ring of the past turns' tokens */
};

struct gen {
    struct kvs_gen_options options;
    struct kvs_rng arrival, turn, topic, passage, length;
    struct kvs_zipf topics, passages;
    uint64_t seed, step, n_made, n_session, n_unique;
    int64_t session_ns; /* when the next session begins */
    double gap_mean_s, session_s;
    struct session *open; /* a heap: the earliest next turn first */
    size_t n_open, cap_open;
    struct prompt *prompt; /* of the request at hand; room for MAX_BLOCK */
};

static bool earlier(const struct session *a, const struct session *b)
{
    return a->next_ns != b->next_ns ? a->next_ns < b->next_ns : a->id < b->id;
}

static void swap_sessions(struct session *a, struct session *b)
{
    struct session t = *a;
    *a = *b;
    *b = t;
}

/* false: no memory; the session is still the caller's. */
static bool push_session(struct gen *gen, const struct session *session)
{
    size_t i = gen->n_open;
    if (gen->n_open == gen->cap_open) {
        size_t cap = gen->cap_open ? gen->cap_open * 2 : 64;
        struct session *open = realloc(gen->open, cap * sizeof *open);
        if (!open)
            return false;
        gen->open = open;
        gen->cap_open = cap;
    }
    gen->open[gen->n_open++] = *session;
    for (; i && earlier(&gen->open[i], &gen->open[(i - 1) / 2]); i = (i - 1) / 2)
        swap_sessions(&gen->open[i], &gen->open[(i - 1) / 2]);
    return true;
}

static struct session pop_session(struct gen *gen)
{
    struct session first = gen->open[0];
    size_t i = 0;
    gen->open[0] = gen->open[--gen->n_open];
    for (;;) {
        size_t child = 2 * i + 1;
        if (child + 1 < gen->n_open && earlier(&gen->open[child + 1], &gen->open[child]))
            child++;
        if (child >= gen->n_open || !earlier(&gen->open[child], &gen->open[i]))
            return first;
        swap_sessions(&gen->open[i], &gen->open[child]);
        i = child;
    }
}

/* The spread of the logarithm of the times between a session's turns in RAGPulse (p50 44 s, p90 299
 * s). */
static const double think_sigma = 1.5;

/* A Gamma gap of mean 1 and deviation `burst`; of burst 1 that is Poisson. */
static double draw_gap(struct gen *gen)
{
    double burst = gen->options.burst;
    if (burst == 1)
        return kvs_rng_exp(&gen->arrival, 1);
    return kvs_rng_gamma(&gen->arrival, 1 / (burst * burst), burst * burst);
}

static void plan_session(struct gen *gen)
{
    gen->session_s += draw_gap(gen) * gen->gap_mean_s;
    gen->session_ns = gen->session_s < 4e9 ? kvs_ns(gen->session_s) : INT64_MAX / 2;
}

/* The topic that holds a rank at a time: it is replaced every 1/drift days, each rank at its own.
 */
static uint64_t topic_of(const struct gen *gen, uint64_t rank, int64_t at_ns)
{
    double phase = (double)(kvs_mix64(rank ^ gen->seed) >> 11) * 0x1p-53;
    double days = (double)at_ns / 86400e9;
    return kvs_chain(rank, (uint64_t)(phase + days * gen->options.drift_per_day));
}

static uint64_t draw_topic(struct gen *gen, int64_t at_ns)
{
    return topic_of(gen, kvs_zipf_draw(&gen->topics, &gen->topic), at_ns);
}

/* --- passages ------------------------------------------------------------------------------------
 */

/* A step with no divisor in common with n: multiples of it, modulo n, walk through all of 0..n-1.
 */
static uint64_t walk_step(uint64_t n)
{
    for (uint64_t step = n * 5 / 8 | 1;; step += 2) {
        uint64_t a = n, b = step % n;
        while (b) {
            uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return step;
    }
}

/* The passage of a popularity rank: neighbours in popularity are no neighbours in the corpus. */
static uint64_t passage_of(const struct gen *gen, uint64_t rank)
{
    return rank * gen->step % gen->options.n_corpus;
}

/* Candidate i of a topic: the same passage whenever it is asked for. */
static uint64_t candidate(const struct gen *gen, uint64_t topic, uint64_t i)
{
    uint64_t seed = kvs_chain(kvs_chain(gen->seed, topic), i);
    struct kvs_rng rng = {
        {seed, kvs_mix64(seed + 1), kvs_mix64(seed + 2), kvs_mix64(seed + 3) | 1}};
    return passage_of(gen, kvs_zipf_draw(&gen->passages, &rng));
}

static bool holds(const uint64_t *list, unsigned n, uint64_t id)
{
    for (unsigned i = 0; i < n; i++)
        if (list[i] == id)
            return true;
    return false;
}

/* One of n weights, by its share of their sum. */
static unsigned draw_weighted(const double *weight, unsigned n, struct kvs_rng *rng)
{
    double sum = 0, at;
    unsigned i = 0;
    for (unsigned k = 0; k < n; k++)
        sum += weight[k];
    at = kvs_rng_unit(rng) * sum;
    while (i < n - 1 && at >= weight[i])
        at -= weight[i++];
    return i;
}

/* n different passages for a topic, best first. */
static void retrieve(struct gen *gen, uint64_t topic, unsigned n, uint64_t *list)
{
    const struct kvs_gen_options *options = &gen->options;
    double weight[MAX_CANDIDATE];
    uint64_t left[MAX_CANDIDATE];
    unsigned n_left = (unsigned)options->n_candidate, n_got = 0;
    for (unsigned i = 0; i < n_left; i++) {
        weight[i] = exp(-options->rank_decay * i);
        left[i] = i;
    }
    while (n_got < n) {
        uint64_t id;
        if (!n_left || kvs_rng_unit(&gen->passage) < options->stray_frac) {
            id = passage_of(gen, kvs_rng_below(&gen->passage, options->n_corpus));
        } else {
            unsigned i = draw_weighted(weight, n_left, &gen->passage);
            id = candidate(gen, topic, left[i]);
            n_left--;
            memmove(&left[i], &left[i + 1], (n_left - i) * sizeof *left);
            memmove(&weight[i], &weight[i + 1], (n_left - i) * sizeof *weight);
        }
        if (!holds(list, n_got, id))
            list[n_got++] = id;
    }
}

/* A passage is as long whenever it is retrieved. */
static uint32_t passage_tok(const struct gen *gen, uint64_t id)
{
    uint64_t seed = kvs_chain(gen->seed ^ 0x70617373, id);
    struct kvs_rng rng = {
        {seed, kvs_mix64(seed + 1), kvs_mix64(seed + 2), kvs_mix64(seed + 3) | 1}};
    return draw_tok(&curve_passage, gen->options.lengths, gen->options.passage_tok, &rng);
}

/* --- prompts -------------------------------------------------------------------------------------
 */

static void put(struct prompt *prompt, enum kvs_part part, uint64_t n, uint32_t n_tok)
{
    assert(prompt->n_block < MAX_BLOCK);
    prompt->block[prompt->n_block++] =
        (struct kvs_trace_block){.id = id_of(part, n), .n_tok = n_tok, .part = part};
    prompt->n_tok += n_tok;
}

/* Text that stands in no other prompt. */
static void put_new(struct gen *gen, struct prompt *prompt, enum kvs_part part, uint32_t n_tok)
{
    put(prompt, part, (UINT64_C(1) << 40) + gen->n_unique++, n_tok);
}

static void put_sys(struct gen *gen, struct prompt *prompt, enum kind kind, int64_t at_ns)
{
    uint64_t version = (uint64_t)((double)at_ns / 86400e9 * (double)gen->options.prompts_per_day);
    if (kind == CHAT) {
        put(prompt, KVS_PART_SYS, SYS_CHAT, SYS_TOK);
        put_new(gen, prompt, KVS_PART_SYS, SYS_TOK);
        put(prompt, KVS_PART_SYS, SYS_CHAT_END, SYS_CHAT_END_TOK);
    } else if (kind == WEB) {
        put(prompt, KVS_PART_SYS, SYS_WEB, SYS_TOK);
        put(prompt, KVS_PART_SYS, SYS_WEB_2, SYS_TOK);
        put_new(gen, prompt, KVS_PART_SYS, SYS_WEB_END_TOK);
    } else {
        put(prompt, KVS_PART_SYS, SYS_RAG, SYS_TOK);
        put(prompt, KVS_PART_SYS, SYS_DATED + version, SYS_TOK);
        if (gen->options.fresh_tok)
            put_new(gen, prompt, KVS_PART_SYS, (uint32_t)gen->options.fresh_tok);
    }
}

static void put_passages(struct gen *gen, struct prompt *prompt, uint64_t topic)
{
    uint64_t list[MAX_PASSAGE];
    unsigned n = (unsigned)gen->options.n_passage;
    /* 3.5 % of RAGPulse's lists are shorter than the others */
    if (n && kvs_rng_unit(&gen->passage) < 0.035)
        n = 1 + (unsigned)kvs_rng_below(&gen->passage, n);
    retrieve(gen, topic, n, list);
    for (unsigned i = 0; i < n; i++)
        put(prompt, KVS_PART_PASSAGE, list[i], passage_tok(gen, list[i]));
}

/* The past turns, in pieces of at most 512 tokens; written anew every turn, so it never comes
 * again. */
static void put_history(struct gen *gen, struct prompt *prompt, const struct session *session)
{
    uint64_t n_tok = 0;
    unsigned n = session->n_turn < gen->options.history_turns
                     ? session->n_turn
                     : (unsigned)gen->options.history_turns;
    for (unsigned i = 0; i < n; i++)
        n_tok += session->turn_tok[(session->n_turn - 1 - i) % MAX_HISTORY];
    if (n_tok > MAX_HISTORY_TOK)
        n_tok = MAX_HISTORY_TOK;
    if (!n_tok)
        put(prompt, KVS_PART_HISTORY, 0, NO_HISTORY_TOK);
    for (; n_tok; n_tok -= prompt->block[prompt->n_block - 1].n_tok)
        put_new(gen, prompt, KVS_PART_HISTORY,
                n_tok < HISTORY_BLOCK_TOK ? (uint32_t)n_tok : HISTORY_BLOCK_TOK);
}

static void put_web(struct gen *gen, struct prompt *prompt)
{
    uint64_t n = 1 + kvs_rng_below(&gen->turn, WEB_MAX);
    while (n--)
        put_new(gen, prompt, KVS_PART_WEB,
                draw_tok(&curve_web, gen->options.lengths, gen->options.web_tok, &gen->length));
}

static void put_user(struct gen *gen, struct prompt *prompt, uint64_t topic)
{
    uint32_t n_tok =
        draw_tok(&curve_user, gen->options.lengths, gen->options.user_tok, &gen->length);
    if (kvs_rng_unit(&gen->turn) >= gen->options.stock_frac) {
        put_new(gen, prompt, KVS_PART_USER, n_tok);
        return;
    }
    put(prompt, KVS_PART_USER, topic >> 24,
        1 + (uint32_t)(kvs_mix64(topic) % (uint64_t)(2 * gen->options.user_tok)));
}

static void make_prompt(struct gen *gen, struct session *session, struct prompt *prompt)
{
    double u = kvs_rng_unit(&gen->turn);
    enum kind kind = u < gen->options.chat_frac                           ? CHAT
                     : u < gen->options.chat_frac + gen->options.web_frac ? WEB
                                                                          : RAG;
    prompt->n_block = 0;
    prompt->n_tok = 0;
    put_sys(gen, prompt, kind, session->next_ns);
    if (kind != CHAT)
        put_passages(gen, prompt, session->topic);
    put_history(gen, prompt, session);
    if (kind == WEB)
        put_web(gen, prompt);
    put_user(gen, prompt, session->topic);
    /* RAGPulse's inputs are 6 to 12 tokens longer than what their ids name: the chat template's */
    prompt->n_tok += 6 + kvs_rng_below(&gen->turn, 7);
}

/* --- the trace -----------------------------------------------------------------------------------
 */

/* The session's next prompt, into gen->prompt. */
static void take_turn(struct gen *gen, struct session *session)
{
    if (!session->n_turn || kvs_rng_unit(&gen->turn) >= gen->options.stay_frac)
        session->topic = draw_topic(gen, session->next_ns);
    make_prompt(gen, session, gen->prompt);
}

/* Ends the turn: the session waits for its next one, or is over. false: no memory. */
static bool end_turn(struct gen *gen, struct session *session, uint32_t output_tok)
{
    const struct prompt *prompt = gen->prompt;
    uint32_t user_tok = prompt->block[prompt->n_block - 1].n_tok;
    double think_s;
    session->turn_tok[session->n_turn++ % MAX_HISTORY] = output_tok + user_tok + TURN_EXTRA_TOK;
    if (kvs_rng_unit(&gen->turn) < 1 / gen->options.turns)
        return true;
    think_s = kvs_rng_lognormal(&gen->turn, 0, think_sigma) * gen->options.think_s;
    session->next_ns += kvs_ns(think_s < 1e9 ? think_s : 1e9);
    return push_session(gen, session);
}

/* The session whose turn comes first: one that waits, or a new one. */
static struct session next_session(struct gen *gen)
{
    struct session session = {.next_ns = gen->session_ns};
    if (gen->n_open && gen->open[0].next_ns <= gen->session_ns)
        return pop_session(gen);
    session.id = ++gen->n_session;
    plan_session(gen);
    return session;
}

static enum kvs_code gen_next(struct kvs_trace *trace, const struct kvs_request **req,
                              struct kvs_err *err)
{
    struct gen *gen = trace->state;
    struct session session;
    int64_t at_ns;
    uint32_t output_tok;
    if (gen->n_made == gen->options.n_request)
        return KVS_OK;
    session = next_session(gen);
    at_ns = session.next_ns;
    take_turn(gen, &session);
    output_tok =
        draw_tok(&curve_output, gen->options.lengths, gen->options.output_tok, &gen->length);
    if (!end_turn(gen, &session, output_tok))
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory");
    gen->n_made++;
    trace->req = (struct kvs_request){.arrive_ns = at_ns,
                                      .session = session.id,
                                      .input_tok = (uint32_t)gen->prompt->n_tok,
                                      .output_tok = output_tok,
                                      .n_block = gen->prompt->n_block,
                                      .block = gen->prompt->block};
    *req = &trace->req;
    return KVS_OK;
}

static void gen_close(struct kvs_trace *trace)
{
    struct gen *gen = trace->state;
    free(gen->open);
    free(gen->prompt);
}

static double gen_done_frac(const struct kvs_trace *trace)
{
    const struct gen *gen = trace->state;
    return (double)gen->n_made / (double)gen->options.n_request;
}

static const struct kvs_trace_ops gen_ops = {
    .name = "generate",
    .help = "RAG traffic from a seed",
    .state_bytes = sizeof(struct gen),
    .next = gen_next,
    .close = gen_close,
    .done_frac = gen_done_frac,
};

static enum kvs_code check_options(const struct kvs_gen_options *options, struct kvs_err *err)
{
    if (options->n_passage > options->n_corpus)
        return kvs_fail(err, KVS_ERR_RANGE, "passages is %llu, want at most corpus, %llu",
                        (unsigned long long)options->n_passage,
                        (unsigned long long)options->n_corpus);
    if (options->chat_frac + options->web_frac > 1)
        return kvs_fail(err, KVS_ERR_RANGE, "chat and web are %g and %g, want a sum of at most 1",
                        options->chat_frac, options->web_frac);
    return KVS_OK;
}

enum kvs_code kvs_gen_open(const struct kvs_gen_options *options, uint64_t seed,
                           struct kvs_trace **out, struct kvs_err *err)
{
    struct kvs_trace *trace;
    struct gen *gen;
    enum kvs_code code = check_options(options, err);
    *out = NULL;
    if (code)
        return code;
    trace = kvs_trace_new(&gen_ops);
    gen = trace ? trace->state : NULL;
    if (gen)
        gen->prompt = malloc(sizeof *gen->prompt + MAX_BLOCK * sizeof *gen->prompt->block);
    if (!gen || !gen->prompt) {
        kvs_trace_close(trace);
        return kvs_fail(err, KVS_ERR_NOMEM, "no memory");
    }
    gen->options = *options;
    gen->seed = kvs_mix64(seed ^ UINT64_C(0x7472616666696300));
    gen->step = walk_step(options->n_corpus);
    gen->arrival = kvs_rng_stream(seed, "trace.arrivals");
    gen->turn = kvs_rng_stream(seed, "trace.turns");
    gen->topic = kvs_rng_stream(seed, "trace.topics");
    gen->passage = kvs_rng_stream(seed, "trace.passages");
    gen->length = kvs_rng_stream(seed, "trace.lengths");
    gen->topics = kvs_zipf_make(options->n_topic, options->topic_skew);
    gen->passages = kvs_zipf_make(options->n_corpus, options->passage_skew);
    gen->gap_mean_s = options->turns / options->rate_per_s;
    *out = trace;
    return KVS_OK;
}
